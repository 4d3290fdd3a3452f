"""The order of the floors, the faces of the folders, and Ray in ``jobs`` alone, each held by reading the source."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the ground up. A folder imports only from the floors below it.
FLOORS = (
    "files",
    "config",
    "emotions",
    "audio",
    "encoders",
    "manifest",
    "corpora",
    "stores",
    "joint",
    "operations",
    "search",
    "evaluation",
    "tuning",
    "report",
)
# Within a floor, the inner folder stands below the outer one unless it is listed here, where it builds on it.
ABOVE_THEIR_PARENT = {"joint/training", "corpora/published", "corpora/general"}
FORBIDDEN = {"s2m_ray": {"ray", "jobs", "cli"}, "jobs": {"cli"}, "cli.py": {"ray"}}
ENTRY = "s2m_ray/__main__.py"  # `python -m s2m_ray` has to be there, and is the commands; nothing imports it
MOST_MODULES, MOST_ENTRIES = 13, 18


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of every import of a file, wherever in it they stand; the name is empty for ``import a.b``."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((str(a.value), "") for a in node.args if isinstance(a, ast.Constant))


def sources(root: Path, place: str) -> list[Path]:
    paths = [root / place] if place.endswith(".py") else sorted((root / place).rglob("*.py"))
    assert paths, place
    return [path for path in paths if path.relative_to(root).as_posix() != ENTRY]


def violations(root: Path) -> Iterator[str]:
    """Imports of packages that a part of the project must not know."""
    for place, forbidden in FORBIDDEN.items():
        for path in sources(root, place):
            for package in sorted({module.partition(".")[0] for module, _ in imports(path)} & forbidden):
                yield f"{path.relative_to(root)} imports {package}"


def target(root: Path, module: str, name: str) -> tuple[str, str, str]:
    """Folder, module and name that an import of the project reaches."""
    parts = module.split(".")
    if root.joinpath(*parts).is_dir():
        inner = root.joinpath(*parts, name)
        if name and inner.is_dir():
            return "/".join([*parts, name]), "", ""
        is_module = bool(name) and inner.with_suffix(".py").exists()
        return "/".join(parts), name if is_module else "", "" if is_module else name
    return "/".join(parts[:-1]), parts[-1], name


def floor(folder: str) -> str:
    """The floor that a folder of the library stands on; empty for the ground (errors, seeds, progress)."""
    return [*folder.split("/"), ""][1]


def is_upward(here: str, there: str) -> bool:
    """Whether an import from a folder to another one goes to the same or a higher floor."""
    mine, other = floor(here), floor(there)
    if not other or here == there:
        return False
    if not mine:
        return True
    if mine != other:
        return FLOORS.index(other) > FLOORS.index(mine)
    inner, outer = here.removeprefix("s2m_ray/"), there.removeprefix("s2m_ray/")
    if outer.startswith(f"{inner}/"):  # from the outer folder into the inner one
        return outer in ABOVE_THEIR_PARENT and inner != "corpora"
    return inner.startswith(f"{outer}/") and inner not in ABOVE_THEIR_PARENT


def upward(root: Path) -> Iterator[str]:
    """Imports of the library that do not go down."""
    for path in sources(root, "s2m_ray"):
        here = path.relative_to(root).parent.as_posix()
        for module, name in imports(path):
            if module.partition(".")[0] != "s2m_ray" or (here == "s2m_ray" and path.name == "__init__.py"):
                continue
            there = target(root, module, name)[0]
            if is_upward(here, there):
                yield f"{path.relative_to(root)} imports {there}, which is not below it"


def face(root: Path, folder: str) -> list[str]:
    """The names that a folder shows: the strings of the assignment to ``__all__`` in its ``__init__``."""
    for node in ast.parse((root / folder / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node.targets[0]):
            literals = [n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
            keys = {k.value for n in ast.walk(node.value) if isinstance(n, ast.Dict) for k in n.keys}  # type: ignore[union-attr]
            return [str(value) for value in literals if value not in keys]
    return []


def past_the_face(root: Path) -> Iterator[str]:
    """Imports from another folder that reach past the names and the public modules of its face."""
    for top in ("s2m_ray", "jobs"):
        for path in sources(root, top):
            here = path.relative_to(root).parent.as_posix()
            for module, name in imports(path):
                if module.partition(".")[0] not in ("s2m_ray", "jobs"):
                    continue
                there, inner, found = target(root, module, name)
                if there in (here, "s2m_ray", "jobs") or path.name == "__init__.py":
                    continue
                if (inner or found) and (inner or found) not in face(root, there):
                    yield f"{path.relative_to(root)} imports {module}.{name}, which is not on the face of {there}"


def folders(root: Path) -> list[str]:
    return sorted(
        {
            path.parent.relative_to(root).as_posix()
            for top in ("s2m_ray", "jobs")
            for path in (root / top).rglob("*.py")
        }
    )


def test_nobody_imports_what_it_must_not_know():
    assert list(violations(ROOT)) == []


def test_every_import_goes_down():
    assert list(upward(ROOT)) == []


def test_across_folders_one_imports_from_the_face():
    assert list(past_the_face(ROOT)) == []


@pytest.mark.parametrize("folder", [folder for folder in folders(ROOT) if folder not in ("s2m_ray", "jobs")])
def test_a_face_has_three_to_eight_names_and_all_of_them_are_there(folder):
    names = face(ROOT, folder)
    assert 3 <= len(names) <= 8
    package = importlib.import_module(folder.replace("/", "."))
    assert sorted(package.__all__) == sorted(names)
    assert all(getattr(package, name) is not None for name in names)


def test_folders_are_small():
    counts = {folder: len(list((ROOT / folder).glob("[!_]*.py"))) for folder in folders(ROOT)}
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}
    entries = [path.name for path in (ROOT / "s2m_ray").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_the_rules_see_what_is_there():
    """Else the tests above could pass because they look at nothing."""
    seen = {module.partition(".")[0] for path in sources(ROOT, "jobs") for module, _ in imports(path)}
    assert {"ray", "s2m_ray"} <= seen
    assert {floor(folder) for folder in folders(ROOT) if folder.startswith("s2m_ray/")} == set(FLOORS)
    assert len(sources(ROOT, "s2m_ray")) > 100


@pytest.mark.parametrize(
    ("place", "line", "found"),
    [
        ("s2m_ray/deep/a.py", "import ray.data as rd", "ray"),
        ("s2m_ray/a.py", "def f():\n    from ray import train", "ray"),
        ("s2m_ray/a.py", "import numpy, jobs.embed", "jobs"),
        ("s2m_ray/a.py", "if True:\n    from cli import main", "cli"),
        ("s2m_ray/a.py", "import importlib\nimportlib.import_module('ray.tune')", "ray"),
        ("jobs/a.py", "from cli import main", "cli"),
        ("cli.py", "def f():\n    import ray", "ray"),
    ],
)
def test_a_planted_import_is_found(tmp_path, place, line, found):
    for name in ("s2m_ray/b.py", "jobs/b.py", "cli.py", place):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import numpy\nfrom . import ray_of_light\nimport raymarch\n")
    assert list(violations(tmp_path)) == []
    (tmp_path / place).write_text(line + "\n")
    assert list(violations(tmp_path)) == [f"{place} imports {found}"]


@pytest.fixture
def house(tmp_path):
    """A small copy of the tree: two floors, one of them with an inner folder, and the ground."""
    faces = {
        "s2m_ray": [],
        "s2m_ray/files": ["whole"],
        "s2m_ray/joint": ["heads"],
        "s2m_ray/joint/training": ["fit"],
        "s2m_ray/encoders": ["families"],
        "s2m_ray/encoders/networks": ["weights"],
        "jobs": [],
    }
    modules = {
        "s2m_ray": ["errors"],
        "s2m_ray/files": ["whole", "services"],
        "s2m_ray/joint": ["heads"],
        "s2m_ray/joint/training": ["fit"],
        "s2m_ray/encoders": ["families"],
        "s2m_ray/encoders/networks": ["weights"],
        "jobs": ["train"],
    }
    for folder, names in faces.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "__init__.py").write_text(f"__all__ = {names}\n")
        for name in modules[folder]:
            (tmp_path / folder / f"{name}.py").write_text("import numpy\nfrom s2m_ray import errors\n")
    return tmp_path


@pytest.mark.parametrize(
    ("place", "line", "is_found"),
    [
        ("s2m_ray/files/whole.py", "from s2m_ray.joint import heads", True),
        ("s2m_ray/files/whole.py", "def f():\n    from s2m_ray.joint.heads import JointModel", True),
        ("s2m_ray/files/whole.py", "import s2m_ray.joint.heads", True),
        ("s2m_ray/errors.py", "from s2m_ray.files import whole", True),
        ("s2m_ray/joint/heads.py", "from s2m_ray.joint.training import fit", True),
        ("s2m_ray/encoders/networks/weights.py", "from s2m_ray.encoders.families import build_encoder", True),
        ("s2m_ray/joint/heads.py", "from s2m_ray.files import whole", False),
        ("s2m_ray/joint/training/fit.py", "from s2m_ray.joint.heads import JointModel", False),
        ("s2m_ray/encoders/families.py", "from s2m_ray.encoders.networks import weights", False),
        ("s2m_ray/joint/heads.py", "from s2m_ray.errors import S2MError", False),
    ],
)
def test_a_planted_import_upwards_is_found(house, place, line, is_found):
    assert list(upward(house)) == []
    (house / place).write_text(line + "\n")
    assert bool(list(upward(house))) is is_found


@pytest.mark.parametrize(
    ("place", "line", "is_found"),
    [
        ("s2m_ray/joint/heads.py", "from s2m_ray.files import services", True),
        ("s2m_ray/joint/heads.py", "from s2m_ray.files.services import connect", True),
        ("s2m_ray/joint/heads.py", "def f():\n    import s2m_ray.files.services", True),
        ("s2m_ray/joint/heads.py", "from s2m_ray.files import connect", True),
        ("jobs/train.py", "from s2m_ray.files.services import connect", True),
        ("s2m_ray/joint/heads.py", "from s2m_ray.files import whole", False),
        ("s2m_ray/joint/heads.py", "from s2m_ray.files.whole import replacing", False),
        ("s2m_ray/files/whole.py", "from s2m_ray.files.services import connect", False),
    ],
)
def test_a_planted_way_past_a_face_is_found(house, place, line, is_found):
    assert list(past_the_face(house)) == []
    (house / place).write_text(line + "\n")
    assert bool(list(past_the_face(house))) is is_found
