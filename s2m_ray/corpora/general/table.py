"""A CSV, JSONL or Parquet table of somebody else's, with a column map."""

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
    """One row a table row.

    Args:
        root: The table; relative paths in it are relative to its folder.
        modality: For tables without such a column; likewise ``corpus`` (default: the file's name) and ``split``.
        columns: Column map ``ours=theirs,...``. Columns that carry our names are taken as they are, unless the
            map gives another. ``item_id`` defaults to the ``uri`` as written.

    Raises:
        ManifestError: unreadable table, or a column of the map that is not there.
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
    found: list[Row] = []
    for row in table.to_pylist():
        values = {ours: row[theirs] for ours, theirs in names.items()}
        values = {"corpus": root.stem, "item_id": values["uri"]} | values | defaults
        for name in ("item_id", "speaker", "emotion", "text"):  # numbers serve as names in many tables
            if values.get(name) is not None:
                values[name] = str(values[name])
        if values["uri"] is not None:  # else the manifest's check names the row
            values["uri"] = resolve(str(values["uri"]), root.parent)
        found.append(values)
    return found


def read(path: Place, types: Mapping[str, pa.DataType] = MappingProxyType({})) -> pa.Table:
    """The table with strings as written: "007" is no number, "NA" no missing value, a date no timestamp.

    Args:
        types: Of a CSV's columns, beside those with our names.

    Raises:
        ManifestError: unreadable.
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
    """Theirs by ours, of ``ours=theirs,...``.

    Raises:
        ManifestError: not of that form, or ours is no column of a manifest.
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
