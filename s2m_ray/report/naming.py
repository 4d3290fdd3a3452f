"""Name a finished evaluation in a table: its method, its modality, and its differences from the method."""

from collections.abc import Mapping
from typing import Any

from s2m_ray.config.training import LossConfig
from s2m_ray.evaluation.reading import Evaluation

FRAMEWORKS = {"triplet": "Triplet", "triplet_sp": "Triplet + SP"}  # the soft ones add their regulariser
REGULARISERS = {"emosim": "EmoSim", "ranksim": "RankSim"}
MODALITIES = ("audio", "text", "fusion", "late fusion", "masking fusion")  # in the order of the papers
NOTHING = "–"


def method_of(evaluation: Evaluation) -> tuple[str, str]:
    """Return the name that papers give to a method, and the modality of the speech, from a checkpoint's settings."""
    config = evaluation.header.get("config") or {}
    loss = config.get("loss") or {}
    framework = loss.get("framework")
    if framework is None:
        return "no training", NOTHING
    plain = framework.removesuffix("_soft")
    method = FRAMEWORKS.get(plain, plain)
    if plain != framework:
        regulariser = loss.get("regulariser", "emosim")
        method += f" + {REGULARISERS.get(regulariser, regulariser)}"
    return method, str(config.get("modality", NOTHING)).replace("_", " ")


def changes_of(evaluation: Evaluation) -> list[str]:
    """Return the settings that make a method another one than its name says.

    These are settings of the loss, quirks of the original and missing halves. Learning rate, batch size and the like
    do not count, because they do not change what is optimised.
    """
    config = evaluation.header.get("config") or {}
    scoring = config.get("evaluate") or {}
    changes = _of_loss(config.get("loss") or {})
    changes += [f"parity {name}" for name, on in (config.get("parity") or {}).items() if on]
    if scoring.get("parity"):
        changes.append("parity metrics")
    changes += [f"{count} queries without {half}" for half, count in (scoring.get("queries_without") or {}).items()]
    return changes


def has_built_in_words(evaluation: Evaluation) -> bool:
    """Tell whether a structure preserving framework used our own word vectors and not a file's."""
    config = evaluation.header.get("config") or {}
    return "_sp" in str((config.get("loss") or {}).get("framework")) and not config.get("words")


def _of_loss(loss: Mapping[str, Any]) -> list[str]:
    default = LossConfig()
    names = ["margin", "negatives"] if "framework" in loss else []
    if str(loss.get("framework")).endswith("_soft"):
        names.append("emo_lambda")
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in loss.items()}
    return [f"{name} {shown[name]}" for name in names if name in loss and loss[name] != getattr(default, name)]
