"""Settings of `s2m train`."""

from collections.abc import Sequence
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from s2m_ray.config.checks import require, require_local, settings
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import ConfigError
from s2m_ray.files.place import Place

Framework = Literal["triplet", "triplet_sp", "triplet_soft", "triplet_sp_soft"]
Modality = Literal["audio", "text", "fusion", "late_fusion", "masking_fusion"]
IN_HALVES = ("late_fusion", "masking_fusion")  # a head for the audio and one for the words
FUSED = ("fusion", *IN_HALVES)  # modalities with audio and words
# Settings of the loss and of the optimisation in which trainings within one batched model may differ
FREE = ("margin", "emo_lambda", "lr", "min_lr", "weight_decay")


@settings(at="model")
class ModelConfig:
    """The two heads into the joint space."""

    dim: Annotated[int, Field(gt=0, description="Dimensions of the joint space.")] = 64
    dropout: Annotated[float, Field(ge=0, lt=1, description="Dropout on the input of the heads.")] = 0.1


@settings(at="loss")
class LossConfig:
    """The loss of a training.

    ``triplet`` is one triplet loss. ``sp`` is the structure preserving sum of three. ``soft`` adds the regulariser
    times ``emo_lambda``.
    """

    framework: Annotated[Framework, Field(description="triplet, triplet_sp, triplet_soft or triplet_sp_soft.")] = (
        "triplet_soft"
    )
    regulariser: Annotated[
        Literal["emosim", "ranksim"], Field(description="Regulariser of the soft frameworks: emosim or ranksim.")
    ] = "emosim"
    margin: Annotated[float, Field(gt=0, le=2, description="Margin of the triplet loss, in cosine units.")] = 0.4
    emo_lambda: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False, description="Weight of the regulariser, λ in the paper."),
    ] = 1.0
    negatives: Annotated[
        Literal["speech_label", "music_label"],
        Field(description="The label that a negative must not share (quirk Q8): speech_label or music_label."),
    ] = "speech_label"

    @property
    def has_tags(self) -> bool:
        """Tell whether the words of the emotions are trained too, as in the structure preserving frameworks."""
        return "_sp" in self.framework

    @property
    def is_soft(self) -> bool:
        """Tell whether the regulariser is part of the loss."""
        return self.framework.endswith("_soft")


@settings(at="fit")
class FitConfig:
    """Optimisation: AdamW, linear warm-up, cosine decay, and early stopping on the valid loss."""

    batch_size: Annotated[
        int, Field(ge=2, description="Triplets per batch, at least 2 because each one needs a negative.")
    ] = 64
    epochs: Annotated[int, Field(ge=1, description="Most epochs.")] = 100
    warmup_epochs: Annotated[int, Field(description="Epochs of the linear warm-up.")] = 20
    lr: Annotated[float, Field(gt=0, lt=1, description="Highest learning rate.")] = 1e-4
    min_lr: Annotated[float, Field(ge=0, description="Learning rate at the end of the cosine decay.")] = 1e-9
    weight_decay: Annotated[float, Field(ge=0, description="Weight decay of AdamW.")] = 0.01
    patience: Annotated[
        int,
        Field(
            ge=1,
            description="Consecutive epochs without a better valid loss, after the warm-up, that end the training.",
        ),
    ] = 20
    valid_triplets: Annotated[int, Field(ge=2, description="Fixed draws on which the valid loss is computed.")] = 1024

    def __post_init__(self) -> None:
        in_time = 0 <= self.warmup_epochs <= self.epochs
        require(in_time, "fit.warmup_epochs", self.warmup_epochs, "0 to fit.epochs")
        require(self.min_lr <= self.lr, "fit.min_lr", self.min_lr, "a value in [0, fit.lr]")


@settings(at="holdout")
class HoldoutConfig:
    """Early stopping on a part of the train split, so that the valid split stays untouched for evaluation.

    With neither key set, early stopping uses the valid split.
    """

    speakers: Annotated[
        tuple[str, ...],
        Field(description="Speakers of train for early stopping, instead of the valid split, such as 17,18,19."),
    ] = ()
    music: Annotated[
        float,
        Field(ge=0, lt=1, description="Share of the training music for early stopping (by speaker, else by item)."),
    ] = 0.0

    def __post_init__(self) -> None:
        both = bool(self.speakers) == (self.music > 0)
        require(both, "holdout", asdict(self), "speakers and music together, or neither")


