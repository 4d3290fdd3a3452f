"""Settings of `s2m embed`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from s2m_ray.config.checks import allowed_rejects, require, take_places
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.files.place import Place, require_writable


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """How an item's audio is cut before it is encoded."""

    segment_s: float = 10.0  # longer items are cut into segments of this length, in equal steps
    min_s: float = 0.05  # shorter items are rejected: below two analysis frames of any encoder
    max_s: float = 4 * 3600.0  # longer items are rejected: a header that claims days is a broken header

    def __post_init__(self) -> None:
        require(0 < self.min_s < self.segment_s, "audio.min_s", self.min_s, "a value in (0, audio.segment_s)")
        require(
            self.segment_s <= self.max_s < float("inf"),
            "audio.max_s",
            self.max_s,
            "at least audio.segment_s, and finite",
        )


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """Manifest -> store."""

    manifest: Place
    out: Place  # local, s3:// or gs://
    encoder: str = "spectral"
    dtype: Literal["float32", "bfloat16"] = "float32"  # of a network's products; part of the space
    compile: bool = False  # a network, for whole segments, on GPUs; other rounding, so not a resource either
    max_rejects: int | str = "1%"  # a count ("20") or a share ("1%") of the manifest; more than that is exit code 3
    plan: Path | None = None  # to compare the run with
    retry_rejects: bool = False  # try again what an earlier run rejected
    stall_s: float = 600.0  # if no worker gets on for so long, the run ends, and can go on
    shard_items: int = 0  # the unit of work and of resuming; 0 = a 32nd of the manifest, 2 to 256, of texts an 8th
    audio: AudioConfig = field(default_factory=AudioConfig)
    resources: ResourceConfig = field(default_factory=ResourceConfig)

    def __post_init__(self) -> None:
        take_places(self, "manifest", "out")
        require_writable(self.out)
        self.allowed_rejects(100)
        # measured, wav2vec2-base and torch 2.11: 18 s to compile, 2 % faster in float32, minutes a pass in bfloat16
        pays = not self.compile or self.resources.gpus > 0
        require(pays, "compile", self.compile, "false without resources.gpus_per_worker: it does not pay on CPUs")
        require(self.stall_s > 0, "stall_s", self.stall_s, "a value above 0")
        require(self.shard_items >= 0, "shard_items", self.shard_items, "0 (automatic) or more")

    def allowed_rejects(self, items: int) -> int:
        """``max_rejects`` as a number of items."""
        return allowed_rejects(self.max_rejects, items)
