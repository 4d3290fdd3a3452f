"""Run text models of the Hugging Face hub, with pooling behind them.

The text encoder of the paper is the first token of DistilBERT's last layer (docs/original.md).
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
    """Run a text model with pooling behind it. Its forward pass stays differentiable.

    Args:
        model: The network.
        pooling: The ``first`` token, or the ``mean`` over all tokens, including the begin and end tokens.
    """

    def __init__(self, model: nn.Module, *, pooling: str = "first") -> None:
        super().__init__()
        assert pooling in POOLINGS, pooling
        self.model, self.pooling = model, pooling
        config: Any = model.config
        self.dim: int = config.hidden_size

    def forward(self, tokens: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch dim"]:
        """Return the vectors of token sequences that have one length.

        Nothing is padded, so a model that asks for a mask gets ones.
        """
        hidden = self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        return hidden[:, 0] if self.pooling == "first" else hidden.mean(dim=1)


def load_fine_tuned(model: nn.Module, path: Path) -> None:
    """Put the weights of a stage-1 text checkpoint into a model of the same sizes. Every name and shape must fit.

    The file holds the hub's classifier under ``state_dict`` (or flat) as ``bert.*``. For DistilBERT this is
    ``bert.distilbert.*``, beside ``bert.pre_classifier.*`` and ``bert.classifier.*``, the emotion head, which is left
    out. All names may begin with ``module.``.

    Raises:
        CheckpointError: The file is not readable, or it is another kind of checkpoint.

    Source: Doh et al., ICASSP 2023, official code; see docs/original.md.
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
    """Return the most tokens that a text may have.

    It is the least limit of tokenizer, network and sentence-transformers.
    """
    positions = getattr(config, "max_position_embeddings", None) or 512
    if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet"):
        positions -= config.pad_token_id + 1  # positions begin behind the position of the padding
    path = folder / "sentence_bert_config.json"
    declared = read_json(path, CheckpointError).get("max_seq_length") if path.is_file() else None
    return min(positions, tokenizer.model_max_length, declared or positions)


def default_pooling(folder: Path) -> str:
    """Return the pooling that sentence-transformers declare in a model's folder.

    Without a declaration it is ``first``.
    """
    path = folder / "1_Pooling" / CONFIG
    declared = read_json(path, CheckpointError) if path.is_file() else {}
    return "mean" if declared.get("pooling_mode_mean_tokens") else "first"
