"""Files that are either whole or not there: temporary name, flush, rename; or one upload."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from s2m_ray.errors import S2MError
from s2m_ray.files.addresses import outer_of
from s2m_ray.files.place import Place, arrow_filesystem, is_local


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
    if is_local(path):
        with replacing(path) as temporary:
            temporary.write_text(text)
    else:
        path.write_bytes(text.encode())


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
            filesystem, path = arrow_filesystem(uri)
            found = filesystem.get_file_info(path)
            return f"{found.size}/{found.mtime_ns}" if found.is_file else None
        status = os.stat(uri)  # noqa: PTH116 - a million of them
    except (OSError, ValueError, NotImplementedError, S2MError):
        return None
    return f"{status.st_size}/{status.st_mtime_ns}"
