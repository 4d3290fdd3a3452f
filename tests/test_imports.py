"""Imports go cli -> commands -> jobs -> s2m_ray, never back, and only jobs knows Ray."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "s2m_ray": {"ray", "jobs", "commands", "cli"}, "jobs": {"commands", "cli"}, "commands": {"ray", "cli"},
    "cli.py": {"ray"},
}  # fmt: skip


def imported_packages(path: Path) -> set[str]:
    """Top-level packages of all import statements of a file, wherever in it they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found |= {str(a.value).partition(".")[0] for a in node.args if isinstance(a, ast.Constant)}
    return found


def violations(root: Path) -> Iterator[str]:
    for place, forbidden in FORBIDDEN.items():
        paths = [root / place] if place.endswith(".py") else sorted((root / place).rglob("*.py"))
        assert paths, place
        for path in paths:
            for package in sorted(imported_packages(path) & forbidden):
                yield f"{path.relative_to(root)} imports {package}"


def test_nobody_imports_upwards():
    assert list(violations(ROOT)) == []


def test_the_rule_sees_the_ray_of_the_jobs():
    """Else the test above could pass because it looks at nothing."""
    assert "ray" in set().union(*(imported_packages(path) for path in (ROOT / "jobs").glob("*.py")))
    assert "s2m_ray" in imported_packages(ROOT / "cli.py")
    assert "jobs" in imported_packages(ROOT / "commands" / "vectors.py")
    assert len(list((ROOT / "s2m_ray").rglob("*.py"))) > 20


@pytest.mark.parametrize(
    ("place", "line", "found"),
    [
        ("s2m_ray/deep/a.py", "import ray.data as rd", "ray"),
        ("s2m_ray/a.py", "def f():\n    from ray import train", "ray"),
        ("s2m_ray/a.py", "import numpy, jobs.embed", "jobs"),
        ("s2m_ray/a.py", "if True:\n    from cli import app", "cli"),
        ("s2m_ray/a.py", "import importlib\nimportlib.import_module('ray.tune')", "ray"),
        ("jobs/a.py", "from cli import main", "cli"),
        ("jobs/a.py", "from commands import app", "commands"),
        ("commands/a.py", "def f():\n    import ray", "ray"),
        ("cli.py", "def f():\n    import ray", "ray"),
    ],
)
def test_a_planted_import_is_found(tmp_path, place, line, found):
    for name in ("s2m_ray/b.py", "jobs/b.py", "commands/b.py", "cli.py", place):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import numpy\nfrom . import ray_of_light\nimport raymarch\n")
    assert list(violations(tmp_path)) == []
    (tmp_path / place).write_text(line + "\n")
    assert list(violations(tmp_path)) == [f"{place} imports {found}"]
