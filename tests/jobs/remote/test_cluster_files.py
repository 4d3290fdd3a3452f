"""The files of cluster/: each fits its schema, and they agree with each other and with this project's versions."""

import copy
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import compose_spec
import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

from jobs.commands import app

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = ROOT / "cluster"
IMAGE = "s2m-ray:0.1.0"
KUBERAY = ("raycluster.yaml", "rayjob.yaml")
LAUNCHER = ("aws.yaml", "gcp.yaml")


def read(name: str) -> dict:
    return yaml.safe_load((CLUSTER / name).read_text())


def kuberay_schema() -> dict:
    return json.loads((ROOT / "tests" / "schemas" / "kuberay.json").read_text())


def cluster_spec(manifest: dict) -> dict:
    return manifest["spec"].get("rayClusterSpec", manifest["spec"])


def groups(manifest: dict) -> list[dict]:
    spec = cluster_spec(manifest)
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def check_kuberay(manifest: dict) -> None:
    jsonschema.validate(manifest, kuberay_schema())
    for group in groups(manifest):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "a"}, "template": group["template"]}
        kubernetes_validate.validate(pod, "1.33", strict=True)


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay(name):
    check_kuberay(read(name))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("headGroupSpec", "rayStartParams", "num-cpus"), 1),  # KubeRay takes strings
        (("workerGroupSpecs", 0, "minReplica"), 1),
        (("workerGroupSpecs", 1, "maxReplicas"), -1),
        (("autoscalerOptions", "upscalingMode"), "Fast"),
        (("authOptions", "mode"), "off"),
        (("headGroupSpec", "template", "spec", "containers", 0, "imagePullPolicie"), "Always"),
        (("workerGroupSpecs", 0, "template", "spec", "containers", 0, "resources", "request"), {}),
        (("workerGroupSpecs", 1, "template", "spec", "volumes", 0, "name"), 7),
    ],
)
def test_a_planted_mistake_is_found(path, value):
    manifest = copy.deepcopy(read("raycluster.yaml"))
    at = manifest["spec"]
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check_kuberay(manifest)


def test_the_job_makes_the_cluster_of_the_other_file():
    assert read("rayjob.yaml")["spec"]["rayClusterSpec"] == read("raycluster.yaml")["spec"]


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_is_closed_and_scales(name):
    spec = cluster_spec(read(name))
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["rayVersion"] == ray.__version__
    by_name = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert all(group["minReplicas"] < group["maxReplicas"] for group in by_name.values())
    limits = {
        name: group["template"]["spec"]["containers"][0]["resources"]["limits"] for name, group in by_name.items()
    }
    assert "nvidia.com/gpu" in limits["gpu"]
    assert "nvidia.com/gpu" not in limits["cpu"]
    for group in groups(read(name)):
        resources = group["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]  # Ray counts on what it sees


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_cluster_launcher(name):
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    config = read(name)
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config | {"max_worker": 3}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config | {"idle_timeout_minutes": "soon"}, schema)


@pytest.mark.parametrize("name", LAUNCHER)
def test_launched_workers_are_spot_machines_and_the_head_is_not(name):
    config = read(name)
    types = config["available_node_types"]
    spot = {kind for kind, entry in types.items() if re.search(r"(?i)\bspot\b", json.dumps(entry["node_config"]))}
    assert spot == {"cpu", "gpu"} == set(types) - {config["head_node_type"]}
    assert all(entry.get("max_workers", 0) <= config["max_workers"] for entry in types.values())
    for command in (*config["head_start_ray_commands"], *config["worker_start_ray_commands"]):
        if " start " in command:
            assert command.startswith("RAY_AUTH_MODE=token ")
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][1]


def test_compose():
    text = (CLUSTER / "compose.yaml").read_text()
    reader = compose_spec.PyOptions(apply_merge=True)
    reader.from_yaml(text).validate()
    with pytest.raises(ValueError, match="unknown unit"):
        reader.from_yaml(text.replace("shm_size: 2gb", "shm_size: much"))
    with pytest.raises(ValueError, match="extension key `healthchek`"):
        reader.from_yaml(text.replace("healthcheck:", "healthchek:"))
    with pytest.raises(ValueError, match="ray_auth_token"):
        reader.from_yaml(text.replace("  ray_auth_token:\n    file", "  other:\n    file")).validate()
    services = read("compose.yaml")["services"]
    assert set(services) == {"head", "worker"}
    assert services["head"]["ports"] == ["127.0.0.1:8265:8265"]  # loopback, and nothing else
    assert "ports" not in services["worker"]
    for service in services.values():
        assert service["environment"]["RAY_AUTH_MODE"] == "token"


