"""Turn texts into vectors with a network."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from s2m_ray.encoders.networks.hub_audio import plain_json
from s2m_ray.encoders.networks.hub_files import AUDIO_MODELS, CONFIG, attempt, find_model, load_pretrained
from s2m_ray.encoders.networks.hub_text import POOLINGS, HubText, default_pooling, load_fine_tuned, most_tokens
from s2m_ray.encoders.runner import VERSION, Runner, weights_sha256
from s2m_ray.encoders.spec import Execution, Spec
from s2m_ray.errors import ConfigError
from s2m_ray.files.claims import digest

TOKENS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model")
BATCH_TOKENS = 16384  # tokens in one forward pass, enough for 32 of the longest texts (512 tokens)


class HubTextEncoder:
    """Encode texts with a hub model, from ``hf-text:NAME?pooling=mean`` or from its folder.

    Texts with the same number of tokens go together, without padding, on the CPU too, because short texts gain from a
    batch (measured: DistilBERT on 128 texts of 8 to 40 tokens takes 6.0 s alone, 3.8 s like this, and 3.3 s in the
    best padded batches). The other texts of a call move a vector by rounding at most; the promise is 1e-5. Texts are
    cut at the limit of the model, as in the original.

    With ``checkpoint=FILE`` the weights come from stage 1 of speech-to-music; see :func:`load_fine_tuned`. Without
    ``pooling``, a model that declares its own pooling (as sentence-transformers do) keeps it, and any other model
    gets ``first``.

    Raises:
        ConfigError: The model is no text model, an option is unknown, or the model is to be compiled.
        CheckpointError: The folder cannot be had, or it is incomplete.
    """

    input: Literal["text"] = "text"

    def __init__(self, spec: Spec, execution: Execution) -> None:
        from transformers import AutoConfig, AutoTokenizer

        spec.choose(pooling=POOLINGS, revision=None, checkpoint=None)
        if execution.compile_s is not None:
            raise ConfigError(
                f"encoder '{spec.text}': compile=true, but texts have no common length; expected compile=false"
            )
        folder = find_model(spec.hub_name(), spec.options.get("revision"))
        config = attempt(AutoConfig.from_pretrained, folder, CONFIG)
        if config.model_type in AUDIO_MODELS or config.is_encoder_decoder or not hasattr(config, "vocab_size"):
            raise ConfigError(
                f"{folder}: model_type '{config.model_type}', expected an encoder of text, such as BERT"
            )
        self._tokenizer = attempt(AutoTokenizer.from_pretrained, folder, "tokenizer")
        self._limit = most_tokens(folder, config, self._tokenizer)
        model = load_pretrained(folder, config)
        if "checkpoint" in spec.options:
            load_fine_tuned(model, Path(spec.options["checkpoint"]).expanduser())
        network = HubText(model, pooling=spec.options.get("pooling") or default_pooling(folder))
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
        """Return the torch module."""
        return self._run.network

    @cached_property
    def space_id(self) -> str:
        """Return a hash of the weights, the tokenizer's files, the pooling and the dtype."""
        return f"text-{digest(VERSION, weights_sha256(self.network), self._recipe, self.settings['dtype'])}"

    def encode_text(self, texts: Sequence[str]) -> Float[ndarray, "items dim"]:
        """Return one float32 vector for each text."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        tokens = self._tokenizer(list(texts), truncation=True, max_length=self._limit)["input_ids"]
        return self._run([torch.tensor(row) for row in tokens], BATCH_TOKENS)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
