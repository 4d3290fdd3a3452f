"""Music Tagging Transformer, the student network: the music side of speech-to-music retrieval.

Sources: Won, Choi & Serra, ISMIR 2021 (semi-supervised music tagging transformer) for the network; Doh et al., ICASSP
2023, arXiv:2303.10539 (official code) for the way in which its features were cut out. See docs/original.md.

Two points were derived from code and not from the published file: the order query, key, value with the heads
outermost in the joint projection, and the layout of ``compact_student.ckpt``.
"""

from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from s2m_ray.encoders.networks.frontend import ResidualBlock, decibel, mel_spectrogram, require_length
from s2m_ray.encoders.networks.weights import fill, first_weights, read_pickle, tensors_of
from s2m_ray.errors import CheckpointError, ConfigError

Pooling = Literal["first", "cls", "mean"]
HOP = 512
HEADS = 8
LAYERS = 4
TAGS = 50  # tags of the Million Song Dataset
POSITIONS = 513  # rows of the position table: the CLS token and 512 frames
EMOTIONS = 8  # classes of the stage-1 head (AudioSet mood and noise)


class FrontEnd(nn.Module):
    """Map a mel spectrogram in dB to one vector for every four mel frames.

    Three residual blocks halve the mel axis three times and time twice. The channels and mels of a frame are then
    laid side by side (channel first) and projected.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_bn = nn.BatchNorm2d(1)
        self.layer1 = ResidualBlock(1, 128, pool=(2, 2))
        self.layer2 = ResidualBlock(128, 128, pool=(2, 2))
        self.layer3 = ResidualBlock(128, 128, pool=(2, 1))
        self.fc = nn.Linear(128 * 16, 64)

    def forward(self, mel_db: Float[Tensor, "batch 128 mel_frames"]) -> Float[Tensor, "batch frames 64"]:
        """Return the vectors of ``frames = mel_frames // 2 // 2`` frames."""
        x = self.layer3(self.layer2(self.layer1(self.input_bn(mel_db[:, None]))))
        return self.fc(x.flatten(1, 2).transpose(1, 2))


