"""Import WebDataset: tar shards whose members belong together by the name before the first dot.

A sample is ``000123.mp3`` with ``000123.json`` (its columns), ``000123.cls`` (its label) or ``000123.txt`` (its
words). Nothing is unpacked. The uri of a row names the bytes within the shard, and only these bytes are read.
"""

import json
import posixpath
import tarfile
from collections.abc import Iterator
from typing import Any

from s2m_ray.config.corpora import SPLITS
from s2m_ray.corpora.corpus import Corpus
from s2m_ray.corpora.general.table import column_map
from s2m_ray.corpora.listing import SUFFIXES, Found, Notes, files, uri_of
from s2m_ray.errors import ManifestError
from s2m_ray.files.addresses import member_uri
from s2m_ray.files.place import Place, place
from s2m_ray.manifest.schema import SCHEMA, Row

SIDE = ("json", "cls", "txt")
SIDE_BYTES = 1 << 20  # the most that a member beside the audio may have; a larger one is no label
GIVEN = ("split", "emotion", "valence", "arousal", "speaker", "text", "modality", "corpus")


def rows(
    root: Place, notes: Notes, *, modality: str, corpus: str = "", split: str = "", columns: str = ""
) -> Iterator[Row]:
    """Yield one row for each audio member of the ``.tar`` files below ``root``.

    A shard named ``train-...`` belongs to that split.

    Args:
        modality: ``speech`` or ``music``.
        split: The split of shards whose name or folder tells none.
        columns: Map ``ours=theirs,...`` of the JSON's keys; keys that carry our names are taken too.

    Raises:
        ManifestError: There is no shard or no audio in any, a shard is no tar file, or a JSON member is not valid.
    """
    shards = [root] if root.is_file() else []
    listed = [Found(root.name, uri_of(root))] if shards else files(root, notes, (".tar",))
    keys = {name: name for name in GIVEN} | column_map(columns, root)
    name, empty = corpus or root.name.removesuffix(".tar"), True
    for shard in listed:
        parts = shard.relative.lower().replace("/", "-").replace("_", "-").removesuffix(".tar").split("-")
        of_shard = next((part for part in parts if part in SPLITS), split or None)
        for key, uri, beside in _samples(shard):
            empty = False
            values: Row = {"modality": modality, "corpus": name, "split": of_shard}
            values |= _values(beside, keys, f"{shard.uri}: {key}")
            yield {"item_id": f"{name}/{posixpath.splitext(shard.relative)[0]}/{key}", "uri": uri, **values}
    if empty:
        raise ManifestError(f"{root}: no audio found in .tar files, expected shards such as train-000000.tar")


def _samples(shard: Found) -> Iterator[tuple[str, str, dict[str, bytes]]]:
    """Yield the key, audio address and other members of each sample, whose members must be neighbours."""
    key, audio, beside = "", "", dict[str, bytes]()
    where = place(shard.uri)
    try:
        with where.open("rb") as stream:
            archive = tarfile.TarFile(fileobj=stream)
            while (member := archive.next()) is not None:
                setattr(archive, "members", [])  # noqa: B010 - it would remember every one, and its type hides that
                base = posixpath.basename(member.name)
                if not member.isreg() or base.startswith("."):
                    continue
                stem, _, suffix = base.partition(".")
                current = posixpath.join(posixpath.dirname(member.name), stem)
                if current != key:
                    if audio:
                        yield key, audio, beside
                    key, audio, beside = current, "", {}
                if f".{suffix.lower()}" in SUFFIXES:
                    audio = member_uri(shard.uri, member.offset_data, member.offset_data + member.size)
                elif suffix in SIDE and member.size <= SIDE_BYTES:
                    content = archive.extractfile(member)
                    beside[suffix] = content.read() if content else b""
    except tarfile.TarError as error:
        raise ManifestError(f"{shard.uri}: not a tar file, or cut off: {error}") from None
    if audio:
        yield key, audio, beside


def _values(beside: dict[str, bytes], keys: dict[str, str], where: str) -> Row:
    described: dict[str, Any] = {}
    if "json" in beside:
        try:
            described = json.loads(beside["json"])
        except ValueError as error:
            raise ManifestError(f"{where}.json: not valid JSON: {error}") from None
        if not isinstance(described, dict):
            raise ManifestError(f"{where}.json: expected a JSON object")
    values = {ours: described[theirs] for ours, theirs in keys.items() if described.get(theirs) is not None}
    if "cls" in beside:
        values.setdefault("emotion", beside["cls"].decode(errors="replace").strip())
    if "txt" in beside:
        values.setdefault("text", beside["txt"].decode(errors="replace").strip())
    strings = [field.name for field in SCHEMA if str(field.type) == "string"]
    return {ours: str(value) if ours in strings else value for ours, value in values.items()}


WEBDATASET = Corpus("webdataset", "[SPLIT-]NNNNNN.tar with KEY.wav, KEY.json, ...", "by shard or folder name", rows)
