"""Table of items, no audio: one row an audio file, or a window of one."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from s2m_ray.config import SPLITS
from s2m_ray.errors import ManifestError
from s2m_ray.files import replacing
from s2m_ray.place import Place, Remote, read_table

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
FORMATS = (".parquet", ".csv", ".jsonl")
NO_COLUMNS = pa.schema([])


def from_rows(rows: Sequence[Mapping[str, Any]], where: str) -> pa.Table:
    """Checked table of rows; columns that a row lacks are null.

    Raises:
        ManifestError: as :func:`check`.
    """
    table = as_table(rows, where)
    check(table, where)
    return table


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


def read_manifest(path: Place, extra: pa.Schema = NO_COLUMNS) -> pa.Table:
    """Rows of a Parquet, CSV or JSONL manifest with relative ``uri`` made absolute, from the manifest's folder.

    Args:
        extra: Columns to keep, if they are there, beside those that every manifest has.

    Raises:
        ManifestError: the file is not there, is of another format, or breaks a rule of :func:`check`.
    """
    _require_format(path)
    if not path.is_file():
        raise ManifestError(f"{path}: no such manifest; make one with `s2m manifest`")
    table = _with_schema(_read(path), str(path), extra)
    check(table, str(path))
    uris = [resolve(uri, path.parent) for uri in table["uri"].to_pylist()]
    return table.set_column(SCHEMA.get_field_index("uri"), "uri", pa.array(uris, pa.string()))


def write_manifest(table: pa.Table, path: Place) -> None:
    """Write a manifest in the format of its suffix, whole or not at all.

    Raises:
        ManifestError: the suffix is not one of ``FORMATS``.
    """
    with writing(path, table.schema) as write:
        write(table)


@contextmanager
def writing(path: Place, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Write a manifest piece by piece; it is there, whole, when the block succeeds, and else not at all.

    What goes to object storage is made on this machine's disk first.

    Raises:
        ManifestError: the suffix is not one of ``FORMATS``.
    """
    _require_format(path)
    if isinstance(path, Path):
        with replacing(path) as temporary, _writer(temporary, schema) as write:
            yield write
        return
    path.require_writable()
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / f"manifest{path.suffix}"
        with _writer(local, schema) as write:
            yield write
        with pa.memory_map(str(local)) as content:
            path.write_bytes(content.read_buffer())


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, schema) as parquet:
            yield parquet.write_table
    elif path.suffix == ".csv":
        with pa.csv.CSVWriter(path, schema) as csv:
            yield csv.write_table
    else:
        with path.open("w", encoding="utf-8") as lines:
            yield lambda table: lines.writelines(
                json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()
            )


def _require_format(path: Place) -> None:
    if path.suffix not in FORMATS:
        raise ManifestError(f"{path}: unknown format '{path.suffix}', expected one of {', '.join(FORMATS)}")


