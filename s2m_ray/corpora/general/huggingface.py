"""Import a folder of Hugging Face's `datasets`: Arrow saved to disk, Parquet shards, or audio files with metadata.

The package itself is not needed. Audio within Arrow or Parquet files is written out to a folder once, because a
manifest names files. Class labels are numbers, and the dataset's features give their names.
"""

import json
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from s2m_ray.config.corpora import SPLITS
from s2m_ray.corpora.corpus import Corpus
from s2m_ray.corpora.general import table
from s2m_ray.corpora.general.table import column_map
from s2m_ray.corpora.listing import Found, Notes, files
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place, is_local
from s2m_ray.files.whole import replacing
from s2m_ray.manifest.schema import Row

# for each column of ours, the names that datasets use; the first that exists counts
GUESSES = {
    "emotion": ("emotion", "label", "labels", "mood", "class"),
    "speaker": ("speaker", "speaker_id", "actor", "artist"),
    "text": ("text", "transcription", "sentence", "transcript"),
    "valence": ("valence",),
    "arousal": ("arousal",),
    "split": ("split",),
}
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
THEIR_SPLITS = {"validation": "valid", "val": "valid", "dev": "valid", "eval": "test"} | {
    name: name for name in SPLITS
}
BATCH = 64  # rows of audio held at once


def rows(
    root: Place,
    notes: Notes,
    *,
    modality: str,
    corpus: str = "",
    split: str = "",
    columns: str = "",
    extract: str = "",
) -> Iterator[Row]:
    """Yield one row for each row of the dataset.

    Args:
        modality: ``speech``, ``music`` or ``text``.
        corpus: Name to record; the folder's own name if empty.
        split: The split of rows that no folder or file name assigns.
        columns: Map ``ours=theirs,...``, which goes before what the columns' names tell.
        extract: Folder for audio that lies within the dataset's files; existing files are kept.

    Raises:
        ManifestError: The folder is no dataset, a column of the map is missing, or ``extract`` is needed.
    """
    if not is_local(root) or not root.is_dir():
        raise ManifestError(f"{root}: expected the local folder of a dataset")
    name = corpus or root.name
    metadata = [path for path in sorted(root.rglob("metadata.*")) if path.name in METADATA]
    if metadata:
        yield from _audiofolder(metadata, root, notes, modality, name, split, columns)
        return
    shards = [file for file in files(root, notes, (".arrow", ".parquet")) if not _is_cache(file.relative)]
    if not shards:
        raise ManifestError(
            f"{root}: neither .arrow nor .parquet files nor {METADATA[0]}, expected a dataset of save_to_disk, "
            "Parquet shards of the hub, or an audiofolder"
        )
    yield from _sharded(shards, modality, name, split, columns, extract)


def _sharded(shards: list[Found], modality: str, name: str, split: str, columns: str, extract: str) -> Iterator[Row]:
    seen = 0
    for shard in shards:
        of_shard = _split_of(shard.relative) or split or None
        for batch, labels in _batches(Path(shard.uri)):
            keys = _keys(batch.schema, columns, Path(shard.uri))
            for line in batch.to_pylist():
                item = f"{of_shard or 'all'}/{seen:08d}"
                seen += 1
                values = {ours: _plain(line[theirs], labels.get(theirs)) for ours, theirs in keys.items()}
                row: Row = {"item_id": f"{name}/{item}", "modality": modality, "corpus": name, "split": of_shard}
                row = _filled(row, values)
                row["uri"] = (
                    shard.uri if modality == "text" else _audio_uri(line, batch.schema, item, shard.uri, extract)
                )
                yield row


def _audiofolder(
    metadata: list[Path], root: Path, notes: Notes, modality: str, name: str, split: str, columns: str
) -> Iterator[Row]:
    for path in metadata:
        listed = table.read(path)
        keys = _keys(listed.schema, columns, path)
        if "file_name" not in listed.column_names:
            raise ManifestError(f"{path}: column 'file_name' is missing, found {', '.join(listed.column_names)}")
        of_folder = _split_of(str(path.parent.relative_to(root)) + "/") or split or None
        for line in listed.to_pylist():
            relative = (path.parent / line["file_name"]).relative_to(root)
            values = {ours: _plain(line[theirs], None) for ours, theirs in keys.items()}
            row: Row = {
                "item_id": f"{name}/{relative.as_posix()}",
                "uri": str(root / relative),
                "modality": modality,
                "corpus": name,
                "split": _split_of(line["file_name"]) or of_folder,
            }
            yield _filled(row, values)


