"""Addresses as texts: leave secrets out of a URI, and address a member of a tar shard."""

import re

RANGE = re.compile(r"#bytes=(\d+)-(\d+)$")
S3_OPTIONS = ("region", "scheme", "endpoint_override", "tls_ca_file_path")  # of the query of a URI
SECRETS = re.compile(r"(\w+://)(?:[^\s/@'\"]*@|[^\s/@:'\"]+:[^\s@'\"]+@)?([^\s?'\"]*)(?:\?[^\s'\"]*)?")


def masked(text: str) -> str:
    """A text whose URIs have neither user and password nor query."""
    return SECRETS.sub(r"\1\2", text)


def member_uri(outer: str, start: int, stop: int) -> str:
    """Address of the bytes ``[start, stop)`` of a file."""
    return f"{outer}#bytes={start}-{stop}"


def outer_of(uri: str) -> tuple[str, tuple[int, int] | None]:
    """The outer file and the range in it; a uri of a whole file as it is, and None."""
    found = RANGE.search(uri)
    return (uri[: found.start()], (int(found[1]), int(found[2]))) if found else (uri, None)
