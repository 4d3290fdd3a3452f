"""Settings of `s2m manifest`."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from s2m_ray.config.checks import allowed_rejects, require, take_places
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.files.place import Place, require_writable

Split = Literal["train", "valid", "test"]
SPLITS: tuple[str, ...] = get_args(Split)


@dataclass(frozen=True, kw_only=True)
class ManifestConfig:
    """A corpus, or a manifest to check -> manifest. Empty strings are options that were not given."""

    corpus: str = ""
    root: Place | None = None
    out: Place | None = None  # local, s3:// or gs://; a check needs none
    check: Place | None = None  # a manifest from elsewhere, instead of a corpus
    probe: bool = False  # look into every file: length, rate, channels, checksum, tags
    checksum: bool = True  # of probe; without it a file's header alone is read
    modality: str = ""
    split: str = ""
    name: str = ""
    columns: str = ""
    classes: str = ""
    fold: str = ""
    language: str = ""
    noise_folder: str = ""
    noise_clips: str = ""
    extract: str = ""
    labels: Place | None = None  # the user's own: TOML or CSV
    missing: str = ""  # refuse or skip what an index names and is not there; by corpus
    parity: bool = False  # all leaks of the original's splits
    leaks: tuple[str, ...] = ()  # single ones, by name
    allow_leaks: bool = False  # take splits that share items, speakers or audio
    drop_duplicates: bool = False  # of files with the same sound keep the first; needs probe
    max_rejects: int | str = "1%"  # of probe, as of embed
    shard_items: int = 1000  # the unit of probing and of resuming
    stall_s: float = 600.0
    resources: ResourceConfig = field(default_factory=ResourceConfig)

    def __post_init__(self) -> None:
        take_places(self, "root", "out", "check", "labels")
        is_check = self.check is not None
        require(is_check or bool(self.corpus), "corpus", self.corpus, "one of `s2m manifest --list`, or --check FILE")
        require(is_check or self.root is not None, "root", self.root, "the corpus's folder")
        require(
            is_check or self.out is not None, "out", self.out, "a file for the manifest: .parquet, .csv or .jsonl"
        )
        require(not is_check or not self.corpus, "check", self.check, "a manifest alone, without a corpus")
        require(self.missing in ("", "refuse", "skip"), "missing", self.missing, "refuse or skip")
        needs = self.probe and self.checksum
        require(not self.drop_duplicates or needs, "drop_duplicates", True, "probe, with checksum")
        require(self.shard_items >= 1, "shard_items", self.shard_items, "at least 1")
        require(self.stall_s > 0, "stall_s", self.stall_s, "a value above 0")
        if self.out is not None:
            require_writable(self.out)
        self.allowed_rejects(100)

    def allowed_rejects(self, items: int) -> int:
        """Return ``max_rejects`` as a number of items."""
        return allowed_rejects(self.max_rejects, items)

    def options(self) -> dict[str, Any]:
        """Those of the importer that were given."""
        names = (
            "modality",
            "split",
            "columns",
            "classes",
            "fold",
            "language",
            "noise_folder",
            "noise_clips",
            "extract",
        )
        given = {name: getattr(self, name) for name in names} | {"corpus": self.name}
        return {name: value for name, value in given.items() if value}
