"""The columns of a manifest: a table of items, where each row is an audio file, a window of one, or a text."""

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
Row = dict[str, Any]  # values by the names of SCHEMA
NO_COLUMNS = pa.schema([])


def as_table(rows: Sequence[Mapping[str, Any]], where: str) -> pa.Table:
    """Return a table of rows, of which only the types are checked.

    Args:
        rows: Values by column name. Columns that a row lacks are null, and other values are dropped.
        where: Where the rows come from, for messages.

    Raises:
        ManifestError: A value has another type than its column.
    """
    values = [{name: row.get(name) for name in SCHEMA.names} for row in rows]
    try:
        return pa.Table.from_pylist(values, schema=SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ManifestError(
            f"{where}: a value does not have the type of its column: {str(error).splitlines()[0]}"
        ) from None
