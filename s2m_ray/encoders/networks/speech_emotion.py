"""Build the speech encoder of speech-to-music retrieval: wav2vec2, a projector, and the mean over frames.

Source: Doh et al., ICASSP 2023, arXiv:2303.10539, official code; see docs/original.md. The layout of the checkpoint
was derived from that code, because the file itself was not at hand.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s2m_ray.encoders.networks.hub_audio import RawAudio
from s2m_ray.encoders.networks.weights import fill, first_weights, read_pickle, tensors_of
from s2m_ray.errors import CheckpointError

# The names that torch gave the two parts of a weight norm before 2.0, and its names since (quirk Q18 in
# docs/original.md).
WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}


class SpeechEmotion(nn.Module):
    """Map a waveform at 16 kHz to the mean of ``projector(wav2vec2(wave))`` over all frames.

    There is no attention mask, as in the original's extraction. Frames of padding never take part (quirk Q10 in
    docs/original.md).

    Args:
        wav2vec2: The hub's network with its feature extractor.
    """

    def __init__(self, wav2vec2: RawAudio) -> None:
        super().__init__()
        self.audio = wav2vec2
        self.dim, self.sample_rate, self.min_samples = wav2vec2.dim, wav2vec2.sample_rate, wav2vec2.min_samples
        with first_weights(0, "speech_emotion"):
            self.projector = nn.Linear(self.dim, self.dim)

    def forward(self, waves: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch dim"]:
        """Return the vectors of waveforms that have one length."""
        frames = self.audio.model(**self.audio.inputs(waves)).last_hidden_state
        return self.projector(frames).mean(dim=1)


def untrained_speech_emotion(base: str | None = None) -> SpeechEmotion:
    """Return the network with first weights, as large as facebook/wav2vec2-base-960h.

    Args:
        base: A hub model or folder from which the sizes and the preprocessing are read instead, but not the weights.

    Raises:
        ConfigError: ``base`` names no model.
        CheckpointError: ``base`` cannot be had, or is no wav2vec2.
    """
    from transformers import AutoConfig, AutoFeatureExtractor, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    # Both have the defaults of base-960h.
    config: Any = Wav2Vec2Config()
    extractor: Any = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    if base is not None:
        from s2m_ray.encoders.networks.hub_files import attempt, find_model

        folder = find_model(base)
        config = attempt(AutoConfig.from_pretrained, folder, "config.json")
        extractor = attempt(AutoFeatureExtractor.from_pretrained, folder, "preprocessor_config.json")
        if config.model_type != "wav2vec2":
            raise CheckpointError(f"{folder}: model_type '{config.model_type}', expected wav2vec2")
    with first_weights(0, "wav2vec2"):
        return SpeechEmotion(RawAudio(Wav2Vec2Model(config), extractor))


def load_speech_emotion(path: Path, *, base: str | None = None) -> SpeechEmotion:
    """Load the network in eval mode with the weights of a stage-1 checkpoint. Every name and shape must fit.

    The file holds ``wav2vec2.*``, ``projector.*`` and ``classifier.*`` under ``state_dict`` (or flat). The classifier
    is the emotion head, which is left out. All names may begin with ``module.``, and both names of the weight norm
    are accepted.

    Raises:
        CheckpointError: The file is not readable, or it is another kind of checkpoint.
    """
    network = untrained_speech_emotion(base)
    value = read_pickle(path)
    tensors = {
        _modern(name.removeprefix("module.")): tensor
        for name, tensor in tensors_of(value.get("state_dict", value), where=str(path)).items()
    }
    heads = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name.startswith("classifier.")}
    spare_vector = "wav2vec2.masked_spec_embed"
    if spare_vector not in tensors:  # this tensor is used in training only
        tensors[spare_vector] = torch.zeros(network.dim)
    what = "a stage-1 speech checkpoint of speech-to-music"
    fill(network, tensors, where=str(path), what=what, name_of=_name, spare=heads)
    return network.eval()


def _name(own: str) -> str:
    rest = own.removeprefix("audio.model.")
    return _modern(f"wav2vec2.{rest}" if rest != own else own)


def _modern(name: str) -> str:
    stem, _, leaf = name.rpartition(".")
    return f"{stem}.{WEIGHT_NORM[leaf]}" if leaf in WEIGHT_NORM else name
