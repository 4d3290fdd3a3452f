"""Files that are either whole or not there: temporary name, flush, rename; or one upload."""

import hashlib
import json
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s2m_ray.errors import S2MError
from s2m_ray.member import outer_of
from s2m_ray.place import Place, Remote

JOB = "job.json"  # in every output folder: what it was started for


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to; it becomes ``path`` only if the block succeeds.

    The temporary name starts with a dot, is nobody else's, and keeps the suffix, by which writers choose a
    format; readers that glob ``part-*`` never see it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Place, value: dict[str, Any]) -> None:
    """Write a header, whole or not at all."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    if isinstance(path, Remote):
        path.write_bytes(text.encode())
        return
    with replacing(path) as temporary:
        temporary.write_text(text)


def write_table(table: pa.Table, path: Place, **options: Any) -> None:
    """Write a Parquet file, whole or not at all; the options are those of ``pyarrow.parquet.write_table``."""
    if isinstance(path, Remote):
        content = pa.BufferOutputStream()
        pq.write_table(table, content, **options)
        path.write_bytes(content.getvalue())
        return
    with replacing(path) as temporary:
        pq.write_table(table, temporary, **options)


def read_json(path: Place, error: type[S2MError]) -> dict[str, Any]:
    """Read a header.

    Raises:
        error: it is not there or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror}") from None
    except ValueError as cause:
        raise error(f"{path}: not valid JSON: {cause}") from None
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object")
    return value


def stamp(uri: str) -> str | None:
    """Size and time of the last change of a file, which tell whether it is still the same; None if it is not there.

    Args:
        uri: Local path, or a URI that pyarrow opens; of a member, the file that it is in.
    """
    uri = outer_of(uri)[0]
    try:
        if "://" in uri:
            filesystem, path = Remote(uri).opened()
            found = filesystem.get_file_info(path)
            return f"{found.size}/{found.mtime_ns}" if found.is_file else None
        status = os.stat(uri)  # noqa: PTH116 - a million of them
    except (OSError, ValueError, NotImplementedError, S2MError):
        return None
    return f"{status.st_size}/{status.st_mtime_ns}"


def digest(*values: object) -> str:
    """Short stable hash of JSON values: 16 hexadecimal digits of SHA-256."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of this project and of ``packages``, for headers."""
    found = {"python": platform.python_version()}
    for package in ("s2m-ray", "numpy", "pyarrow", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def claim(folder: Place, job: dict[str, Any], error: type[S2MError]) -> bool:
    """Make the output folder of a job, or take up one of the very same job (``job.json``); True for the latter.

    Raises:
        error: the folder was started with other settings, or holds something else.
    """
    path = folder / JOB
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.glob("*"))):
            raise error(f"{folder}: exists and was not made by this command; choose another --out")
        write_json(path, job)
        return False
    before = read_json(path, error)
    old, new = _flat(before), _flat(job)
    changed = next((key for key in sorted(old | new) if old.get(key) != new.get(key)), None)
    if changed is not None:
        raise error(
            f"{folder}: was started with {changed}={old.get(changed)}, now {changed}={new.get(changed)}; two "
            "settings never share an output: choose another --out, or delete this folder"
        )
    return True


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat |= _flat(entry, f"{prefix}{key}.") if isinstance(entry, dict) else {f"{prefix}{key}": entry}
    return flat
