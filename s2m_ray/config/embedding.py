"""Settings of `s2m embed`."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from s2m_ray.config.checks import allowed_rejects, require, settings
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.files.place import Place, require_writable


@settings(at="audio")
class AudioConfig:
    """Settings for cutting the audio of an item before it is encoded."""

    segment_s: Annotated[
        float, Field(description="Seconds of a segment. A longer item is cut into equal segments of this length.")
    ] = 10.0
    min_s: Annotated[
        float, Field(description="Shorter items are rejected. Every encoder needs two analysis frames.")
    ] = 0.05
    max_s: Annotated[
        float, Field(description="Longer items are rejected. A header that claims days is a broken header.")
    ] = 4 * 3600.0

    def __post_init__(self) -> None:
        require(0 < self.min_s < self.segment_s, "audio.min_s", self.min_s, "a value in (0, audio.segment_s)")
        fits = self.segment_s <= self.max_s < float("inf")
        require(fits, "audio.max_s", self.max_s, "at least audio.segment_s, and finite")


@settings()
class EmbedConfig:
    """Settings that turn a manifest into a store."""

    manifest: Annotated[Place, Field(description="Manifest: .parquet, .csv or .jsonl; a path or a URI.")]
    out: Annotated[Place, Field(description="Store to write: a folder, or a URI such as s3://bucket/path.")]
    encoder: Annotated[str, Field(description="Encoder (see `s2m encoders`). `spectral` needs no download.")] = (
        "spectral"
    )
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        Field(
            description="Number type of a network's products: float32 or bfloat16. Each type is a space of its own."
        ),
    ] = "float32"
    compile: Annotated[
        bool,
        Field(
            description="Compile the network for segments of full length, on GPUs only. Vectors change by rounding."
        ),
    ] = False
    max_rejects: Annotated[
        int | str, Field(description="More rejects than this (a count, or a share such as 1%) give exit code 3.")
    ] = "1%"
    plan: Annotated[Path | None, Field(description="Plan of `s2m plan --out` to compare this run with.")] = None
    retry_rejects: Annotated[bool, Field(description="Try the rejects of an earlier run again.")] = False
    stall_s: Annotated[
        float,
        Field(gt=0, description="End the run if no worker makes progress for this many seconds; it can resume."),
    ] = 600.0
    shard_items: Annotated[
        int,
        Field(
            ge=0,
            description="Items per shard, the unit of work and of resuming. 0 means a 32nd of the manifest, from 2 "
            "to 256. For texts it means an eighth, from 2 to 2048.",
        ),
    ] = 0
    audio: AudioConfig = field(default_factory=AudioConfig)
    resources: ResourceConfig = field(default_factory=ResourceConfig)

    def __post_init__(self) -> None:
        require_writable(self.out)
        self.allowed_rejects(100)
        # measured, wav2vec2-base and torch 2.11: 18 s to compile, 2 % faster in float32, minutes a pass in bfloat16
        pays = not self.compile or self.resources.gpus > 0
        require(pays, "compile", self.compile, "false without resources.gpus_per_worker: it does not pay on CPUs")

    def allowed_rejects(self, items: int) -> int:
        """Return ``max_rejects`` as a number of items."""
        return allowed_rejects(self.max_rejects, items)
