"""Settings of `s2m manifest`."""

from dataclasses import field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from s2m_ray.config.checks import allowed_rejects, require, settings
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.files.place import Place, require_writable

Split = Literal["train", "valid", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
IMPORTER: dict[str, Any] = {"importer": True}  # marks the fields that are passed on to the importer of the corpus


def importer(description: str) -> Any:
    """Declare an option of single importers. An empty text means that it was not given."""
    return Field(description=description, json_schema_extra=IMPORTER)


@settings()
class ManifestConfig:
    """Settings that turn a corpus into a manifest, or that check an existing manifest."""

    corpus: Annotated[
        str,
        Field(
            description="ravdess, iemocap, hikia, emodb, emofilm, isear, alm, audioset, vgmidi, 4q, ch818; or "
            "folder, table, huggingface, webdataset. --list shows their layouts."
        ),
    ] = ""
    root: Annotated[
        Place | None, Field(description="The corpus's folder, or the table; a path or a URI (s3://, gs://).")
    ] = None
    out: Annotated[
        Place | None, Field(description="Manifest to write: .parquet, .csv or .jsonl; a path or a URI.")
    ] = None
    check: Annotated[Place | None, Field(description="Check this manifest instead of importing a corpus.")] = None
    probe: Annotated[
        bool, Field(description="Look into every file: length, sample rate, channels, checksum, tags.")
    ] = False
    checksum: Annotated[
        bool, Field(description="Compute checksums of the sound. Without this, only headers are read.")
    ] = True
    modality: Annotated[str, importer("General corpora: speech, music or text.")] = ""
    split: Annotated[str, importer("General corpora: split for rows that name no split.")] = ""
    name: Annotated[str, Field(description="General corpora: name of the corpus.")] = ""
    columns: Annotated[str, importer("table, huggingface, webdataset: column map, ours=theirs,...")] = ""
    classes: Annotated[str, importer("ravdess: 8 or 7; iemocap: 6 or 4.")] = ""
    fold: Annotated[str, importer("hikia: speaker of the test split.")] = ""
    language: Annotated[str, importer("emofilm: en, es or it.")] = ""
    noise_folder: Annotated[str, importer("audioset: folder of noise clips, which are written there if needed.")] = ""
    noise_clips: Annotated[str, importer("audioset: number of noise clips, TRAIN,EVAL (5348,60).")] = ""
    extract: Annotated[str, importer("huggingface: folder for the audio of Arrow or Parquet files.")] = ""
    labels: Annotated[
        Place | None, Field(description="Labels of your own and their coordinates: a TOML or CSV file.")
    ] = None
    missing: Annotated[
        Literal["", "refuse", "skip"],
        Field(description="What to do if a file that the index names is missing: refuse or skip."),
    ] = ""
    parity: Annotated[bool, Field(description="Use the original's splits with all their leaks.")] = False
    leaks: Annotated[
        tuple[str, ...], Field(description="Bring back this leak of the original, by its name in --list.")
    ] = ()
    allow_leaks: Annotated[bool, Field(description="Accept splits that share items, speakers or audio.")] = False
    drop_duplicates: Annotated[
        bool, Field(description="With --probe: if files have the same sound, keep only the first.")
    ] = False
    max_rejects: Annotated[
        int | str,
        Field(description="With --probe: more rejects than this (a count, or a share such as 1%) give exit code 3."),
    ] = "1%"
    shard_items: Annotated[int, Field(ge=1, description="Items of a shard, the unit of probing and resuming.")] = 1000
    stall_s: Annotated[float, Field(gt=0, description="End the run if nothing moves for this many seconds.")] = 600.0
    resources: ResourceConfig = field(default_factory=ResourceConfig)

    def __post_init__(self) -> None:
        is_check = self.check is not None
        require(is_check or bool(self.corpus), "corpus", self.corpus, "one of `s2m manifest --list`, or --check FILE")
        require(is_check or self.root is not None, "root", self.root, "the corpus's folder")
        has_out = is_check or self.out is not None
        require(has_out, "out", self.out, "a file for the manifest: .parquet, .csv or .jsonl")
        require(not is_check or not self.corpus, "check", self.check, "a manifest alone, without a corpus")
        has_checksums = self.probe and self.checksum
        require(not self.drop_duplicates or has_checksums, "drop_duplicates", True, "probe, with checksum")
        if self.out is not None:
            require_writable(self.out)
        self.allowed_rejects(100)

    def allowed_rejects(self, items: int) -> int:
        """Return ``max_rejects`` as a number of items."""
        return allowed_rejects(self.max_rejects, items)

    def options(self) -> dict[str, Any]:
        """Return the options of the importer that were given."""
        declared = type(self).__pydantic_fields__.items()  # type: ignore[attr-defined]
        names = [name for name, info in declared if info.json_schema_extra == IMPORTER]
        given = {name: getattr(self, name) for name in names} | {"corpus": self.name}
        return {name: value for name, value in given.items() if value}
