"""Settings of every job: frozen dataclasses, checked when they are made.

One TOML file a job (``--config``), single keys by ``--set a.b=c``, and the command's own options above both.
Only ``[resources]`` may change the speed of a job without changing its numbers.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from s2m_ray.errors import ConfigError
from s2m_ray.place import Place, Remote, masked, place

Framework = Literal["triplet", "triplet_sp", "triplet_soft", "triplet_sp_soft"]
Modality = Literal["audio", "text", "fusion", "late_fusion", "masking_fusion"]
IN_HALVES = ("late_fusion", "masking_fusion")  # a head for the audio and one for the words
FUSED = ("fusion", *IN_HALVES)  # those that take audio and words
# Of the loss and of the optimisation: in these, trainings side by side in one batched model may differ
FREE = ("margin", "emo_lambda", "lr", "min_lr", "weight_decay")
Split = Literal["train", "valid", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
T = TypeVar("T")


def _check(holds: bool, key: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{key}={value}: expected {expected}")


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """How an item's audio is cut before it is encoded."""

    segment_s: float = 10.0  # longer items are cut into segments of this length, in equal steps
    min_s: float = 0.05  # shorter items are rejected: below two analysis frames of any encoder
    max_s: float = 4 * 3600.0  # longer items are rejected: a header that claims days is a broken header

    def __post_init__(self) -> None:
        _check(0 < self.min_s < self.segment_s, "audio.min_s", self.min_s, "a value in (0, audio.segment_s)")
        _check(
            self.segment_s <= self.max_s < float("inf"), "audio.max_s", self.max_s,
            "at least audio.segment_s, and finite",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ResourceConfig:
    """Where and how wide a job runs. None of it may change a number."""

    address: str = "local"  # Ray cluster; "local" starts one for this command, "auto" takes a running one
    workers: int = 0  # actors or training workers; 0 = as many as there are cores (or seeds)
    # 0 = one; beside a GPU of `embed`, to decode with, as many as a plan found to be needed, or an equal share
    cpus_per_worker: float = 0.0
    # None: of `embed` one, for a network where the cluster has any; of the others none. A worker without uses none
    gpus_per_worker: float | None = None
    batch_s: float = 120.0  # audio-seconds decoded at once by a worker: bounds its memory
    wait_s: float = 15.0  # for CPUs and GPUs of a cluster that other jobs have
    device: Literal["auto", "cpu", "cuda"] = "auto"  # that `evaluate` searches on; auto: all GPUs that there are
    snapshot_s: float = 30.0  # of `train`: after an epoch, if the last snapshot is older; a kill costs so much

    def __post_init__(self) -> None:
        _check(self.workers >= 0, "resources.workers", self.workers, "0 (automatic) or more")
        _check(self.cpus_per_worker >= 0, "resources.cpus_per_worker", self.cpus_per_worker, "0 (automatic) or more")
        _check(self.gpus >= 0, "resources.gpus_per_worker", self.gpus_per_worker, "0 or more")
        _check(0 < self.batch_s < float("inf"), "resources.batch_s", self.batch_s, "a value above 0, and finite")
        _check(self.wait_s >= 0, "resources.wait_s", self.wait_s, "0 or more")
        _check(self.device in ("auto", "cpu", "cuda"), "resources.device", self.device, "auto, cpu or cuda")
        _check(self.snapshot_s >= 0, "resources.snapshot_s", self.snapshot_s, "0 (after each epoch) or more")

    @property
    def cpus(self) -> float:
        """CPUs of a worker."""
        return self.cpus_per_worker or 1.0

    @property
    def gpus(self) -> float:
        """GPUs of a worker."""
        return self.gpus_per_worker or 0.0


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
        _take_places(self, "root", "out", "check", "labels")
        is_check = self.check is not None
        _check(is_check or bool(self.corpus), "corpus", self.corpus, "one of `s2m manifest --list`, or --check FILE")
        _check(is_check or self.root is not None, "root", self.root, "the corpus's folder")
        _check(is_check or self.out is not None, "out", self.out, "a file for the manifest: .parquet, .csv or .jsonl")
        _check(not is_check or not self.corpus, "check", self.check, "a manifest alone, without a corpus")
        _check(self.missing in ("", "refuse", "skip"), "missing", self.missing, "refuse or skip")
        needs = self.probe and self.checksum
        _check(not self.drop_duplicates or needs, "drop_duplicates", True, "probe, with checksum")
        _check(self.shard_items >= 1, "shard_items", self.shard_items, "at least 1")
        _check(self.stall_s > 0, "stall_s", self.stall_s, "a value above 0")
        if isinstance(self.out, Remote):
            self.out.require_writable()
        allowed_rejects(self.max_rejects, 100)

    def options(self) -> dict[str, Any]:
        """Those of the importer that were given."""
        names = (
            "modality", "split", "columns", "classes", "fold", "language", "noise_folder", "noise_clips", "extract",
        )  # fmt: skip
        given = {name: getattr(self, name) for name in names} | {"corpus": self.name}
        return {name: value for name, value in given.items() if value}


def allowed_rejects(max_rejects: int | str, items: int) -> int:
    """``max_rejects``, a count or a share, as a number of items.

    Raises:
        ConfigError: it is neither.
    """
    text = str(max_rejects).strip()
    try:
        limit = float(text.removesuffix("%"))
    except ValueError:
        limit = -1.0
    is_share = text.endswith("%")
    _check(
        0 <= limit <= (100 if is_share else float("inf")) and (is_share or limit.is_integer()),
        "max_rejects", max_rejects, "a count such as 20 or a share such as 1%",
    )  # fmt: skip
    return int(items * limit / 100) if is_share else int(limit)


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
        _take_places(self, "manifest", "out")
        if isinstance(self.out, Remote):
            self.out.require_writable()
        self.allowed_rejects(100)
        # measured, wav2vec2-base and torch 2.11: 18 s to compile, 2 % faster in float32, minutes a pass in bfloat16
        pays = not self.compile or self.resources.gpus > 0
        _check(pays, "compile", self.compile, "false without resources.gpus_per_worker: it does not pay on CPUs")
        _check(self.stall_s > 0, "stall_s", self.stall_s, "a value above 0")
        _check(self.shard_items >= 0, "shard_items", self.shard_items, "0 (automatic) or more")

    def allowed_rejects(self, items: int) -> int:
        """``max_rejects`` as a number of items."""
        return allowed_rejects(self.max_rejects, items)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Two heads into the joint space."""

    dim: int = 64  # of the joint space
    dropout: float = 0.1  # on the heads' input

    def __post_init__(self) -> None:
        _check(self.dim > 0, "model.dim", self.dim, "a value above 0")
        _check(0 <= self.dropout < 1, "model.dropout", self.dropout, "a value in [0, 1)")


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
        _check(self.framework in known, "loss.framework", self.framework, f"one of {', '.join(known)}")
        _check(self.regulariser in ("emosim", "ranksim"), "loss.regulariser", self.regulariser, "emosim or ranksim")
        _check(0 < self.margin <= 2, "loss.margin", self.margin, "a value in (0, 2]")
        _check(0 <= self.emo_lambda < float("inf"), "loss.emo_lambda", self.emo_lambda, "a value of 0 or more")
        known = ("speech_label", "music_label")
        _check(self.negatives in known, "loss.negatives", self.negatives, " or ".join(known))

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
        _check(self.batch_size >= 2, "fit.batch_size", self.batch_size, "at least 2 (a negative is needed)")
        _check(self.epochs >= 1, "fit.epochs", self.epochs, "at least 1")
        _check(0 <= self.warmup_epochs <= self.epochs, "fit.warmup_epochs", self.warmup_epochs, "0 to fit.epochs")
        _check(0 < self.lr < 1, "fit.lr", self.lr, "a value in (0, 1)")
        _check(0 <= self.min_lr <= self.lr, "fit.min_lr", self.min_lr, "a value in [0, fit.lr]")
        _check(self.weight_decay >= 0, "fit.weight_decay", self.weight_decay, "0 or more")
        _check(self.patience >= 1, "fit.patience", self.patience, "at least 1")
        _check(self.valid_triplets >= 2, "fit.valid_triplets", self.valid_triplets, "at least 2")


@dataclass(frozen=True, kw_only=True)
class HoldoutConfig:
    """Early stopping on a part of the train split, so that the valid split stays untouched for evaluation.

    With neither key set, early stopping uses the valid split.
    """

    speakers: tuple[str, ...] = ()  # of the speech store
    music: float = 0.0  # share of the music groups (column `speaker`, else the item itself)

    def __post_init__(self) -> None:
        _check(0 <= self.music < 1, "holdout.music", self.music, "a share in [0, 1)")
        _check(
            bool(self.speakers) == (self.music > 0), "holdout", asdict(self),
            "speakers and music together, or neither",
        )  # fmt: skip


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
        _take_places(self, "speech", "music", "speech_text")
        _check_local("out", self.out)
        _check_seeds(self.seeds)
        _check(
            (self.modality in FUSED) == (self.speech_text is not None),
            "modality", f"{self.modality}, speech_text={self.speech_text}",
            "speech_text for the fusions, and only there",
        )  # fmt: skip
        in_halves = self.modality in IN_HALVES
        _check(not in_halves or self.model.dim % 2 == 0, "model.dim", self.model.dim, f"even for {self.modality}")
        has_words = self.words is None or self.loss.has_tags
        _check(has_words, "words", self.words, f"none: loss.framework={self.loss.framework} has no words")
        _check(
            not (self.parity.valid_on_test_music and self.holdout.speakers),
            "parity.valid_on_test_music", True, "false with a holdout: either settles what early stopping looks at",
        )  # fmt: skip


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
        _take_places(self, "speech", "music", "speech_text")
        _check_local("out", self.out)
        found = self.speech is not None or self.speech_text is not None
        _check(found, "speech", self.speech, "a store, or speech_text")
        _check(self.split in SPLITS, "split", self.split, f"one of {', '.join(SPLITS)}")
        _check(self.k >= 1, "k", self.k, "at least 1")
        _check(self.depth >= self.k, "depth", self.depth, "at least k")
        _check(self.bootstrap >= 1, "bootstrap", self.bootstrap, "at least 1")
        _check(self.metric_set in ("auto", "first", "all"), "metric_set", self.metric_set, "auto, first or all")
        _check(not self.parity or self.k == 5, "k", self.k, "5 with parity")


def _check_local(key: str, path: Path) -> None:
    is_uri = re.match(r"\w\w+:/", str(path))  # a Path has lost the second slash
    _check(not is_uri, key, masked(str(path).replace(":/", "://", 1)), "a local folder; only stores may be URIs")


def _take_places(config: object, *names: str) -> None:
    """Strings as paths or URIs, before anybody sees the config."""
    for name in names:
        value = getattr(config, name)
        object.__setattr__(config, name, None if value is None else place(value))


def _check_seeds(seeds: Sequence[int]) -> None:
    _check(len(seeds) > 0 and len(set(seeds)) == len(seeds), "seeds", list(seeds), "distinct seeds, at least one")
    _check(all(seed >= 0 for seed in seeds), "seeds", list(seeds), "seeds of 0 or more")


def parse_seeds(text: str) -> tuple[int, ...]:
    """``"5"`` means seeds 0..4; ``"3,7,9"`` (or ``"3,"``) means those."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(f"seeds={text}: expected a count such as 5 or a list such as 3,7,9") from None
    seeds = tuple(range(numbers[0])) if len(numbers) == 1 and "," not in text else tuple(numbers)
    _check_seeds(seeds)
    return seeds


def load(cls: type[T], file: Path | None = None, settings: Sequence[str] = (), **options: object) -> T:
    """Build ``cls`` from a TOML file, ``a.b=c`` settings and options, the later above the earlier.

    Args:
        options: Values of the command line; None means "not given"; a key ``a__b`` reaches into a table.

    Raises:
        ConfigError: unknown key (with the nearest known one), wrong type or a value out of range.
    """
    values = read_toml(file) if file is not None else {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected key=value, such as loss.margin=0.2")
        _put(values, key.strip().split("."), _toml_value(text))
    for key, value in options.items():
        if value is not None:
            _put(values, key.split("__"), value)
    return from_values(cls, values, str(file) if file else "configuration")


def from_values(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build ``cls`` from the values of a table.

    Raises:
        ConfigError: unknown key (with the nearest known one), wrong type or a value out of range.
    """
    _refuse_unknown(cls, values, where, "")
    types = get_type_hints(cls)
    # as a Path, s3://bucket would lose a slash
    uris = {
        key: place(value)
        for key, value in values.items()
        if isinstance(value, str) and Remote in get_args(types[key])
    }
    return _build(cls, {**values, **uris})


def read_toml(file: Path) -> dict[str, Any]:
    """A TOML file's content.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such configuration file") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def _put(values: dict[str, Any], path: list[str], value: object) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{'.'.join(path)}: '{part}' is a value, not a table")
    values[path[-1]] = value


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _refuse_unknown(cls: type, values: Mapping[str, Any], where: str, prefix: str) -> None:
    types = get_type_hints(cls)
    for key, value in values.items():
        if key not in types:
            near = difflib.get_close_matches(key, types, n=1)
            known = f"did you mean '{prefix}{near[0]}'?" if near else f"expected one of {', '.join(types)}"
            raise ConfigError(f"{where}: unknown key '{prefix}{key}'; {known}")
        if is_dataclass(types[key]) and isinstance(value, Mapping):
            _refuse_unknown(types[key], value, where, f"{prefix}{key}.")


def _build(cls: type[T], values: Mapping[str, Any]) -> T:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise ConfigError(f"{key}: missing; it has no default") from None
        raise ConfigError(masked(f"{key}={first['input']!r}: {first['msg']}")) from None


def to_dict(config: object) -> dict[str, Any]:
    """A config as plain JSON values."""
    assert is_dataclass(config)
    return {f.name: _plain(getattr(config, f.name)) for f in fields(config)}


def _plain(value: object) -> object:
    if isinstance(value, (Path, Remote)):
        return str(value)
    if is_dataclass(value):
        return to_dict(value)
    return list(value) if isinstance(value, tuple) else value
