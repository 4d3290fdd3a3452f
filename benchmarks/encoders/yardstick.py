"""Claim: the spectral encoder reaches the yardsticks on real audio, at over 150 times real time on one core.

    python -m benchmarks.encoders.yardstick ../shared/data

Yardstick: pooled log-mel and MFCC statistics with an RBF support-vector machine reach accuracy 0.55 on
RAVDESS valid (8 classes, actors 20-22) and 0.61 on VGMIDI valid (4 moods, 28 pieces). The same machine is
trained here on the encoder's vectors of the train split; C and gamma are chosen by cross-validation inside
train, grouped by actor or game; valid is scored once. Nothing is drawn at random but the folds, whose seed
is fixed: one configuration, one value, no spread over seeds; the binomial error of an accuracy is printed
beside it.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from s2m_ray.encoders.spectral.spectral import SpectralEncoder

SEGMENT_S = 10.0
SHORTEST_S = 0.05
YARDSTICK = {"ravdess": 0.55, "vgmidi": 0.61}
REAL_TIME = 150.0  # audio seconds a CPU second
FOLDS = {"ravdess": 4, "vgmidi": 8}


def load(path: Path, rate: int) -> np.ndarray:
    wave, file_rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = wave.mean(axis=1)
    if file_rate == rate:
        return mono
    return soxr.resample(mono, file_rate, rate, quality="HQ").astype(np.float32)


def embed(encoder: SpectralEncoder, path: Path) -> np.ndarray:
    """Mean of the segments' vectors, weighted by their lengths."""
    wave = load(path, encoder.sample_rate)
    step = round(SEGMENT_S * encoder.sample_rate)
    parts = [wave[i : i + step] for i in range(0, len(wave), step)]
    parts = [p for p in parts if len(p) >= SHORTEST_S * encoder.sample_rate]
    return np.average(encoder.encode(parts), axis=0, weights=[len(p) for p in parts])


def ravdess(root: Path) -> list[tuple[Path, str, str, str]]:
    """Path, label, group, split: modality-channel-emotion-...-actor in the file name."""
    rows = []
    for path in sorted(root.glob("ravdess/Actor_*/*.flac")):
        fields = path.stem.split("-")
        rows.append((path, fields[2], fields[6], "train" if int(fields[6]) <= 19 else "valid"))
    return rows


def vgmidi(root: Path) -> list[tuple[Path, str, str, str]]:
    with (root / "vgmidi/labels.csv").open() as file:
        return [(root / "vgmidi" / r["path"], r["mood"], r["game"], r["split"]) for r in csv.DictReader(file)]


def score(encoder: SpectralEncoder, rows: list[tuple[Path, str, str, str]], folds: int) -> dict[str, float]:
    x = np.stack([embed(encoder, path) for path, *_ in rows])
    y, group, split = (np.array(column) for column in list(zip(*rows, strict=True))[1:])
    train, valid = split == "train", split == "valid"
    cv = list(GroupKFold(folds, shuffle=True, random_state=0).split(x[train], y[train], group[train]))
    grid = {"svc__C": [1, 3, 10], "svc__gamma": [scale / encoder.dim for scale in (0.25, 0.5, 1)]}
    search = GridSearchCV(make_pipeline(StandardScaler(), SVC()), grid, cv=cv).fit(x[train], y[train])
    linear = make_pipeline(StandardScaler(), RidgeClassifier(alpha=encoder.dim))
    return {
        "train": int(train.sum()),
        "valid": int(valid.sum()),
        "svm_cv": search.best_score_,
        "svm_valid": search.score(x[valid], y[valid]),
        "linear_cv": cross_val_score(linear, x[train], y[train], cv=cv).mean(),
        "linear_valid": linear.fit(x[train], y[train]).score(x[valid], y[valid]),
    } | search.best_params_


def real_time(encoder: SpectralEncoder, wave: np.ndarray, repeats: int = 15) -> float:
    """Seconds of audio a second of CPU time, all threads counted; median of ``repeats``."""
    encoder.encode([wave])
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        encoder.encode([wave])
        spent.append(time.process_time() - start)
    return len(wave) / encoder.sample_rate / float(np.median(spent))


def main(root: Path) -> None:
    encoder = SpectralEncoder()
    print(f"spectral: dim {encoder.dim}, {encoder.space_id}")
    tables = {"ravdess": ravdess(root), "vgmidi": vgmidi(root)}
    speech, music = (load(tables[name][0][0], encoder.sample_rate) for name in tables)
    rates = {
        "utterance": real_time(encoder, speech),
        "10 s of music": real_time(encoder, music[: round(SEGMENT_S * encoder.sample_rate)]),
    }
    for name, rate in rates.items():
        print(f"{name}: {rate:.0f}x real time on a core, goal {REAL_TIME:.0f}x, ratio {rate / REAL_TIME:.2f}")
    figures = {name: score(encoder, rows, FOLDS[name]) for name, rows in tables.items()}
    for name, f in figures.items():
        p, n = f["svm_valid"], f["valid"]
        print(
            f"{name}: valid {p:.3f} +- {np.sqrt(p * (1 - p) / n):.3f} (n={n}), yardstick {YARDSTICK[name]}, "
            f"ratio {p / YARDSTICK[name]:.2f}; grouped CV in train {f['svm_cv']:.3f} (n={f['train']}), "
            f"C={f['svc__C']}, gamma*dim={f['svc__gamma'] * encoder.dim:g}; "
            f"linear CV {f['linear_cv']:.3f}, valid {f['linear_valid']:.3f}"
        )
    for name, f in figures.items():
        assert f["svm_valid"] >= YARDSTICK[name], f"{name}: {f['svm_valid']:.3f} is under the yardstick"
    for name, rate in rates.items():
        assert rate >= REAL_TIME, f"{name}: {rate:.0f}x is under {REAL_TIME:.0f}x real time"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.encoders.yardstick DATA_DIR")
    main(Path(sys.argv[1]))
