"""A file within another one, such as a tar shard: ``shard-000.tar#bytes=512-3746``, the last byte not included.

Only the bytes are read that the member has, wherever the outer file is.
"""

import re

RANGE = re.compile(r"#bytes=(\d+)-(\d+)$")


def member_uri(outer: str, start: int, stop: int) -> str:
    """Address of the bytes ``[start, stop)`` of a file."""
    return f"{outer}#bytes={start}-{stop}"


def outer_of(uri: str) -> tuple[str, tuple[int, int] | None]:
    """The outer file and the range in it; a uri of a whole file as it is, and None."""
    found = RANGE.search(uri)
    return (uri[: found.start()], (int(found[1]), int(found[2]))) if found else (uri, None)
