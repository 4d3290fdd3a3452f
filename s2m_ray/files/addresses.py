"""Handle addresses as texts: leave secrets out of a URI, and address a member of a tar shard."""

import re

RANGE = re.compile(r"#bytes=(\d+)-(\d+)$")
S3_OPTIONS = ("region", "scheme", "endpoint_override", "tls_ca_file_path")  # options that the query of a URI may set
SECRETS = re.compile(r"(\w+://)(?:[^\s/@'\"]*@|[^\s/@:'\"]+:[^\s@'\"]+@)?([^\s?'\"]*)(?:\?[^\s'\"]*)?")


def masked(text: str) -> str:
    """Return a text without the user, the password and the query of every URI in it.

    >>> masked("cannot open 's3://KEY:SECRET@bucket/a?region=x': no such file")
    "cannot open 's3://bucket/a': no such file"
    """
    return SECRETS.sub(r"\1\2", text)


def member_uri(outer: str, start: int, stop: int) -> str:
    """Return the address of the bytes ``[start, stop)`` of a file.

    >>> member_uri("s3://bucket/train-000000.tar", 512, 90112)
    's3://bucket/train-000000.tar#bytes=512-90112'
    """
    return f"{outer}#bytes={start}-{stop}"


def outer_of(uri: str) -> tuple[str, tuple[int, int] | None]:
    """Return the file that an address is in and the range of bytes, which is None for a whole file.

    >>> outer_of("/shards/a.tar#bytes=512-90112")
    ('/shards/a.tar', (512, 90112))
    >>> outer_of("/music/a.flac")
    ('/music/a.flac', None)
    """
    member = RANGE.search(uri)
    return (uri[: member.start()], (int(member[1]), int(member[2]))) if member else (uri, None)
