"""Pack the working tree into one archive that a cluster can run. Code and settings travel, data and secrets stay.

Ray's own packaging of a ``working_dir`` uploads and caches this archive, but does not choose its files. Its
``excludes`` follow ``.gitignore``, yet they can neither keep back a secret that git has, nor add the installed code
and the settings files, nor name the largest files when the package is too large.
"""

import os
import subprocess
import zipfile
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import s2m_ray
from s2m_ray.errors import ConfigError
from s2m_ray.files.whole import replacing

LIMIT_BYTES = 95 * 2**20  # Ray's job server refuses a request above 100 MiB
CODE = ("jobs", "s2m_ray")  # two folders side by side, here and in the archive
TEMPLATES = (".html", ".svg", ".toml")  # files that belong to the code beside its modules
# These are never part of a package, even if git has them: whoever can submit to a cluster can read its packages.
SECRETS = (
    ".env",
    ".env.*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    ".netrc",
    ".pypirc",
    ".npmrc",
    "id_rsa*",
    "id_ed25519*",
    "auth_token*",
    "credentials",
    "credentials.*",
    "*.kubeconfig",
    "kubeconfig",
    "service-account*.json",
)
# Jobs read these from shared storage, not from a copy.
DATA = (
    "*.wav",
    "*.flac",
    "*.mp3",
    "*.ogg",
    "*.opus",
    "*.m4a",
    "*.aac",
    "*.wma",
    "*.webm",
    "*.amr",
    "*.aiff",
    "*.mid",
    "*.parquet",
    "*.npy",
    "*.npz",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.safetensors",
    "*.h5",
    "*.bin",
    "*.zip",
    "*.tar",
    "*.tar.*",
    "*.html",
)
FOLDERS = (".git", ".venv", "venv", "__pycache__", "node_modules", "*.egg-info", ".aws", ".ssh", ".ray", ".?*_cache")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every entry, so that equal trees give equal archives, uploaded once


def working_tree(root: Path) -> list[Path]:
    """Return the files of a folder that belong in a package, relative to the folder and in order.

    In a git repository these are the files that git has or would add, elsewhere all files. Data, secrets, caches, and
    links that lead out of the folder are left out.
    """
    return sorted(path for path in _listed(root) if _belongs(root, path))


def write_package(root: Path, target: Path, extra: Mapping[str, Path] | None = None) -> int:
    """Write the archive of a working tree, together with the code of this s2m.

    Args:
        root: The working tree.
        target: The archive.
        extra: Further files, by their name in the archive.

    Returns:
        Size of the archive in bytes.

    Raises:
        ConfigError: The archive is larger than a cluster takes.
    """
    root = root.resolve()
    files = {str(path): root / path for path in working_tree(root)}
    code = Path(s2m_ray.__file__).resolve().parents[1]
    if code != root:
        # modules of the same names in the tree must not hide the ones that this command runs with
        files = {name: path for name, path in files.items() if name.partition("/")[0] not in CODE}
        files |= {str(path): code / path for path in _code(code)}
    files |= extra or {}
    total = sum(path.stat().st_size for path in files.values())
    if total > 4 * LIMIT_BYTES:  # no use in compressing it
        raise _too_large(root, total, files)
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = (0o755 if os.access(files[name], os.X_OK) else 0o644) << 16
            archive.writestr(entry, files[name].read_bytes(), zipfile.ZIP_DEFLATED)
    size = target.stat().st_size
    if size > LIMIT_BYTES:
        raise _too_large(root, size, files)
    return size


def _too_large(root: Path, size: int, files: Mapping[str, Path]) -> ConfigError:
    largest = sorted(files, key=lambda name: -files[name].stat().st_size)[:3]
    named = ", ".join(f"{name} ({files[name].stat().st_size / 2**20:.0f} MiB)" for name in largest)
    return ConfigError(
        f"{root}: the working tree is {size / 2**20:.0f} MiB, a cluster takes {LIMIT_BYTES / 2**20:.0f}; the largest "
        f"files are {named}. Move data to shared storage, or list these files in .gitignore"
    )


def _listed(root: Path) -> Iterable[Path]:
    asked = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        found = subprocess.run(asked, capture_output=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # no git, or no repository
        return _walked(root)
    return (Path(os.fsdecode(name)) for name in found.split(b"\0") if name)


def _walked(root: Path) -> Iterable[Path]:
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if not _matches(name, FOLDERS)]
        yield from ((Path(folder) / name).relative_to(root) for name in names)


def _code(code: Path) -> Iterable[Path]:
    for name in CODE:
        paths = [code / name] if name.endswith(".py") else sorted((code / name).rglob("*"))
        yield from (path.relative_to(code) for path in paths if path.suffix in (".py", *TEMPLATES))


def _belongs(root: Path, path: Path) -> bool:
    if any(_matches(part, FOLDERS) for part in path.parts[:-1]) or _matches(path.name, SECRETS):
        return False
    is_page = path.parts[0] in CODE and path.suffix == ".html"  # the report's template is code
    return (is_page or not _matches(path.name, DATA)) and _is_inside(root, root / path)


def _is_inside(root: Path, path: Path) -> bool:
    try:
        real = path.resolve(strict=True)
    except OSError:  # git lists the file but the disk lacks it, or it is a link to nothing
        return False
    return real.is_file() and real.is_relative_to(root.resolve())


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)
