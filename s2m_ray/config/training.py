"""Settings of `s2m train`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

from s2m_ray.config.checks import require, require_local, take_places
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import ConfigError
from s2m_ray.files.place import Place

Framework = Literal["triplet", "triplet_sp", "triplet_soft", "triplet_sp_soft"]
Modality = Literal["audio", "text", "fusion", "late_fusion", "masking_fusion"]
IN_HALVES = ("late_fusion", "masking_fusion")  # a head for the audio and one for the words
FUSED = ("fusion", *IN_HALVES)  # those that take audio and words
# Of the loss and of the optimisation: in these, trainings side by side in one batched model may differ
FREE = ("margin", "emo_lambda", "lr", "min_lr", "weight_decay")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Two heads into the joint space."""

    dim: int = 64  # of the joint space
    dropout: float = 0.1  # on the heads' input

    def __post_init__(self) -> None:
        require(self.dim > 0, "model.dim", self.dim, "a value above 0")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "a value in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """``triplet``, or with ``sp`` the structure preserving sum of three; ``soft``: + emo_lambda * regulariser."""

    framework: Framework = "triplet_soft"
    regulariser: Literal["emosim", "ranksim"] = "emosim"  # of the soft frameworks
    margin: float = 0.4  # cosine units
    emo_lambda: float = 1.0  # λ of the paper; without effect in `triplet` and `triplet_sp`
    negatives: Literal["speech_label", "music_label"] = "speech_label"  # what a negative must not share (Q8)

    def __post_init__(self) -> None:
        known = get_args(Framework)
        require(self.framework in known, "loss.framework", self.framework, f"one of {', '.join(known)}")
        require(self.regulariser in ("emosim", "ranksim"), "loss.regulariser", self.regulariser, "emosim or ranksim")
        require(0 < self.margin <= 2, "loss.margin", self.margin, "a value in (0, 2]")
        require(0 <= self.emo_lambda < float("inf"), "loss.emo_lambda", self.emo_lambda, "a value of 0 or more")
        known = ("speech_label", "music_label")
        require(self.negatives in known, "loss.negatives", self.negatives, " or ".join(known))

    @property
    def has_tags(self) -> bool:
        """Whether the words of the emotions are trained too: the structure preserving frameworks."""
        return "_sp" in self.framework

    @property
    def is_soft(self) -> bool:
        """Whether the regulariser is part of the loss."""
        return self.framework.endswith("_soft")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Optimisation: AdamW, linear warm-up, cosine decay, early stopping on the valid loss."""

    batch_size: int = 64
    epochs: int = 100
    warmup_epochs: int = 20
    lr: float = 1e-4
    min_lr: float = 1e-9
    weight_decay: float = 0.01
    patience: int = 20  # epochs without a better valid loss, one after the other, after the warm-up
    valid_triplets: int = 1024  # fixed draws that the valid loss is computed on

    def __post_init__(self) -> None:
        require(self.batch_size >= 2, "fit.batch_size", self.batch_size, "at least 2 (a negative is needed)")
        require(self.epochs >= 1, "fit.epochs", self.epochs, "at least 1")
        require(0 <= self.warmup_epochs <= self.epochs, "fit.warmup_epochs", self.warmup_epochs, "0 to fit.epochs")
        require(0 < self.lr < 1, "fit.lr", self.lr, "a value in (0, 1)")
        require(0 <= self.min_lr <= self.lr, "fit.min_lr", self.min_lr, "a value in [0, fit.lr]")
        require(self.weight_decay >= 0, "fit.weight_decay", self.weight_decay, "0 or more")
        require(self.patience >= 1, "fit.patience", self.patience, "at least 1")
        require(self.valid_triplets >= 2, "fit.valid_triplets", self.valid_triplets, "at least 2")


@dataclass(frozen=True, kw_only=True)
class HoldoutConfig:
    """Early stopping on a part of the train split, so that the valid split stays untouched for evaluation.

    With neither key set, early stopping uses the valid split.
    """

    speakers: tuple[str, ...] = ()  # of the speech store
    music: float = 0.0  # share of the music groups (column `speaker`, else the item itself)

    def __post_init__(self) -> None:
        require(0 <= self.music < 1, "holdout.music", self.music, "a share in [0, 1)")
        require(
            bool(self.speakers) == (self.music > 0),
            "holdout",
            asdict(self),
            "speakers and music together, or neither",
        )


@dataclass(frozen=True, kw_only=True)
class ParityConfig:
    """What the original code does and we do not, each to be brought back; the numbers are those of its analysis.

    What never comes back: loops over items on the host (Q11), distances that depend on the batch size (Q17).

    Source: Doh et al., ICASSP 2023 (official code).
    """

    first_match: bool = False  # Q3: the first column of an emotion, or of an equal similarity, stands for it
    valid_on_test_music: bool = False  # Q5: early stopping looks at the music of the test split
    random_validation: bool = False  # Q6: other valid triplets in each epoch, for each seed
    cumulative_patience: bool = False  # Q7: epochs without a better loss are counted in total, warm-up included
    raw_input: bool = False  # heads take vectors as they are, not standardised
    label_coordinates: bool = False  # valence and arousal of the label, even where an item has its own

    @classmethod
    def settings(cls) -> list[str]:
        """All of them, and the original's schedule where ours differs, as settings ``key=value``."""
        return [f"parity.{f.name}=true" for f in fields(cls)] + ["fit.patience=5"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Two stores -> checkpoint."""

    speech: Place
    music: Place
    out: Path
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    modality: Modality = "audio"  # of the speech; fusion: audio vector, then text vector (early fusion)
    speech_text: Place | None = None  # the fusions: store of the speech's words, joined by item_id
    words: Path | None = None  # sp: vectors of the emotions' words, GloVe's text format; none: built-in ones
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    parity: ParityConfig = field(default_factory=ParityConfig)
    holdout: HoldoutConfig = field(default_factory=HoldoutConfig)
    resources: ResourceConfig = field(default_factory=ResourceConfig)

    def __post_init__(self) -> None:
        take_places(self, "speech", "music", "speech_text")
        require_local("out", self.out)
        _check_seeds(self.seeds)
        require(
            (self.modality in FUSED) == (self.speech_text is not None),
            "modality",
            f"{self.modality}, speech_text={self.speech_text}",
            "speech_text for the fusions, and only there",
        )
        in_halves = self.modality in IN_HALVES
        require(not in_halves or self.model.dim % 2 == 0, "model.dim", self.model.dim, f"even for {self.modality}")
        has_words = self.words is None or self.loss.has_tags
        require(has_words, "words", self.words, f"none: loss.framework={self.loss.framework} has no words")
        require(
            not (self.parity.valid_on_test_music and self.holdout.speakers),
            "parity.valid_on_test_music",
            True,
            "false with a holdout: either settles what early stopping looks at",
        )


def _check_seeds(seeds: Sequence[int]) -> None:
    require(len(seeds) > 0 and len(set(seeds)) == len(seeds), "seeds", list(seeds), "distinct seeds, at least one")
    require(all(seed >= 0 for seed in seeds), "seeds", list(seeds), "seeds of 0 or more")


def parse_seeds(text: str) -> tuple[int, ...]:
    """``"5"`` means seeds 0..4; ``"3,7,9"`` (or ``"3,"``) means those."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(f"seeds={text}: expected a count such as 5 or a list such as 3,7,9") from None
    seeds = tuple(range(numbers[0])) if len(numbers) == 1 and "," not in text else tuple(numbers)
    _check_seeds(seeds)
    return seeds