def _filled(row: Row, values: dict[str, Any]) -> Row:
    filled = row | {ours: value for ours, value in values.items() if value is not None}
    filled["split"] = THEIR_SPLITS.get(str(filled["split"]), filled["split"])
    return filled


def _is_cache(relative: str) -> bool:
    return posixpath.basename(relative).startswith("cache-")


def _split_of(relative: str) -> str | None:
    """Return the split in ``train/data-00000-of-00002.arrow`` or ``data/train-00000-of-00001.parquet``."""
    words = relative.lower().replace("/", "-").replace("_", "-").replace(".", "-").split("-")
    return next((THEIR_SPLITS[word] for word in words if word in THEIR_SPLITS), None)


def _batches(path: Path) -> Iterator[tuple[pa.RecordBatch, dict[str, list[str]]]]:
    """Yield the rows in batches, with the class names of each column of class labels."""
    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            labels = _class_names(file.schema_arrow, path)
            yield from ((batch, labels) for batch in file.iter_batches(BATCH))
            return
        with pa.memory_map(str(path)) as mapped, pa.ipc.open_stream(mapped) as reader:
            labels = _class_names(reader.schema, path)
            for batch in reader:
                for start in range(0, batch.num_rows, BATCH):
                    yield batch.slice(start, BATCH), labels
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def _class_names(schema: pa.Schema, path: Path) -> dict[str, list[str]]:
    info = path.parent / "dataset_info.json"
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {})
    if info.is_file():
        described = json.loads(info.read_text(encoding="utf-8"))
    features = described.get("features") or {}
    return {name: f["names"] for name, f in features.items() if isinstance(f, dict) and "names" in f}


def _keys(schema: pa.Schema, columns: str, path: Path) -> dict[str, str]:
    given = column_map(columns, path)
    for ours, theirs in given.items():
        if theirs not in schema.names:
            raise ManifestError(f"{path}: column '{theirs}' (for {ours}) is missing, found {', '.join(schema.names)}")
    guessed = {ours: next((n for n in names if n in schema.names), None) for ours, names in GUESSES.items()}
    return {ours: theirs for ours, theirs in guessed.items() if theirs} | given


def _plain(value: Any, names: list[str] | None) -> Any:
    if names is not None and isinstance(value, int):
        if not 0 <= value < len(names):
            return None  # -1: unlabelled
        return names[value]
    return str(value) if isinstance(value, int) else value


def _audio_uri(line: dict[str, Any], schema: pa.Schema, item: str, shard: str, extract: str) -> str:
    audio = next(
        (line[f.name] for f in schema if pa.types.is_struct(f.type) and "path" in (line[f.name] or {})), None
    )
    if audio is None:
        audio = {"path": next((line[n] for n in ("path", "file", "audio") if isinstance(line.get(n), str)), None)}
    path, content = audio.get("path"), audio.get("bytes")
    if content is None and path:
        return str((Path(shard).parent / path).absolute())
    if content is None:
        raise ManifestError(
            f"{shard}: item '{item}': neither path nor bytes of audio, found {', '.join(schema.names)}"
        )
    if not extract:
        raise ManifestError(f"{shard}: the audio lies within this file, expected --extract FOLDER to write it to")
    target = Path(extract).absolute() / f"{item}{posixpath.splitext(path or '')[1] or '.wav'}"
    if not target.exists():
        with replacing(target) as temporary:
            temporary.write_bytes(content)
    return str(target)


HUGGINGFACE = Corpus(
    "huggingface",
    "`datasets`: Arrow, Parquet, or audiofolder with metadata.csv",
    "by folder or file name",
    rows,
)
