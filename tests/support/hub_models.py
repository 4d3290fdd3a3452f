"""Tiny models of the hub with random weights, saved as the hub has them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def _raw(kind: str, *, layer_norm: bool = False) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        import transformers

        config: Any = getattr(transformers, f"{kind}Config")(
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=48,
            conv_dim=(16, 16, 16),
            conv_kernel=(10, 3, 2),
            conv_stride=(5, 4, 4),
            num_feat_extract_layers=3,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
            vocab_size=10,
            max_bucket_distance=40,
            num_buckets=16,
            **({"feat_extract_norm": "layer", "do_stable_layer_norm": True} if layer_norm else {}),
        )
        getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=layer_norm).save_pretrained(
            folder
        )

    return save


def _whisper(folder: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=50,
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_source_positions=100,
        max_target_positions=8,
        num_mel_bins=80,
        pad_token_id=1,
        bos_token_id=2,
        eos_token_id=3,
        decoder_start_token_id=4,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)


def _ast(folder: Path) -> None:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    config = ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_length=208,
        num_mel_bins=64,
        num_labels=3,
    )
    ASTForAudioClassification(config).save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=64, max_length=208).save_pretrained(folder)


def _clap(folder: Path, *, fused: bool = True) -> None:
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    audio = {
        "window_size": 4,
        "num_mel_bins": 16,
        "spec_size": 64,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "num_classes": 3,
        "hidden_size": 32,
        "projection_dim": 8,
        "depths": [1, 1],
        "num_hidden_layers": 2,
        "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 16,
        "enable_fusion": fused,
        "fusion_type": "aff_2d",
        "aff_block_r": 2,
    }
    text = {
        "vocab_size": 20,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 20,
        "projection_dim": 8,
    }
    ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8)).save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=8000,
        hop_length=80,
        fft_window_size=256,
        max_length_s=2,
        frequency_min=50,
        frequency_max=4000,
        truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(folder)


AUDIO: dict[str, Callable[[Path], None]] = {
    "wav2vec2": _raw("Wav2Vec2"),
    "wav2vec2-layer-norm": _raw("Wav2Vec2", layer_norm=True),
    "hubert": _raw("Hubert"),
    "wavlm": _raw("WavLM"),
    "data2vec": _raw("Data2VecAudio"),
    "whisper": _whisper,
    "ast": _ast,
    "clap": _clap,
    "clap-unfused": lambda folder: _clap(folder, fused=False),
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["the", "dogs", "are", "sitting", "by", "door", "kids", "talking", ",", ".", "hi", "kia"]


def save_audio(name: str, folder: Path, seed: int = 0) -> Path:
    """A model's folder; equal seeds give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AUDIO[name](folder)
    return folder


def save_text(kind: str, folder: Path, seed: int = 0) -> Path:
    """A DistilBert or Bert with a vocabulary of a few words."""
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    if kind == "DistilBert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = getattr(transformers, f"{kind}Config")(vocab_size=len(WORDS), max_position_embeddings=24, **sizes)
        getattr(transformers, f"{kind}ForMaskedLM")(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    transformers.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    tokens = json.loads((folder / "tokenizer_config.json").read_text())
    assert tokens["tokenizer_class"].startswith("BertTokenizer"), tokens
    return folder
