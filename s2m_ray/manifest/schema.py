"""Table of items, no audio: one row an audio file, or a window of one."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from s2m_ray.errors import ManifestError

SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("uri", pa.string()),
        ("modality", pa.string()),
        ("corpus", pa.string()),
        ("split", pa.string()),
        ("emotion", pa.string()),
        ("valence", pa.float64()),
        ("arousal", pa.float64()),
        ("speaker", pa.string()),
        ("text", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("duration_s", pa.float64()),
    ]
)
MODALITIES = ("speech", "music", "text")
Row = dict[str, Any]  # by the names of SCHEMA
NO_COLUMNS = pa.schema([])


def as_table(rows: Sequence[Mapping[str, Any]], where: str) -> pa.Table:
    """The same without the checks, but for the types.

    Raises:
        ManifestError: a value is not of its column's type.
    """
    values = [{name: row.get(name) for name in SCHEMA.names} for row in rows]
    try:
        return pa.Table.from_pylist(values, schema=SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ManifestError(f"{where}: a value is not of its column's type: {str(error).splitlines()[0]}") from None
