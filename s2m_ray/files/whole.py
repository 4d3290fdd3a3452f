"""Write files that are either whole or not there.

A local file gets a temporary name, is flushed and then renamed. A remote file is one upload.
"""

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
    """Give a temporary name beside ``path`` to write to. It becomes ``path`` only if the block succeeds.

    The temporary name is unique. It starts with a dot, so readers that glob ``part-*`` never see it. It keeps the
    suffix, because writers choose a format by the suffix.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "notes.txt"
    ...     with replacing(path) as temporary:
    ...         written = temporary.write_text("whole")
    ...         path.exists()
    ...     path.read_text()
    False
    'whole'
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
    """Write a header as JSON, whole or not at all."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    if is_local(path):
        with replacing(path) as temporary:
            temporary.write_text(text)
    else:
        path.write_bytes(text.encode())


def read_json(path: Place, error: type[S2MError]) -> dict[str, Any]:
    """Read a header that :func:`write_json` wrote.

    Args:
        path: The file.
        error: Class of the error to raise.

    Raises:
        error: The file cannot be read or is not a JSON object.
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
    """Return the size and the time of the last change of a file, which tell whether the file is still the same.

    Args:
        uri: Local path, or a URI that pyarrow opens. A member of a tar shard has the stamp of its shard.

    Returns:
        ``size/nanoseconds``, or None if the file is not there.
    """
    uri = outer_of(uri)[0]
    try:
        if "://" in uri:
            filesystem, path = arrow_filesystem(uri)
            info = filesystem.get_file_info(path)
            return f"{info.size}/{info.mtime_ns}" if info.is_file else None
        status = os.stat(uri)  # noqa: PTH116 - a Path for each of a million files is slow
    except (OSError, ValueError, NotImplementedError, S2MError):
        return None
    return f"{status.st_size}/{status.st_mtime_ns}"
