"""Read and write manifests as Parquet, CSV or JSON lines."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place, address_of, has_secrets, is_local, require_writable
from s2m_ray.files.tables import read_table
from s2m_ray.files.whole import replacing
from s2m_ray.manifest.checks import check
from s2m_ray.manifest.schema import NO_COLUMNS, SCHEMA

FORMATS = (".parquet", ".csv", ".jsonl")


def read_manifest(path: Place, extra: pa.Schema = NO_COLUMNS) -> pa.Table:
    """Return the checked rows of a Parquet, CSV or JSONL manifest.

    A ``uri`` that is a relative path starts at the folder of the manifest, and becomes absolute.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "songs.csv"
    ...     _ = path.write_text("item_id,uri,modality,emotion\\n1,/music/a.wav,music,happy\\n")
    ...     table = read_manifest(path)
    >>> table["emotion"].to_pylist(), table["split"].to_pylist()
    (['happy'], [None])

    Args:
        path: Local path, or a place in object storage.
        extra: Columns to keep, if the manifest has them, beside the columns of ``SCHEMA``.

    Returns:
        The columns of ``SCHEMA``, then the extra columns. Columns that the file lacks are null.

    Raises:
        ManifestError: The file does not exist, has another format, or breaks a rule of :func:`check`.
    """
    _require_format(path)
    if not path.is_file():
        raise ManifestError(f"{path}: no such manifest. Make one with `s2m manifest`, or check the path.")
    table = _with_schema(_read(path), str(path), extra)
    check(table, str(path))
    uris = [resolve(uri, path.parent) for uri in table["uri"].to_pylist()]
    return table.set_column(SCHEMA.get_field_index("uri"), "uri", pa.array(uris, pa.string()))


def write_manifest(table: pa.Table, path: Place) -> None:
    """Write a manifest in the format of its suffix, whole or not at all.

    Raises:
        ManifestError: The suffix is not one of ``FORMATS``.
    """
    with writing(path, table.schema) as write:
        write(table)


@contextmanager
def writing(path: Place, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Write a manifest piece by piece, in the format of its suffix.

    The file appears, whole, when the block succeeds. If the block fails, nothing appears. A manifest for object
    storage is made on this machine's disk first.

    Yields:
        A function that writes the next piece.

    Raises:
        ManifestError: The suffix is not one of ``FORMATS``.
    """
    _require_format(path)
    if is_local(path):
        with replacing(path) as temporary, _writer(temporary, schema) as write:
            yield write
        return
    require_writable(path)
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
    """Return the absolute address of a path that is relative to ``folder``.

    >>> resolve("songs/a.wav", Path("/music")), resolve("s3://bucket/a.wav", Path("/music"))
    ('/music/songs/a.wav', 's3://bucket/a.wav')

    Args:
        uri: A path, or a URI, which stays as it is.
        folder: The folder of the manifest.

    Raises:
        ManifestError: ``folder`` is a URI and ``uri`` an absolute path, or ``folder`` has credentials, which would be
            stored with each item.
    """
    if "://" in uri:
        return uri
    if is_local(folder):
        return str((folder / uri).absolute())
    if uri.startswith("/"):
        raise ManifestError(f"{folder}: uri '{uri}' is a path of one machine, expected a URI or a relative path")
    if has_secrets(folder):
        raise ManifestError(
            f"{folder}: uri '{uri}' is relative to an address with credentials, which would be stored with the item. "
            "Set them in the environment instead (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."
        )
    return address_of(folder / uri)


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
    """Return a table of JSON lines in which every string stays a string; Arrow takes 2024-05-06 for a timestamp."""
    table = pa.json.read_json(source(path))
    dates = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    schema = pa.schema([(name, pa.string()) for name in dates])
    return (
        pa.json.read_json(source(path), parse_options=pa.json.ParseOptions(explicit_schema=schema))
        if dates
        else table
    )


def source(path: Place) -> Any:
    """Return a place as Arrow's readers of text take it."""
    return path if is_local(path) else pa.BufferReader(path.read_bytes())


def _with_schema(table: pa.Table, where: str, extra: pa.Schema) -> pa.Table:
    """Return the columns of ``SCHEMA`` and the extra columns, each with its type."""
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
            actual = table[wanted.name].type
            raise ManifestError(
                f"{where}: column '{wanted.name}' has type {actual}, expected {wanted.type}"
            ) from None
    return pa.table(columns, schema=wanted_columns)
