"""Text models of the Hugging Face hub as encoders.

The paper's text encoder is DistilBERT's first token of the last layer (fact sheet ``speech-to-music.md``, B3).
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from s2m_ray.encoders.networks.hub_files import CONFIG
from s2m_ray.encoders.networks.weights import fill, read_pickle, tensors_of
from s2m_ray.errors import CheckpointError
from s2m_ray.files.whole import read_json

POOLINGS = ("first", "mean")


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


def most_tokens(folder: Path, config: Any, tokenizer: Any) -> int:
    """Most tokens of a text: the least of what tokenizer, network and sentence-transformers say."""
    positions = getattr(config, "max_position_embeddings", None) or 512
    if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet"):
        positions -= config.pad_token_id + 1  # their positions begin behind the padding's
    said = folder / "sentence_bert_config.json"
    own = read_json(said, CheckpointError).get("max_seq_length") if said.is_file() else None
    return min(positions, tokenizer.model_max_length, own or positions)


def default_pooling(folder: Path) -> str:
    path = folder / "1_Pooling" / CONFIG
    says = read_json(path, CheckpointError) if path.is_file() else {}
    return "mean" if says.get("pooling_mode_mean_tokens") else "first"
