"""Stages as a Ray actor calls them, without Ray."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from conftest import tone

from s2m_ray import stages
from s2m_ray.config import AudioConfig
from s2m_ray.errors import ConfigError, DecodeError
from s2m_ray.manifest import from_rows
from s2m_ray.stages import DecodeAudio, EmbedShard, EncodeSegments
from s2m_ray.store import read_rejects, shard_path

RATE = 1000


class FakeEncoder:
    """Two exact statistics in place of a network; notes how many waveforms came at once."""

    name, input, sample_rate, dim, space_id = "fake", "audio", RATE, 2, "fake-1"

    def __init__(self):
        self.calls = []

    def encode(self, waveforms):
        self.calls.append(len(waveforms))
        return np.array([[wave.mean(), len(wave)] for wave in waveforms], np.float32)


class BrokenEncoder(FakeEncoder):
    """Gives NaN for whatever is loud."""

    def encode(self, waveforms):
        return np.array([[np.nan if np.abs(w).max() > 0.5 else 0.0, 0.0] for w in waveforms], np.float32)


def shard(rows: list[dict], number: int = 3) -> pa.Table:
    full = [{"modality": "speech"} | row for row in rows]
    table = from_rows(full, "test")
    return table.append_column("shard", pa.array([number] * len(rows), pa.int32()))


def of_folder(folder: Path) -> list[dict]:
    return [{"item_id": path.stem, "uri": str(path)} for path in sorted(folder.glob("*.wav"))]


def vectors(store: Path, number: int = 3) -> dict[str, list[float]]:
    rows = pq.read_table(shard_path(store, number), partitioning=None).to_pylist()
    return {row["item_id"]: row["embedding"] for row in rows}


@pytest.fixture
def levels(tmp_path):
    """Files of a constant level at 1 kHz: the level is the number in the name, in hundredths."""
    folder = tmp_path / "levels"
    folder.mkdir()
    for level, seconds in ((10, 1.0), (20, 2.5), (30, 0.5), (40, 1.0)):
        wave = np.full(round(seconds * RATE), level / 100)
        soundfile.write(folder / f"level-{level}.wav", wave, RATE, subtype="FLOAT")
    return folder


def test_decode_audio_cuts_the_window_of_the_row(levels):
    decode = DecodeAudio(AudioConfig(segment_s=1.0), RATE)
    uri = str(levels / "level-20.wav")
    segments = decode({"uri": uri, "start_s": None, "end_s": None})
    assert [len(s) for s in segments] == [1000, 1000, 500]
    assert [len(s) for s in decode({"uri": uri, "start_s": 0.3, "end_s": 1.5})] == [1000, 200]
    with pytest.raises(DecodeError, match=r"^too_short: 0\.040 s"):
        decode({"uri": uri, "start_s": 0.0, "end_s": 0.04})


def test_encode_segments_weighs_by_samples():
    encode = EncodeSegments(encoder := FakeEncoder())
    ones, twos = np.ones(30, np.float32), np.full(10, 2, np.float32)
    found = encode([[ones, twos], [twos], [twos, twos, ones]])
    # means over all samples: (30 * 1 + 10 * 2) / 40, 2, (20 * 2 + 30 * 1) / 50; mean lengths: 25, 10, 22
    assert found == pytest.approx(np.array([[1.25, 25], [2, 10], [1.4, 22]]))
    assert encoder.calls == [6]


def test_a_shard_is_written_with_its_rejects_and_counted(levels, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "build_encoder", lambda name: FakeEncoder())
    rows = of_folder(levels)
    rows.insert(1, {"item_id": "gone", "uri": str(levels / "gone.wav"), "emotion": "sad"})
    rows[0] |= {"emotion": "happy", "split": "train", "end_s": 0.5}
    counts = EmbedShard(tmp_path / "store", "fake", AudioConfig(segment_s=1.0), batch_s=2.0)(shard(rows)).to_pylist()
    assert [{name: counts[0][name] for name in ("shard", "items", "rejected", "audio_s")}] == [
        {"shard": 3, "items": 4, "rejected": 1, "audio_s": 0.5 + 2.5 + 0.5 + 1.0}
    ]
    assert len(counts) == 1
    found = vectors(tmp_path / "store")
    assert {name: round(vector[0], 6) for name, vector in found.items()} == {
        "level-10": 0.1, "level-20": 0.2, "level-30": 0.3, "level-40": 0.4,
    }  # fmt: skip
    assert found["level-20"][1] == pytest.approx((1000 * 1000 + 1000 * 1000 + 500 * 500) / 2500)
    written = pq.read_table(shard_path(tmp_path / "store", 3), partitioning=None)
    assert written["emotion"].to_pylist() == ["happy", None, None, None]
    assert "shard" not in written.column_names
    assert [(r["item_id"], r["stage"], r["reason"]) for r in read_rejects(tmp_path / "store")] == [
        ("gone", "decode", "missing")
    ]


@pytest.mark.parametrize(
    # 1.0, 2.5, 0.5, 1.0 s of 1, 3, 1, 1 segments
    ("batch_s", "calls"), [(0.01, [1, 3, 1, 1]), (1.2, [4, 2]), (3.5, [4, 2]), (100.0, [6])],
)  # fmt: skip
def test_a_batch_is_full_when_it_holds_batch_s(levels, tmp_path, monkeypatch, batch_s, calls):
    encoder = FakeEncoder()
    monkeypatch.setattr(stages, "build_encoder", lambda name: encoder)
    EmbedShard(tmp_path / "store", "fake", AudioConfig(segment_s=1.0), batch_s)(shard(of_folder(levels)))
    assert encoder.calls == calls


def test_a_vector_that_is_not_finite_is_a_reject(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "build_encoder", lambda name: BrokenEncoder())
    for name, level in (("loud", 0.9), ("soft", 0.1)):
        soundfile.write(tmp_path / f"{name}.wav", tone(50, 1.0, RATE, level), RATE, subtype="FLOAT")
    EmbedShard(tmp_path / "store", "fake", AudioConfig(), 10.0)(shard(of_folder(tmp_path)))
    assert list(vectors(tmp_path / "store")) == ["soft"]
    assert [(r["item_id"], r["stage"], r["reason"]) for r in read_rejects(tmp_path / "store")] == [
        ("loud", "encode", "not_finite")
    ]


def test_a_shard_without_a_single_good_item(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "build_encoder", lambda name: FakeEncoder())
    counts = EmbedShard(tmp_path, "fake", AudioConfig(), 10.0)(shard([{"item_id": "a", "uri": "/none"}]))
    assert counts.to_pylist()[0]["rejected"] == 1
    assert vectors(tmp_path) == {}


def test_the_batch_changes_no_bit_of_a_vector(audio_dir, tmp_path):
    audio = AudioConfig(segment_s=0.8)
    stores = {}
    for batch_s in (0.01, 2.0, 1000.0):
        EmbedShard(tmp_path / str(batch_s), "spectral", audio, batch_s)(shard(of_folder(audio_dir)))
        stores[batch_s] = vectors(tmp_path / str(batch_s))
    first = stores[0.01]
    assert len(first) == 6
    assert len({tuple(vector) for vector in first.values()}) == 6
    assert stores[2.0] == first
    assert stores[1000.0] == first


def test_an_unknown_encoder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="encoder 'wav2vec9': not known, expected one of"):
        EmbedShard(tmp_path, "wav2vec9", AudioConfig(), 10.0)
