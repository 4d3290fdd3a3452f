"""Text models of the Hugging Face hub as encoders.

The paper's text encoder is DistilBERT's first token of the last layer (fact sheet ``speech-to-music.md``, B3).
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from s2m_ray.encoders.hub import plain_json
from s2m_ray.encoders.hub_files import AUDIO_MODELS, CONFIG, attempt, find_model, load_pretrained
from s2m_ray.encoders.network import VERSION, Runner, weights_sha256
from s2m_ray.encoders.spec import Execution, Spec
from s2m_ray.encoders.weights import fill, read_pickle, tensors_of
from s2m_ray.errors import CheckpointError, ConfigError
from s2m_ray.files import digest, read_json

POOLINGS = ("first", "mean")
TOKENS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model")
BATCH_TOKENS = 16384  # in one forward pass: 32 texts of the longest kind, 512 tokens


class HubText(nn.Module):
    """A text model with pooling behind it; the forward pass stays differentiable.

    Args:
        pooling: ``first`` token or ``mean`` over the tokens (those that mark begin and end among them).
    """

    def __init__(self, model: nn.Module, *, pooling: str = "first") -> None:
        super().__init__()
        assert pooling in POOLINGS, pooling
        self.model, self.pooling = model, pooling
        config: Any = model.config
        self.dim: int = config.hidden_size

    def forward(self, tokens: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch dim"]:
        """Vectors of token sequences of one length: no padding, so the mask that some models ask for is of ones."""
        hidden = self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        return hidden[:, 0] if self.pooling == "first" else hidden.mean(dim=1)


class HubTextEncoder:
    """Encoder of a hub text model: ``hf-text:NAME?pooling=mean``, or its folder.

    Texts of equally many tokens go together, without padding: on the CPU too, since short texts gain from company
    (measured: DistilBERT, 128 texts of 8 to 40 tokens, 6.0 s alone, 3.8 s so, 3.3 s in the best padded batches).
    Other texts in the call move a vector by rounding at most, 1e-5 stated. Texts are cut at the model's limit, as
    in the original.

    With ``checkpoint=FILE`` the weights are those of stage 1 of speech-to-music: see :func:`load_fine_tuned`.
    Without ``pooling`` a model that says its own (sentence-transformers do) gets that one, any other ``first``.

    Raises:
        ConfigError: no text model, an unknown option, or it is to be compiled.
        CheckpointError: the folder cannot be had or is not whole.
    """

    input: Literal["text"] = "text"

    def __init__(self, spec: Spec, execution: Execution) -> None:
        from transformers import AutoConfig, AutoTokenizer

        spec.choose(pooling=POOLINGS, revision=None, checkpoint=None)
        if execution.compile_s is not None:
            raise ConfigError(f"encoder '{spec.text}': compile=true, but texts have no usual length; expected false")
        folder = find_model(spec)
        config = attempt(AutoConfig.from_pretrained, folder, CONFIG)
        if config.model_type in AUDIO_MODELS or config.is_encoder_decoder or not hasattr(config, "vocab_size"):
            raise ConfigError(
                f"{folder}: model_type '{config.model_type}', expected an encoder of text, such as BERT"
            )
        self._tokenizer = attempt(AutoTokenizer.from_pretrained, folder, "tokenizer")
        self._limit = _limit(folder, config, self._tokenizer)
        model = load_pretrained(folder, config)
        if "checkpoint" in spec.options:
            load_fine_tuned(model, Path(spec.options["checkpoint"]).expanduser())
        network = HubText(model, pooling=spec.options.get("pooling") or _own(folder))
        self.name, self.dim = spec.text, network.dim
        self.settings = {"dtype": execution.dtype, "compile": False}
        self._recipe = {
            "config": plain_json(folder / CONFIG),
            "tokens": {name: _sha256(folder / name) for name in TOKENS if (folder / name).is_file()},
            "limit": self._limit,
            "pooling": network.pooling,
        }
        self._run = Runner(network, execution)
        self.device = self._run.device

    @property
    def network(self) -> nn.Module:
        """The torch module."""
        return self._run.network

    @cached_property
    def space_id(self) -> str:
        """Hash of the weights, the tokenizer's files, the pooling and the dtype."""
        return f"text-{digest(VERSION, weights_sha256(self.network), self._recipe, self.settings['dtype'])}"

    def encode_text(self, texts: Sequence[str]) -> Float[ndarray, "items dim"]:
        """One float32 vector per text."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        tokens = self._tokenizer(list(texts), truncation=True, max_length=self._limit)["input_ids"]
        return self._run([torch.tensor(row) for row in tokens], BATCH_TOKENS)


def load_fine_tuned(model: nn.Module, path: Path) -> None:
    """Put the weights of a stage-1 text checkpoint into a model of the same sizes, strictly.

    Layout: under ``state_dict`` (or flat), the hub's classifier as ``bert.*``: for DistilBERT ``bert.distilbert.*``,
    and ``bert.pre_classifier.*`` and ``bert.classifier.*`` (emotion, left out); all names may begin with ``module.``.

    Raises:
        CheckpointError: not readable, or not such a checkpoint.

    Source: Doh et al., ICASSP 2023 (official code), as in our fact sheet ``speech-to-music.md``, B3.
    """
    value = read_pickle(path)
    tensors = {
        name.removeprefix("module."): tensor
        for name, tensor in tensors_of(value.get("state_dict", value), where=str(path)).items()
    }
    body = f"bert.{model.base_model_prefix}."
    heads = {name: tuple(tensor.shape) for name, tensor in tensors.items() if not name.startswith(body)}
    what = "a stage-1 text checkpoint of speech-to-music"
    fill(model, tensors, where=str(path), what=what, name_of=lambda own: body + own, spare=heads)


def _limit(folder: Path, config: Any, tokenizer: Any) -> int:
    """Most tokens of a text: the least of what tokenizer, network and sentence-transformers say."""
    positions = getattr(config, "max_position_embeddings", None) or 512
    if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet"):
        positions -= config.pad_token_id + 1  # their positions begin behind the padding's
    said = folder / "sentence_bert_config.json"
    own = read_json(said, CheckpointError).get("max_seq_length") if said.is_file() else None
    return min(positions, tokenizer.model_max_length, own or positions)


def _own(folder: Path) -> str:
    path = folder / "1_Pooling" / CONFIG
    says = read_json(path, CheckpointError) if path.is_file() else {}
    return "mean" if says.get("pooling_mode_mean_tokens") else "first"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