def resolve(uri: str, folder: Place) -> str:
    """Paths relative to ``folder`` become absolute; URIs stay as they are.

    Raises:
        ManifestError: ``folder`` is a URI with credentials, which would be stored with each item.
    """
    if "://" in uri:
        return uri
    if isinstance(folder, Path):
        return str((folder / uri).absolute())
    if uri.startswith("/"):
        raise ManifestError(f"{folder}: uri '{uri}' is a path of one machine, expected a URI or a relative path")
    if folder.has_secrets:
        raise ManifestError(
            f"{folder}: uri '{uri}' is relative to an address with credentials, which would be stored with it; give "
            "them in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        )
    return (folder / uri).uri


def check(table: pa.Table, where: str) -> None:
    """Refuse a manifest that later steps could not rely on.

    Raises:
        ManifestError: no rows; an ``item_id`` or ``uri`` that is null, empty or (ids) repeated; an unknown
            modality or split; a window or coordinate out of range.
    """
    if table.num_rows == 0:
        raise ManifestError(f"{where}: no items found, expected at least one")
    check_rows(table, where)
    refuse_repeated(lambda: [table], where)


def refuse_repeated(tables: Callable[[], Iterable[pa.Table]], where: str) -> None:
    """Nothing, if every ``item_id`` occurs once; eight bytes of each are held.

    Args:
        tables: Gives the rows piece by piece; asked again for the name of one that is repeated.

    Raises:
        ManifestError: with that name.
    """
    parts = [np.array([hash(i) for i in table["item_id"].to_pylist()], np.int64) for table in tables()]
    hashes, counts = np.unique(np.concatenate(parts), return_counts=True) if parts else (np.array([]),) * 2
    if not (counts > 1).any():
        return
    suspects = set(hashes[counts > 1].tolist())
    seen: dict[str, int] = {}
    for table in tables():
        for item_id in table["item_id"].to_pylist():
            if hash(item_id) in suspects:
                seen[item_id] = seen.get(item_id, 0) + 1
    for item_id, count in seen.items():
        if count > 1:
            raise ManifestError(
                f"{where}: item_id '{item_id}' occurs {count} times, expected each once; "
                "are several files listed under one name?"
            )


def check_rows(table: pa.Table, where: str) -> None:
    """The rules of :func:`check` that hold for each row by itself.

    Raises:
        ManifestError: as there.
    """
    for name in ("item_id", "uri"):
        _refuse(table, pc.fill_null(pc.equal(table[name], ""), True), where, name, "a value in every row")
    for name, allowed in (("modality", MODALITIES), ("split", SPLITS)):
        if name == "modality":
            _refuse(table, pc.is_null(table[name]), where, name, f"one of {', '.join(allowed)}")
        unknown = pc.invert(pc.is_in(table[name], pa.array([*allowed, None], pa.string())))
        _refuse(table, unknown, where, name, f"one of {', '.join(allowed)}")
    for name in ("valence", "arousal"):
        out = pc.invert(pc.and_(pc.greater_equal(table[name], 0.0), pc.less_equal(table[name], 1.0)))
        _refuse(table, out, where, name, "a value in [0, 1] or none")
    for name in ("start_s", "end_s"):
        _refuse(table, pc.invert(pc.is_finite(table[name])), where, name, "a finite number or none")
    _refuse(table, pc.less(table["start_s"], 0.0), where, "start_s", "0 or more")
    starts = pc.fill_null(table["start_s"], 0.0)
    _refuse(table, pc.less_equal(table["end_s"], starts), where, "end_s", "a value above start_s")


def _refuse(table: pa.Table, wrong: pa.ChunkedArray, where: str, name: str, expected: str) -> None:
    rows = pc.indices_nonzero(pc.fill_null(wrong, False))
    if len(rows):
        first = rows[0].as_py()
        found, item_id = table[name][first].as_py(), table["item_id"][first].as_py()
        raise ManifestError(
            f"{where}: row {first + 1}, item '{item_id}': {name}={found!r}, expected {expected} "
            f"({len(rows)} such rows)"
        )


def _read(path: Place) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return read_table(path)
        if path.suffix == ".csv":
            strings = {f.name: f.type for f in SCHEMA}
            return pa.csv.read_csv(
                source(path),
                # only an empty field is null: a file may well be called "NA"
                convert_options=pa.csv.ConvertOptions(
                    column_types=strings, strings_can_be_null=True, null_values=[""]
                ),
            )
        return read_jsonl(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{path}: cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}") from None


def read_jsonl(path: Place) -> pa.Table:
    """Table of JSON lines in which a string stays a string; Arrow takes one such as 2024-05-06 for a timestamp."""
    table = pa.json.read_json(source(path))
    dates = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    schema = pa.schema([(name, pa.string()) for name in dates])
    return (
        pa.json.read_json(source(path), parse_options=pa.json.ParseOptions(explicit_schema=schema))
        if dates
        else table
    )


def source(path: Place) -> Any:
    """What Arrow's readers of text take."""
    return pa.BufferReader(path.read_bytes()) if isinstance(path, Remote) else path


def _with_schema(table: pa.Table, where: str, extra: pa.Schema) -> pa.Table:
    missing = [name for name in ("item_id", "uri", "modality") if name not in table.column_names]
    if missing:
        raise ManifestError(
            f"{where}: column '{missing[0]}' is missing, found {', '.join(table.column_names)}; "
            "`s2m manifest table` maps other column names"
        )
    columns = []
    wanted_columns = pa.schema([*SCHEMA, *(field for field in extra if field.name in table.column_names)])
    for wanted in wanted_columns:
        if wanted.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, wanted.type))
            continue
        try:
            columns.append(table[wanted.name].cast(wanted.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            found = table[wanted.name].type
            raise ManifestError(f"{where}: column '{wanted.name}' has type {found}, expected {wanted.type}") from None
    return pa.table(columns, schema=wanted_columns)