@settings(at="parity")
class ParityConfig:
    """Quirks of the original code that we left out. Each one can be brought back; docs/original.md has the numbers.

    Two quirks never come back: loops over items on the host (Q11) and distances that depend on the batch size (Q17).

    Source: Doh et al., ICASSP 2023 (official code).
    """

    first_match: Annotated[
        bool, Field(description="Q3: the first column stands for all columns of its emotion or similarity.")
    ] = False
    valid_on_test_music: Annotated[
        bool, Field(description="Q5: early stopping looks at the music of the test split.")
    ] = False
    random_validation: Annotated[
        bool, Field(description="Q6: valid triplets differ between epochs and between seeds.")
    ] = False
    cumulative_patience: Annotated[
        bool, Field(description="Q7: all epochs without a better loss count, also within the warm-up.")
    ] = False
    raw_input: Annotated[bool, Field(description="Heads take vectors as they are, not standardised.")] = False
    label_coordinates: Annotated[
        bool, Field(description="An item takes the valence and arousal of its label, even if it has its own.")
    ] = False

    @classmethod
    def settings(cls) -> list[str]:
        """Return all quirks, and the original's schedule where ours differs, as settings ``key=value``."""
        return [f"parity.{f.name}=true" for f in fields(cls)] + ["fit.patience=5"]


@settings()
class TrainConfig:
    """Settings that turn two stores into a checkpoint."""

    speech: Annotated[Place, Field(description="Store of the speech: a folder, a Parquet file, or the URI of one.")]
    music: Annotated[Place, Field(description="Store of the music: a folder, a Parquet file, or the URI of one.")]
    out: Annotated[Path, Field(description="Folder to write: a checkpoint, or the sweep of `s2m tune`.")]
    seeds: Annotated[tuple[int, ...], Field(description="A count (5 means seeds 0..4) or a list (3,7,9).")] = tuple(
        range(5)
    )
    modality: Annotated[
        Modality, Field(description="Modality of the speech: audio, text, fusion, late_fusion or masking_fusion.")
    ] = "audio"
    speech_text: Annotated[
        Place | None, Field(description="For fusions: store of the words of the speech, joined by item_id.")
    ] = None
    words: Annotated[
        Path | None,
        Field(description="For sp: word vectors in the text format of GloVe (.gz too). Without it: built-in ones."),
    ] = None
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    parity: ParityConfig = field(default_factory=ParityConfig)
    holdout: HoldoutConfig = field(default_factory=HoldoutConfig)
    resources: ResourceConfig = field(default_factory=ResourceConfig)

    def __post_init__(self) -> None:
        require_local("out", self.out)
        _check_seeds(self.seeds)
        fits = (self.modality in FUSED) == (self.speech_text is not None)
        given = f"{self.modality}, speech_text={self.speech_text}"
        require(fits, "modality", given, "speech_text for the fusions, and only there")
        is_even = self.modality not in IN_HALVES or self.model.dim % 2 == 0
        require(is_even, "model.dim", self.model.dim, f"an even number for {self.modality}")
        has_words = self.words is None or self.loss.has_tags
        require(has_words, "words", self.words, f"none, because loss.framework={self.loss.framework} has no words")
        one_rule = not (self.parity.valid_on_test_music and self.holdout.speakers)
        expected = "false with a holdout, because both decide what early stopping looks at"
        require(one_rule, "parity.valid_on_test_music", True, expected)


def _check_seeds(seeds: Sequence[int]) -> None:
    require(len(seeds) > 0 and len(set(seeds)) == len(seeds), "seeds", list(seeds), "distinct seeds, at least one")
    require(all(seed >= 0 for seed in seeds), "seeds", list(seeds), "seeds of 0 or more")


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds that a text names.

    A count such as ``5`` means seeds 0 to 4. A list such as ``3,7,9`` means these seeds.

    Raises:
        ConfigError: The text is neither, or a seed is repeated or negative.

    Example:
        >>> parse_seeds("5"), parse_seeds("3,7,9"), parse_seeds("3,")
        ((0, 1, 2, 3, 4), (3, 7, 9), (3,))
    """
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(f"seeds={text}: expected a count such as 5 or a list such as 3,7,9") from None
    seeds = tuple(range(numbers[0])) if len(numbers) == 1 and "," not in text else tuple(numbers)
    _check_seeds(seeds)
    return seeds
