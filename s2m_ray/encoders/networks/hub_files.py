"""Find the files of a hub model: in a folder, in the local cache, or by a download, in this order."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s2m_ray.errors import CheckpointError, S2MError
from s2m_ray.files.whole import read_json

CONFIG = "config.json"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")  # the first pattern that matches counts
SMALL = ("*.json", "*.txt", "*.model")  # configuration, tokens
ANSWER_S = 8.0  # time limit for the hub's answer; its own client retries for a minute and more
AUDIO_MODELS = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "whisper", "audio-spectrogram-transformer", "clap")


def find_model(name: str, revision: str | None = None) -> Path:
    """Return the folder with the configuration and the weights of a hub model.

    The cache is asked first, so a cached model needs no network. The environment may forbid the network
    (``HF_HUB_OFFLINE=1``).

    Args:
        name: A name on the hub, or a folder.
        revision: A commit, branch or tag of the hub's repository; by default its newest one.

    Raises:
        CheckpointError: The model is not there and cannot be downloaded.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return require_whole(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(f"{folder}: no such folder, expected one with {CONFIG} and weights of a hub model")
    return cached(name, revision) or _download(name, revision)


def require_whole(folder: Path) -> Path:
    """Return the folder itself if it is complete.

    Raises:
        CheckpointError: The folder has no configuration or no weights.
    """
    if not _whole(folder):
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise CheckpointError(
            f"{folder}: found {found}, expected {CONFIG} and {' or '.join(WEIGHTS)}; is it a folder that "
            "save_pretrained wrote or that was copied from the hub?"
        )
    return folder


def cached(name: str, revision: str | None = None) -> Path | None:
    """Return the folder of a hub model in the local cache if it is there and complete. Nothing is loaded."""
    from huggingface_hub import constants, snapshot_download

    try:
        folder = snapshot_download(name, revision=revision, cache_dir=constants.HF_HUB_CACHE, local_files_only=True)
    except Exception:  # not there, or no name that the hub could have
        return None
    return Path(folder) if _whole(Path(folder)) else None


def family_of(folder: Path) -> str:
    """Return ``hf`` or ``hf-text``, by the kind of model in a folder.

    Raises:
        CheckpointError: The folder holds no model.
    """
    config = read_json(require_whole(folder) / CONFIG, CheckpointError)
    return "hf" if config.get("model_type") in AUDIO_MODELS else "hf-text"


def load_pretrained(folder: Path, config: Any) -> Any:
    """Load the network of a model's folder in float32.

    No code of the folder runs, and safetensors are taken before pickles. Parts that the checkpoint lacks and that no
    vector depends on are set to zero. The hub's classes would draw them at random, and each load would make a space
    of its own.

    Raises:
        CheckpointError: The folder cannot be read, or a part that matters is missing.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the library reports unused heads at length
    logging.disable_progress_bar()
    try:
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # damaged files end in almost any exception
        raise CheckpointError(f"{folder}: cannot be loaded: {one_line(error)}; is a file damaged?") from None
    finally:
        logging.set_verbosity(verbosity)
    # SpecAugment's vector is used in training only, and the pooler comes after the hidden states
    spare = [key for key in report["missing_keys"] if "masked_spec_embed" in key or "pooler." in key]
    lost = sorted(set(report["missing_keys"]) - set(spare)) + sorted(map(str, report["mismatched_keys"]))
    if lost:
        raise CheckpointError(
            f"{folder}: {len(lost)} of the network's tensors are missing or of another shape, '{lost[0]}' among them;"
            f" expected all of a '{config.model_type}'; are configuration and weights of one model?"
        )
    for key in spare:
        torch.nn.init.zeros_(model.get_parameter(key))
    return model


def attempt(load: Callable[..., Any], folder: Path, what: str) -> Any:
    """Call one of the hub's Auto classes on a folder, without network and without running code of others.

    Raises:
        CheckpointError: The class cannot load it.
    """
    try:
        return load(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise CheckpointError(f"{folder}: no usable {what}: {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """Return the first line of an exception, cut to 200 characters."""
    return ((str(error).strip().splitlines() or [""])[0] or type(error).__name__)[:200]


def _whole(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and any(any(folder.glob(pattern)) for pattern in WEIGHTS)


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, constants, is_offline_mode, snapshot_download

    def missing(why: str) -> S2MError:
        return CheckpointError(
            f"hub model '{name}'{f' at {revision}' if revision else ''}: not in the cache {constants.HF_HUB_CACHE}, "
            f"and {why}; on a machine with access run `hf download {name} --local-dir FOLDER`, copy FOLDER here and "
            "pass the folder instead of the name"
        )

    if is_offline_mode():
        raise missing("the environment says offline (HF_HUB_OFFLINE)")
    answer = _within(ANSWER_S, lambda: HfApi().model_info(name, revision=revision, timeout=5))
    if isinstance(answer, BaseException):
        raise missing(f"the hub could not be asked ({one_line(answer)})")
    files = [Path(file.rfilename) for file in answer.siblings or ()]
    kinds = [pattern for pattern in WEIGHTS if any(file.match(pattern) for file in files if len(file.parts) == 1)]
    if not kinds:
        raise CheckpointError(f"hub model '{name}': has no {' or '.join(WEIGHTS)}, expected weights of torch")
    weights = [str(file) for file in files if len(file.parts) == 1 and file.match(kinds[0])]
    try:
        folder = snapshot_download(
            name, revision=revision, cache_dir=constants.HF_HUB_CACHE, allow_patterns=[*SMALL, *weights]
        )
    except Exception as error:
        raise missing(f"the download failed ({one_line(error)})") from None
    return require_whole(Path(folder))


def _within(limit_s: float, ask: Callable[[], Any]) -> Any:
    """Return the answer, the exception, or a TimeoutError. Looking up a name can outlast any time-out that is set."""
    answers: list[Any] = []

    def work() -> None:
        try:
            answers.append(ask())
        except BaseException as error:
            answers.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit_s)
    return answers[0] if answers else TimeoutError(f"no answer within {limit_s:g} s")
