"""A corpus that fits a pocket: tones whose pitch and level go with the emotion, as files and manifests."""

from pathlib import Path

import numpy as np
import soundfile
from support.tones import tone

from s2m_ray.manifest.checks import from_rows
from s2m_ray.manifest.formats import write_manifest

EMOTIONS = {"happy": 500.0, "sad": 150.0, "angry": 900.0}
SPLITS = ("train", "train", "valid", "test")
RECIPE = """
out = "{out}"

[manifest.speech]
corpus = "table"
root = "{corpus}/speech.parquet"

[manifest.music]
corpus = "table"
root = "{corpus}/music.parquet"

[embed.speech]
shard_items = 2
[embed.music]
shard_items = 2

[train]
seeds = [0, 1]
[train.fit]
epochs = 4
warmup_epochs = 1

[evaluate]
bootstrap = 20

[report]
"""

# Twelve trials, a pack each
SWEEP = """
[tune]
seeds = [0, 1]
[tune.space]
"loss.emo_lambda" = [0.0, 0.5, 1.0]
"loss.margin" = [0.2, 0.4]
[tune.sweep]
pack = 1
"""


def pocket_corpus(folder: Path, items: int = 24) -> Path:
    """``speech.parquet`` and ``music.parquet`` of so many items each, and their audio."""
    for side, level in (("speech", 0.3), ("music", 0.5)):
        rows = []
        for number in range(items):
            emotion = list(EMOTIONS)[number % len(EMOTIONS)]
            path = folder / side / f"{side}-{number:03d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = 0.02 * np.random.default_rng(number).standard_normal(9600)
            soundfile.write(path, tone(EMOTIONS[emotion] + 5 * number, 0.6, level=level) + noise, 16000)
            rows.append(
                {
                    "item_id": path.stem,
                    "uri": str(path),
                    "modality": side,
                    "emotion": emotion,
                    "split": SPLITS[number // len(EMOTIONS) % len(SPLITS)],
                }
            )
        write_manifest(from_rows(rows, side), folder / f"{side}.parquet")
    return folder


def write_recipe(path: Path, corpus: Path, out: Path, more: str = "") -> Path:
    """Pipeline file over a pocket corpus."""
    path.write_text(RECIPE.format(corpus=corpus, out=out) + more)
    return path