def test_the_dockerfile_is_linted(tmp_path):
    hadolint = Path(sys.executable).with_name("hadolint")
    ended = subprocess.run([hadolint, CLUSTER / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN cd /x && sudo pip install ray\n")
    ended = subprocess.run([hadolint, tmp_path / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "DL3007" in ended.stdout


def test_the_image_has_what_a_command_needs_and_no_root():
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY ") for word in shlex.split(line)[1:-1]}
    assert copied == {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "s2m_ray", "jobs", "cluster"}
    allowed = {line[1:] for line in (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000"]
    assert any("RAY_AUTH_MODE=token" in line for line in lines)


def images(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (entry for key, entry in value.items() if key == "image")
        for entry in value.values():
            yield from images(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from images(entry)


@pytest.mark.parametrize("name", [*KUBERAY, *LAUNCHER, "compose.yaml"])
def test_all_name_the_image_of_the_dockerfile(name):
    found = set(images(read(name)))
    assert found == {IMAGE}
    assert f"-t {IMAGE} ." in (CLUSTER / "Dockerfile").read_text()
    assert re.search(r'^version = "0\.1\.0"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", [*KUBERAY, *LAUNCHER, "compose.yaml", "Dockerfile", "slurm.sh"])
def test_no_file_has_a_secret(name):
    text = (CLUSTER / name).read_text()
    assert not re.search(r"(?i)AKIA[A-Z0-9]{12}|(secret_access_key|password|auth_token)\s*[:=]\s*[\"']?\w{12,}", text)
    assert not re.search(r"\b[0-9a-f]{32,}\b", text)


STUB = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0")" in
  scontrol) printf 'n1\\nn2\\nn3\\n' ;;
  s2m) token="$RAY_AUTH_TOKEN_PATH"
    echo "token $(wc -c < "$token") $(stat -c %a "$token") $RAY_AUTH_MODE" >> "$CALLS"; exit 3 ;;
  sleep) ;;
esac
"""


def slurm(folder: Path, stub: str = STUB) -> dict[str, str]:
    """Put stand-ins for the programs of the script into a folder, and return the environment of an allocation."""
    for name in ("scontrol", "srun", "s2m", "sleep", "ray"):
        (folder / name).write_text(stub)
        (folder / name).chmod(0o755)
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "HOME": str(folder),
        "CALLS": str(folder / "calls"),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_CPUS_PER_TASK": "16",
    }


def test_the_slurm_script_takes_the_first_of_many_nodes(tmp_path):
    """The list is longer than a pipe holds: a reader that leaves early would end the script with 141."""
    environment = slurm(tmp_path, STUB.replace(r"printf 'n1\nn2\nn3\n'", "seq --format=n%g 100000"))
    script = ["bash", CLUSTER / "slurm.sh", "embed", "m.parquet"]
    ended = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3, ended.stderr  # the command's own
    assert "s2m embed m.parquet --address n1:24711\n" in (tmp_path / "calls").read_text()


def test_the_slurm_script_ends_where_the_nodes_are_not_known(tmp_path):
    environment = slurm(tmp_path, STUB.replace(r"printf 'n1\nn2\nn3\n'", "exit 5"))
    script = ["bash", CLUSTER / "slurm.sh", "embed", "m.parquet"]
    assert subprocess.run(script, env=environment, capture_output=True, timeout=60).returncode == 5


def test_the_slurm_script_runs_a_command_on_a_cluster_of_its_nodes(tmp_path):
    environment = slurm(tmp_path)
    script = ["bash", CLUSTER / "slurm.sh", "embed", "/shared/my file.parquet", "--out", "/shared/store"]
    ended = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3, ended.stderr  # the command's own
    deadline = time.monotonic() + 10
    while "--exclude=n1" not in (calls := (tmp_path / "calls").read_text()):  # in the background of the script
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "s2m embed /shared/my file.parquet --out /shared/store --address n1:24711\n" in calls
    assert "token 64 600 token\n" in calls
    assert "--nodelist=n1 ray start --head --block --port=24711 --num-cpus=16 --include-dashboard=false\n" in calls
    assert "srun --nodes=2 --ntasks=2 --exclude=n1 ray start --block --address=n1:24711 --num-cpus=16\n" in calls
    assert list(tmp_path.glob(".s2m-token-*")) == []  # gone with the allocation
    assert subprocess.run(script[:2], env=environment, capture_output=True).returncode == 2
    directives = re.findall(r"^#SBATCH --([\w-]+)=", (CLUSTER / "slurm.sh").read_text(), re.MULTILINE)
    assert {"nodes", "ntasks-per-node", "cpus-per-task", "time", "signal"} <= set(directives)


def test_every_s2m_command_of_the_pages_can_be_parsed():
    """What stands in code of README.md and the files of cluster/ is a command that there is, with its options."""
    import typer

    group = typer.main.get_command(app)
    seen = set()
    for path in (CLUSTER / "README.md", *CLUSTER.glob("*.yaml"), *CLUSTER.glob("*.sh")):
        for line in re.findall(
            r"^[#\s]*(?:entrypoint: )?(?:\w+=\S+ )*s2m (.*?)(?:\s+#.*)?$", path.read_text(), re.MULTILINE
        ):
            words = shlex.split(line.replace("\\", ""))
            if "..." in line or words[0].startswith(("$", "-")):
                continue
            command = group.commands[words[0]]
            if words[0] == "jobs":
                command, words = command.commands[words[1]], words[1:]
            context = command.make_context(words[0], list(words[1:]))
            if words[0] == "submit":
                inner = context.params["command"]
                group.commands[inner[0]].make_context(inner[0], list(inner[1:]))
            seen.add(words[0])
    assert {"submit", "doctor", "list", "stop", "pipeline"} <= seen
