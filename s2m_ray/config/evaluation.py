"""Settings of `s2m evaluate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from s2m_ray.config.checks import require, require_local, take_places
from s2m_ray.config.corpora import SPLITS, Split
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.files.place import Place


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Checkpoint (or none) and two stores -> evaluation."""

    music: Place
    out: Path
    speech: Place | None = None
    model: Path | None = None  # none: the two stores share a space already
    speech_text: Place | None = None  # for a model of the fusions, beside speech or alone
    split: Split = "test"
    k: int = 5
    depth: int = 20  # ranks kept in run.parquet
    bootstrap: int = 1000  # resamples behind ci95 and ci95_speakers_seeds
    metric_set: Literal["auto", "first", "all"] = "auto"  # all: with mAP and R-precision; auto: where that is quick
    parity: bool = False  # only P@5, MRR and nDCG@5, as the original code defines them
    resources: ResourceConfig = field(default_factory=ResourceConfig)  # workers=0: no Ray, but this process
    trec: bool = False  # write run and qrels as TREC files too; changes no number

    def __post_init__(self) -> None:
        take_places(self, "speech", "music", "speech_text")
        require_local("out", self.out)
        found = self.speech is not None or self.speech_text is not None
        require(found, "speech", self.speech, "a store, or speech_text")
        require(self.split in SPLITS, "split", self.split, f"one of {', '.join(SPLITS)}")
        require(self.k >= 1, "k", self.k, "at least 1")
        require(self.depth >= self.k, "depth", self.depth, "at least k")
        require(self.bootstrap >= 1, "bootstrap", self.bootstrap, "at least 1")
        require(self.metric_set in ("auto", "first", "all"), "metric_set", self.metric_set, "auto, first or all")
        require(not self.parity or self.k == 5, "k", self.k, "5 with parity")
