"""Settings of `s2m evaluate`."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from s2m_ray.config.checks import require, require_local, settings
from s2m_ray.config.corpora import Split
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.files.place import Place


@settings()
class EvalConfig:
    """Settings that turn two stores, with or without a checkpoint, into an evaluation."""

    music: Annotated[Place, Field(description="Store of the gallery; a path or a URI.")]
    out: Annotated[
        Path, Field(description="Evaluation folder to write. With --compare: folder for compare.json, .md and .csv.")
    ]
    speech: Annotated[Place | None, Field(description="Store of the queries; a path or a URI.")] = None
    model: Annotated[
        Path | None, Field(description="Checkpoint. Without one, the two stores must share a space.")
    ] = None
    speech_text: Annotated[
        Place | None, Field(description="For fusion models: store of the words, with or without --speech.")
    ] = None
    split: Annotated[Split, Field(description="Split that is evaluated: train, valid or test (the default).")] = (
        "test"
    )
    k: Annotated[int, Field(ge=1, description="Cut-off rank of P, recall and nDCG.")] = 5
    depth: Annotated[int, Field(description="Ranks that are kept in run.parquet.")] = 20
    bootstrap: Annotated[int, Field(ge=1, description="Resamples behind ci95 and ci95_speakers_seeds.")] = 1000
    metric_set: Annotated[
        Literal["auto", "first", "all"],
        Field(description="first: metrics of the first ranks; all: also mAP and R-precision; auto: all where quick."),
    ] = "auto"
    parity: Annotated[
        bool, Field(description="Compute only P@5, MRR and nDCG@5, as the original code defines them.")
    ] = False
    resources: ResourceConfig = field(default_factory=ResourceConfig)  # workers=0: this process, without Ray
    trec: Annotated[bool, Field(description="Also write run-SEED.trec and qrels for trec_eval or ir-measures.")] = (
        False
    )

    def __post_init__(self) -> None:
        require_local("out", self.out)
        has_queries = self.speech is not None or self.speech_text is not None
        require(has_queries, "speech", self.speech, "a store, or speech_text")
        require(self.depth >= self.k, "depth", self.depth, "at least k")
        require(not self.parity or self.k == 5, "k", self.k, "5 with parity")
