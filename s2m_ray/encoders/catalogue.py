"""List encoders, for people who have to choose. Listing them loads neither torch nor weights.

The licences of hub models are hints that were not checked against their pages, so read the page before you use a
model. ``?`` means that we do not know the licence. ``hf:`` and ``hf-text:`` take any model of a known kind; the
entries here are examples.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from s2m_ray.encoders.networks.hub_files import cached


@dataclass(frozen=True)
class Entry:
    """Describe an encoder, with the length of its vectors (``dim``) and the sample rate of its audio."""

    name: str
    input: Literal["audio", "text"]
    dim: int
    sample_rate: int | None  # Hz; None for text
    licence: str
    provenance: str


CATALOGUE = (
    Entry("spectral", "audio", 718, 16000, "ours", "computed, no weights"),
    Entry("music-tagging:FILE", "audio", 64, 22050, "?", "Won 2021, compact_student.ckpt; Doh 2023"),
    Entry("short-chunk:FILE", "audio", 64, 16000, "?", "Won 2021, 3b_alm.ckpt, 3b_isear.ckpt"),
    Entry("transfer:FILE", "audio", 7936, 16000, "?", "quad-pred, EUSIPCO 2020, HDF5 or .npz"),
    Entry("speech-emotion:FILE", "audio", 768, 16000, "?", "Doh 2023, stage 1, best.pth"),
    Entry("hf:facebook/wav2vec2-base-960h", "audio", 768, 16000, "Apache-2.0", "Baevski 2020"),
    Entry("hf:facebook/hubert-base-ls960", "audio", 768, 16000, "Apache-2.0", "Hsu 2021"),
    Entry("hf:microsoft/wavlm-base-plus", "audio", 768, 16000, "CC-BY-SA-3.0", "Chen 2022"),
    Entry("hf:facebook/data2vec-audio-base-960h", "audio", 768, 16000, "Apache-2.0", "Baevski 2022"),
    Entry("hf:openai/whisper-base", "audio", 512, 16000, "Apache-2.0", "Radford 2022, encoder"),
    Entry("hf:MIT/ast-finetuned-audioset-10-10-0.4593", "audio", 768, 16000, "BSD-3-Clause", "Gong 2021"),
    Entry("hf:laion/clap-htsat-unfused", "audio", 768, 48000, "Apache-2.0", "Wu 2023, audio tower"),
    Entry("hf-text:distilbert/distilbert-base-uncased", "text", 768, None, "Apache-2.0", "Sanh 2019"),
    Entry("hf-text:distilbert/distilbert-base-uncased?checkpoint=FILE", "text", 768, None, "?", "Doh 2023, stage 1"),
    Entry("hf-text:sentence-transformers/all-MiniLM-L6-v2", "text", 384, None, "Apache-2.0", "sentence-transformers"),
)


def entries() -> list[dict[str, Any]]:
    """Return the catalogue. ``here`` and ``loadable`` say what it takes to load each encoder on this machine.

    Nothing is asked over the network.
    """
    return [asdict(entry) | {"here": (here := _here(entry.name)), "loadable": here == "yes"} for entry in CATALOGUE]


def _here(name: str) -> str:
    _, _, target = name.partition(":")
    if not target:
        return "yes"
    if target.endswith("FILE"):
        return "give the file"
    return "yes" if cached(target) else "download"