class Block(nn.Module):
    """Apply a pre-norm transformer layer, with the exact GELU: ``x + attention(norm(x))``, ``x + mlp(norm(x))``."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(64)
        self.qkv = nn.Linear(64, 3 * 64, bias=False)
        self.out = nn.Linear(64, 64)
        self.mlp_norm = nn.LayerNorm(64)
        self.expand = nn.Linear(64, 256)
        self.contract = nn.Linear(256, 64)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Float[Tensor, "batch tokens 64"]) -> Float[Tensor, "batch tokens 64"]:
        """Apply the layer."""
        query, key, value = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        )
        # Scale 1 / sqrt(8), the width of a head: torch's default.
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.out(mixed))
        wide = self.dropout(functional.gelu(self.expand(self.mlp_norm(x))))
        return x + self.dropout(self.contract(wide))


class MusicTaggingTransformer(nn.Module):
    """Map a waveform at 22 050 Hz to 64 numbers.

    Args:
        pooling: The output of the transformer that becomes the vector.

            - ``first`` takes the first frame, with neither CLS token nor positions. It is an odd choice, but the
              released speech-to-music features were made like this (quirk Q2 in docs/original.md).
            - ``cls`` takes the CLS token in front of the frames, with positions: the network as designed. It is
              taken before the norm of the tag head, where the released features are cut too.
            - ``mean`` takes the mean over the frames, with neither CLS token nor positions. It takes any length,
              works with checkpoints of speech-to-music, which have no positions, and shares its trunk with ``first``.
        seed: Seed of the first weights.

    With ``cls`` there are 1 108 852 parameters. The others lack CLS token, positions and tag head, which would never
    get a gradient, and have 1 072 578.
    """

    sample_rate = 22050
    dim = 64
    min_samples = 3 * HOP  # four mel frames, which the two poolings over time turn into one frame
    max_samples: int | None  # the reach of the position table; None allows any length

    def __init__(self, pooling: str = "first", *, seed: int = 0) -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise ConfigError(f"pooling='{pooling}': not known, expected one of {', '.join(get_args(Pooling))}")
        self.pooling = pooling
        self.spec = mel_spectrogram(sample_rate=self.sample_rate, n_fft=1024, hop_length=HOP, n_mels=128)
        with first_weights(seed, "music_tagging"):
            self.frontend = FrontEnd()
            self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
            if pooling == "cls":
                self.cls_token = nn.Parameter(0.02 * torch.randn(64))  # 0.02 as in BERT; the paper gives no value
                self.pos_embedding = nn.Parameter(0.02 * torch.randn(1, POSITIONS, 64))
                self.dropout = nn.Dropout(0.1)
                self.tag_norm = nn.LayerNorm(64)
                self.tag_linear = nn.Linear(64, TAGS)
        # The last length whose mel frames, 1 + samples // HOP, still make 512 frames and not 513.
        self.max_samples = (4 * POSITIONS - 1) * HOP - 1 if pooling == "cls" else None

    def forward(self, waves: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch 64"]:
        """Return the embeddings of waveforms that have one length and amplitudes in [-1, 1].

        Raises:
            DecodeError: The waveforms are ``too_short`` or, with ``cls``, ``too_long``.
        """
        require_length(
            waves.shape[1],
            sample_rate=self.sample_rate,
            min_samples=self.min_samples,
            max_samples=self.max_samples,
            network=f"the Music Tagging Transformer with pooling '{self.pooling}'",
        )
        x = self.frontend(decibel(self.spec(waves)))
        if self.pooling == "cls":
            x = torch.cat([self.cls_token.expand(len(x), 1, -1), x], dim=1)
            x = self.dropout(x + self.pos_embedding[:, : x.shape[1]])
        for block in self.blocks:
            x = block(x)
        return x.mean(dim=1) if self.pooling == "mean" else x[:, 0]

    def tags(self, waves: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch 50"]:
        """Return the probabilities of the 50 tags of the Million Song Dataset. This needs the pooling ``cls``."""
        assert self.pooling == "cls", self.pooling
        return torch.sigmoid(self.tag_linear(self.tag_norm(self(waves))))


def load_music_tagging(path: Path, *, pooling: Pooling = "first") -> MusicTaggingTransformer:
    """Load the network in eval mode with the weights of an original checkpoint.

    The names in the file tell its layout, of which there are two. Every name and shape must fit.

    - ``compact_student.ckpt`` of the Music Tagging Transformer is a flat dictionary. Names begin with ``network.``.
      Names that begin with ``teacher`` are left out.
    - ``best.pth`` of stage 1 of speech-to-music holds, under ``state_dict``, ``feature_extractor.0`` (mel), ``.2``
      (front end), ``.3`` (transformer) and ``mlp_head`` (emotion, left out). It does not serve ``cls``. All names may
      begin with ``module.``, as after data-parallel training.

    Raises:
        CheckpointError: The file is not readable, has another layout, or differs from it.
    """
    network = MusicTaggingTransformer(pooling)
    value = read_pickle(path)
    tensors = tensors_of(value.get("state_dict", value), where=str(path))
    if any(name.startswith("network.") for name in tensors):
        student = {name: tensor for name, tensor in tensors.items() if not name.startswith("teacher")}
        whole = MusicTaggingTransformer("cls").state_dict()
        spare = {_student_name(own): tuple(v.shape) for own, v in whole.items() if own not in network.state_dict()}
        what = "a Music Tagging Transformer student"
        fill(network, student, where=str(path), what=what, name_of=_student_name, spare=spare)
        return network.eval()
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if any(name.startswith("feature_extractor.") for name in tensors):
        if pooling == "cls":
            raise CheckpointError(
                f"{path}: a stage-1 checkpoint of speech-to-music, which has neither CLS token nor positions; "
                "pooling 'cls' needs compact_student.ckpt, or choose 'first' or 'mean'"
            )
        head = {"mlp_head.weight": (EMOTIONS, 64), "mlp_head.bias": (EMOTIONS,)}
        what = "a stage-1 music checkpoint of speech-to-music"
        fill(network, tensors, where=str(path), what=what, name_of=_stage1_name, spare=head)
        return network.eval()
    raise CheckpointError(
        f"{path}: names such as '{min(tensors)}' found, expected 'network.*' (compact_student.ckpt) or "
        "'feature_extractor.*' (stage 1 of speech-to-music); is it the checkpoint of another network?"
    )


# Our names of the parts of a transformer layer, and their names in the checkpoints.
_PARTS = {
    "attention_norm": "0.fn.norm",
    "qkv": "0.fn.fn.to_qkv",
    "out": "0.fn.fn.to_out.0",
    "mlp_norm": "1.fn.norm",
    "expand": "1.fn.fn.net.0",
    "contract": "1.fn.fn.net.3",
}


def _student_name(own: str) -> str:
    top, _, rest = own.partition(".")
    if top == "blocks":
        layer, part, leaf = rest.split(".")
        return f"network.transformer.layers.{layer}.{_PARTS[part]}.{leaf}"
    head = {"tag_norm": "mlp_head.0.", "tag_linear": "mlp_head.1."}
    return f"network.{head[top]}{rest}" if top in head else f"network.{own}"


def _stage1_name(own: str) -> str:
    top, _, rest = _student_name(own).removeprefix("network.").partition(".")
    place = {"spec": 0, "frontend": 2, "transformer": 3}[top]  # 1 is the dB step, which has no weights
    return f"feature_extractor.{place}.{rest}"
