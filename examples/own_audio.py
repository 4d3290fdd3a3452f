"""Embed a folder of audio in this process, and print the shape of the vectors.

Run ``python examples/own_audio.py [FOLDER]``. The folder is laid out as ``train/happy/a.wav``. Without a folder the
script writes three tones and embeds them. For a large library use `s2m embed`, which resumes and keeps rejects.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

import s2m_ray
from s2m_ray.audio.decode import decode
from s2m_ray.corpora.catalogue import import_corpus


def write_tones(folder: Path) -> None:
    """Write three tones of one second."""
    for emotion, hertz in (("happy", 440), ("sad", 220), ("angry", 330)):
        path = folder / "train" / emotion / "tone.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000), 16000)


def main() -> None:
    """List the folder, embed every file, and read the store back."""
    with tempfile.TemporaryDirectory() as temporary:
        if len(sys.argv) > 1:
            folder = Path(sys.argv[1]).absolute()
        else:
            folder = Path(temporary, "audio")
            write_tones(folder)
        items = import_corpus("folder", folder, modality="music", corpus="mine")

        encoder = s2m_ray.build_encoder("spectral")
        waveforms = [decode(uri, sample_rate=encoder.sample_rate) for uri in items["uri"].to_pylist()]
        vectors = encoder.encode(waveforms)

        store = Path(temporary, "store.parquet")
        columns = {name: items[name] for name in ("item_id", "split", "emotion")}
        pq.write_table(pa.table({**columns, "embedding": vectors.tolist()}), store)
        print(s2m_ray.read_store(store).vectors.shape)


if __name__ == "__main__":
    main()
