"""Import a user's CSV, JSONL or Parquet table with the help of a column map."""

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa
import pyarrow.csv

from s2m_ray.corpora.corpus import Corpus
from s2m_ray.corpora.listing import Notes
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.files.tables import read_table
from s2m_ray.manifest.formats import read_jsonl, resolve, source
from s2m_ray.manifest.schema import SCHEMA, Row

FORMATS = (".csv", ".jsonl", ".parquet")


def rows(
    root: Place, notes: Notes, *, modality: str = "", corpus: str = "", split: str = "", columns: str = ""
) -> list[Row]:
    """Return one row for each row of the table.

    Args:
        root: The table; relative paths in it are relative to its folder.
        modality: For tables without such a column; likewise ``corpus`` (default: the file's name) and ``split``.
        columns: Column map ``ours=theirs,...``. Columns that carry our names are taken as they are, unless the
            map gives another. ``item_id`` defaults to the ``uri`` as written.

    Raises:
        ManifestError: The table cannot be read, or lacks a column of the map.
    """
    if root.suffix not in FORMATS:
        raise ManifestError(f"{root}: unknown format '{root.suffix}', expected one of {', '.join(FORMATS)}")
    mapped = column_map(columns, root)
    table = read(root, {theirs: SCHEMA.field(ours).type for ours, theirs in mapped.items()})
    names = {name: name for name in SCHEMA.names if name in table.column_names} | mapped
    for ours, theirs in names.items():
        if theirs not in table.column_names:
            raise ManifestError(
                f"{root}: column '{theirs}' (for {ours}) is missing, found {', '.join(table.column_names)}"
            )
    if "uri" not in names:
        raise ManifestError(f"{root}: no column gives the uri, expected --columns uri=NAME")
    given = {"modality": modality, "split": split, "corpus": corpus}
    defaults = {name: value for name, value in given.items() if value}
    rows_read: list[Row] = []
    for row in table.to_pylist():
        values = {ours: row[theirs] for ours, theirs in names.items()}
        values = {"corpus": root.stem, "item_id": values["uri"]} | values | defaults
        for name in ("item_id", "speaker", "emotion", "text"):  # numbers serve as names in many tables
            if values.get(name) is not None:
                values[name] = str(values[name])
        if values["uri"] is not None:  # else the manifest's check names the row
            values["uri"] = resolve(str(values["uri"]), root.parent)
        rows_read.append(values)
    return rows_read


def read(path: Place, types: Mapping[str, pa.DataType] = MappingProxyType({})) -> pa.Table:
    """Return the table with its strings as written: "007" stays text, "NA" is a value, and a date is no timestamp.

    Args:
        types: Types of a CSV's columns, besides the columns with our names.

    Raises:
        ManifestError: The table cannot be read.
    """
    try:
        if path.suffix == ".parquet":
            return read_table(path)
        if path.suffix == ".jsonl":
            return read_jsonl(path)
        known = {field.name: field.type for field in SCHEMA} | dict(types)
        options = pa.csv.ConvertOptions(column_types=known, strings_can_be_null=True, null_values=[""])
        return pa.csv.read_csv(source(path), convert_options=options)
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def column_map(columns: str, root: Place) -> dict[str, str]:
    """Parse ``ours=theirs,...`` and return their column names by ours.

    Raises:
        ManifestError: The text has another form, or our name is no column of a manifest.
    """
    names = {}
    for pair in filter(None, columns.split(",")):
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if not equals or ours not in SCHEMA.names:
            raise ManifestError(
                f"{root}: --columns {pair}: expected ours=theirs with ours one of {', '.join(SCHEMA.names)}"
            )
        names[ours] = theirs
    return names


TABLE = Corpus("table", "a CSV, JSONL or Parquet file; --columns maps its names", "column split", rows)
