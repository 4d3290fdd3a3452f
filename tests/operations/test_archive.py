"""What of a working tree travels to a cluster, and what must not."""

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from s2m_ray.errors import ConfigError
from s2m_ray.operations import archive as package
from s2m_ray.operations.archive import SECRETS, working_tree, write_package

ROOT = Path(__file__).resolve().parents[2]


def plant(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


@pytest.mark.parametrize("with_git", [True, False])
def test_code_and_settings_travel_data_and_secrets_stay(tmp_path, with_git):
    plant(tmp_path, "run.toml", "mine/model.py", "notes.txt")
    plant(tmp_path, "speech.parquet", "audio/a.wav", "model/model.safetensors", "old.zip")
    plant(tmp_path, ".env", "deploy.pem", ".aws/credentials", "auth_token", "x/id_rsa", "service-account-7.json")
    plant(tmp_path, ".venv/lib/a.py", "mine/__pycache__/model.pyc", ".mypy_cache/a.json")
    if with_git:
        subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert [str(path) for path in working_tree(tmp_path)] == ["mine/model.py", "notes.txt", "run.toml"]


def test_what_git_ignores_stays_and_what_is_deleted_is_no_trouble(tmp_path):
    plant(tmp_path, "kept.py", "big/a.txt", "gone.py", ".gitignore")
    (tmp_path / ".gitignore").write_text("big/\n")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "add", "gone.py"], check=True)
    (tmp_path / "gone.py").unlink()
    assert [str(path) for path in working_tree(tmp_path)] == [".gitignore", "kept.py"]


def test_a_secret_that_git_has_stays_all_the_same(tmp_path):
    plant(tmp_path, "a.py", ".env")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "add", "--force", ".env", "a.py"], check=True)
    assert [str(path) for path in working_tree(tmp_path)] == ["a.py"]
    assert ".env" in SECRETS


def test_links_out_of_the_tree_stay(tmp_path):
    plant(tmp_path, "home/secret.txt", "tree/a.py")
    (tmp_path / "tree" / "b.py").symlink_to(tmp_path / "home" / "secret.txt")
    (tmp_path / "tree" / "c.py").symlink_to("a.py")
    (tmp_path / "tree" / "d.py").symlink_to("nothing")
    assert [str(path) for path in working_tree(tmp_path / "tree")] == ["a.py", "c.py"]


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


def test_the_code_of_this_command_goes_along(tmp_path):
    """And hides a folder of the same name in the tree."""
    plant(tmp_path, "tree/run.toml", "tree/jobs/other.py")
    write_package(tmp_path / "tree", tmp_path / "p.zip", {".submitted/0-a.toml": tmp_path / "tree" / "run.toml"})
    found = names(tmp_path / "p.zip")
    code = {
        str(path.relative_to(ROOT))
        for folder in ("jobs", "s2m_ray")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"s2m_ray/report/page.html", "s2m_ray/report/heatmap.svg", "s2m_ray/report/published.toml"} <= code
    assert code | {"run.toml", ".submitted/0-a.toml"} <= found
    assert "jobs/other.py" not in found
    assert not [name for name in found if name.startswith("tests/")]
    ended = subprocess.run(
        ["python3", "-c", f"import zipfile; zipfile.ZipFile({str(tmp_path / 'p.zip')!r}).extractall('there')"],
        cwd=tmp_path,
        check=False,
    )
    assert ended.returncode == 0
    assert (tmp_path / "there" / "jobs" / "embed.py").read_bytes() == (ROOT / "jobs" / "embed.py").read_bytes()


def test_equal_trees_give_equal_archives(tmp_path):
    for name in ("one", "two"):
        plant(tmp_path / name, "b.py", "a.py", "c/d.toml")
        for path in (tmp_path / name).rglob("*.py"):
            path.write_text("same")
    os.utime(tmp_path / "two" / "a.py", (1, 1))
    sizes = [write_package(tmp_path / name, tmp_path / f"{name}.zip") for name in ("one", "two")]
    assert sizes[0] == sizes[1] == (tmp_path / "one.zip").stat().st_size
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_tree_that_is_too_large_is_refused_by_its_largest_files(tmp_path, monkeypatch):
    plant(tmp_path, "small.py")
    (tmp_path / "large.csv").write_bytes(os.urandom(3 * 2**20))
    monkeypatch.setattr(package, "LIMIT_BYTES", 2 * 2**20)
    with pytest.raises(
        ConfigError, match=r"the working tree is \d MiB, a cluster takes 2; the largest files are large"
    ):
        write_package(tmp_path, tmp_path / "p.zip")
    assert not (tmp_path / "p.zip").exists() or (tmp_path / "p.zip").stat().st_size > 2 * 2**20
