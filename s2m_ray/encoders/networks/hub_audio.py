"""Run audio models of the Hugging Face hub.

A model's own preprocessing comes first, and one of its hidden states is pooled over time.

Each model is a torch module from waveforms to vectors. Its forward pass stays differentiable with respect to the
weights, because stage 1 fine-tunes it. The waveforms of a call have one length, so nothing is padded to the longest.

| model | input | frames that count |
|---|---|---|
| wav2vec2, HuBERT, WavLM, data2vec | waveform (zero mean, unit variance if the checkpoint says so) | all |
| Whisper | log-mel, padded by design to its window (30 s) | those that begin within the waveform |
| AST | log-mel, padded to its window (1024 frames = 10.24 s) | patches that begin within the waveform |
| CLAP | log-mel, repeated to its window (10 s) | all |

A waveform longer than the window is refused. Whisper and AST would drop the rest, and CLAP would take a random part.
So ``audio.segment_s`` has to fit into the window.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s2m_ray.encoders.networks.hub_files import CONFIG, attempt, load_pretrained
from s2m_ray.errors import CheckpointError, ConfigError
from s2m_ray.files.whole import read_json

PREPROCESSING = "preprocessor_config.json"
NO_EFFECT = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "processor_class")


class HubAudio(nn.Module):
    """Put the preprocessing of a hub model before the model, and pooling behind it.

    Args:
        model: The network, which returns ``hidden_states`` on request.
        extractor: The feature extractor of the model.
        layer: Index into the hidden states; 0 is the input of the first layer, and None takes the model's last
            output.
        pooling: ``mean``, ``max`` or ``first`` over the frames that count.

    Raises:
        ConfigError: The model has no such layer or pooling.
    """

    poolings: tuple[str, ...] = ("mean", "max", "first")
    min_samples = 1
    max_samples: int | None = None

    def __init__(self, model: nn.Module, extractor: Any, *, layer: int | None = None, pooling: str = "mean") -> None:
        super().__init__()
        if pooling not in self.poolings:
            raise ConfigError(f"pooling={pooling}: expected one of {', '.join(self.poolings)} for this model")
        self.model, self.extractor, self.layer, self.pooling = model, extractor, layer, pooling
        config: Any = model.config
        self.sample_rate: int = extractor.sampling_rate
        self.dim: int = config.hidden_size
        layers = config.num_hidden_layers
        if layer is not None and not 0 <= layer <= layers:
            raise ConfigError(f"layer={layer}: expected 0 to {layers}, the hidden states of this model")

    def forward(self, waves: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch dim"]:
        """Return the vectors of waveforms that have one length and amplitudes in [-1, 1]."""
        output = self.model(**self.inputs(waves), output_hidden_states=self.layer is not None)
        hidden = output.last_hidden_state if self.layer is None else output.hidden_states[self.layer]
        return self.pool(hidden, waves.shape[1])

    def inputs(self, waves: Float[Tensor, "batch samples"]) -> dict[str, Tensor]:
        """Return the inputs of the network, which the feature extractor makes on the CPU, waveform by waveform."""
        with torch.autocast("cpu", enabled=False):  # a spectrogram keeps float32
            extracted = [
                self.extractor(wave, sampling_rate=self.sample_rate, return_tensors="pt")
                for wave in waves.detach().float().cpu().numpy()
            ]
        name = self.extractor.model_input_names[0]
        return {name: torch.cat([features[name] for features in extracted]).to(waves.device, torch.float32)}

    def pool(self, hidden: Tensor, samples: int) -> Float[Tensor, "batch dim"]:
        """Pool hidden states ``[batch, frames, dim]`` into vectors."""
        frames = self.real(hidden, samples)
        if self.pooling == "first":
            return hidden[:, 0]
        return frames.mean(dim=1) if self.pooling == "mean" else frames.amax(dim=1)

    def real(self, hidden: Tensor, samples: int) -> Tensor:
        """Return the frames that come from the waveform and not from padding."""
        return hidden


class RawAudio(HubAudio):
    """Run wav2vec2 and its relatives, which convolve the waveform.

    The normalisation is the one of the hub's Wav2Vec2FeatureExtractor, written in torch so that waveforms stay on the
    GPU. A model whose extractor has ``return_attention_mask`` gets a mask of ones. The others were trained without a
    mask and get none.
    """

    def __init__(self, model: nn.Module, extractor: Any, *, layer: int | None = None, pooling: str = "mean") -> None:
        super().__init__(model, extractor, layer=layer, pooling=pooling)
        config: Any = model.config
        self.min_samples = 1  # the fewest samples that the convolutions turn into a frame
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            self.min_samples = (self.min_samples - 1) * stride + kernel

    def inputs(self, waves: Float[Tensor, "batch samples"]) -> dict[str, Tensor]:
        """Return the waveforms, each with zero mean and unit variance if the checkpoint says so."""
        if self.extractor.do_normalize:
            # one by one, because a reduction over a batch may add in another order
            waves = torch.stack([(w - w.mean()) / (w.var(correction=0) + 1e-7).sqrt() for w in waves])
        if self.extractor.return_attention_mask:
            return {"input_values": waves, "attention_mask": torch.ones_like(waves, dtype=torch.long)}
        return {"input_values": waves}


class WhisperAudio(HubAudio):
    """Run the encoder of Whisper."""

    def __init__(self, model: nn.Module, extractor: Any, *, layer: int | None = None, pooling: str = "mean") -> None:
        whole: Any = model
        super().__init__(whole.get_encoder(), extractor, layer=layer, pooling=pooling)
        self.max_samples = extractor.n_samples

    def real(self, hidden: Tensor, samples: int) -> Tensor:
        """Return the frames within the waveform. The encoder halves the number of mel frames."""
        return hidden[:, : -(-samples // (2 * self.extractor.hop_length))]


class AstAudio(HubAudio):
    """Run the Audio Spectrogram Transformer. ``first`` is its class token; other poolings go over the patches."""

    min_samples = 400  # one analysis window of 25 ms

    def __init__(self, model: nn.Module, extractor: Any, *, layer: int | None = None, pooling: str = "mean") -> None:
        super().__init__(model, extractor, layer=layer, pooling=pooling)
        self.max_samples = (extractor.max_length - 1) * 160 + self.min_samples  # Kaldi's frames: 25 ms every 10 ms

    def real(self, hidden: Tensor, samples: int) -> Tensor:
        """Return the patches within the waveform.

        They lie frequency by frequency, behind the class and the distillation token.
        """
        config: Any = self.model.config
        times = (config.max_length - config.patch_size) // config.time_stride + 1
        frames = 1 + (samples - self.min_samples) // 160
        grid = hidden[:, 2:].unflatten(1, (-1, times))
        return grid[:, :, : -(-frames // config.time_stride)].flatten(1, 2)


class ClapAudio(HubAudio):
    """Run the audio tower of CLAP, before the projection into the space that it shares with text."""

    poolings = ("mean", "max")  # its last output is a map and not a sequence
    # The last stages have only 64 rows for large matrices. Measured: pairs are 1.1 times as fast on two cores, and 8
    # windows of 10 s had the same bits as each alone. The promise is 1e-5.
    rows_on_cpu = 2

    def __init__(self, model: nn.Module, extractor: Any, *, layer: int | None = None, pooling: str = "mean") -> None:
        if layer is not None:
            raise ConfigError(f"layer={layer}: CLAP's stages differ in width, expected no layer for this model")
        whole: Any = model
        super().__init__(whole.audio_model, extractor, pooling=pooling)
        self.max_samples = extractor.nb_max_samples

    def inputs(self, waves: Float[Tensor, "batch samples"]) -> dict[str, Tensor]:
        """Return the inputs of the extractor, with no waveform marked as longer than the window, because none is.

        The extractor would mark a random waveform of each batch, and its vector would depend on that.
        """
        longer = torch.zeros(len(waves), 1, dtype=torch.bool, device=waves.device)
        return super().inputs(waves) | {"is_longer": longer}

    def real(self, hidden: Tensor, samples: int) -> Tensor:
        """Return ``[batch, dim, frequency, time]`` as a sequence."""
        return hidden.flatten(2).transpose(1, 2)


MODELS: dict[str, type[HubAudio]] = {
    "wav2vec2": RawAudio,
    "hubert": RawAudio,
    "wavlm": RawAudio,
    "data2vec-audio": RawAudio,
    "whisper": WhisperAudio,
    "audio-spectrogram-transformer": AstAudio,
    "clap": ClapAudio,
}


def load_hub_audio(folder: Path, *, layer: int | None = None, pooling: str = "mean") -> HubAudio:
    """Load a network with the weights of a model's folder.

    Raises:
        ConfigError: The model is no audio model that is known here, or it has no such layer or pooling.
        CheckpointError: The folder is incomplete.
    """
    from transformers import AutoConfig, AutoFeatureExtractor

    kind = read_json(folder / CONFIG, CheckpointError).get("model_type")
    if kind not in MODELS:
        raise ConfigError(
            f"{folder}: model_type '{kind}', expected one of {', '.join(MODELS)}; text models are hf-text:..., "
            "and models that bring their own code are never run"
        )
    config = attempt(AutoConfig.from_pretrained, folder, CONFIG)
    extractor = attempt(AutoFeatureExtractor.from_pretrained, folder, PREPROCESSING)
    return MODELS[kind](load_pretrained(folder, config), extractor, layer=layer, pooling=pooling)


def plain_json(path: Path) -> dict[str, Any]:
    """Read a JSON file without the entries that change no vector.

    Raises:
        CheckpointError: The file is not there, or it is not JSON.
    """
    return {key: value for key, value in read_json(path, CheckpointError).items() if key not in NO_EFFECT}
