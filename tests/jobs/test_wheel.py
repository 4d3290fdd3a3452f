"""The wheel: two packages at the top, the files of cluster/ and the templates in it, and what its metadata says."""

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest

from jobs.commands.entry import main
from jobs.remote.machines import cluster_files, copy_files
from s2m_ray.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel of a copy of the tree, so that no build folder is left in the checkout."""
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("needs the setuptools of constraints.txt")
    tree, target = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    names = ["pyproject.toml", "README.md", "LICENSE", "cli.py", "s2m_ray", "jobs", "cluster", "tests"]
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in names), str(tree)], check=True)
    (tree / "cluster" / "auth_token").write_text("secret")
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    ended = subprocess.run(
        [sys.executable, *build, "--wheel-dir", str(target), str(tree)], capture_output=True, text=True, timeout=250
    )
    assert ended.returncode == 0, ended.stderr
    return zipfile.ZipFile(next(target.glob("*.whl")))


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    return Parser().parsestr(wheel.read("s2m_ray-0.1.0.dist-info/METADATA").decode())


def test_the_wheel_puts_two_packages_at_the_top(wheel):
    assert {name.partition("/")[0] for name in wheel.namelist()} == {"s2m_ray", "jobs", "s2m_ray-0.1.0.dist-info"}


def test_the_wheel_has_all_code_the_templates_and_the_cluster_files(wheel):
    names = set(wheel.namelist())
    code = {
        str(path.relative_to(ROOT))
        for folder in ("s2m_ray", "jobs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".html", ".svg", ".toml")
    }
    assert {"s2m_ray/report/page.html", "s2m_ray/__main__.py"} <= code
    assert code <= names
    files = {f"jobs/remote/cluster/{path.name}" for path in (ROOT / "cluster").iterdir() if path.name != "auth_token"}
    assert len(files) >= 9
    assert {name for name in names if name.startswith("jobs/remote/cluster/")} == files  # and no token
    assert wheel.read("s2m_ray-0.1.0.dist-info/entry_points.txt").decode().split() == [
        "[console_scripts]",
        "s2m",
        "=",
        "jobs.commands:main",
    ]


def test_the_metadata_names_licence_and_oldest_versions_and_no_address(metadata, wheel):
    assert metadata["License-Expression"] == "MIT"
    assert "s2m_ray contributors" in wheel.read("s2m_ray-0.1.0.dist-info/licenses/LICENSE").decode()
    assert metadata.get_all("Project-URL") is None
    assert metadata["Home-page"] is None
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert all(">=" in line for line in needed)
    assert any(line.startswith("ray[") and line.endswith(">=2.52") for line in needed)


def test_the_command_copies_the_cluster_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["s2m", "cluster", "--copy", str(tmp_path / "mine")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    copies = sorted((tmp_path / "mine").iterdir())
    assert capsys.readouterr().out.split() == [str(path) for path in copies]
    assert {path.name: path.read_bytes() for path in copies} == {
        path.name: path.read_bytes() for path in (ROOT / "cluster").iterdir() if path.name != "auth_token"
    }


def test_copies_never_overwrite_what_a_user_changed(tmp_path):
    copy_files(tmp_path)
    assert len(copy_files(tmp_path)) == len(cluster_files())  # equal files are no trouble
    (tmp_path / "slurm.sh").write_text("mine")
    (tmp_path / "aws.yaml").unlink()
    with pytest.raises(ConfigError, match=r"slurm\.sh is there already and differs; choose another folder"):
        copy_files(tmp_path)
    assert not (tmp_path / "aws.yaml").exists()
