"""Embed shards as a Ray actor does, without Ray: what is written, what is kept, what happens after a crash."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from support.fakes import RATE, FakeEncoder
from support.sabotage import DEADLY_DECODER
from support.tones import tone

from s2m_ray.config.embedding import AudioConfig
from s2m_ray.errors import ConfigError, StoreError
from s2m_ray.files.journal import STOP, Journal, entries, journal_path
from s2m_ray.files.rejects import read_rejects, rejects_path
from s2m_ray.manifest.checks import from_rows
from s2m_ray.stores import embed as module
from s2m_ray.stores import isolation
from s2m_ray.stores.embed import GIVE_UP_AFTER, REJECT_AFTER, EmbedShard
from s2m_ray.stores.shards import begun_path, changed, reopen, shard_path, write_rows

ROOT = Path(__file__).resolve().parents[2]


class BrokenEncoder(FakeEncoder):
    """An encoder that returns NaN for loud audio."""

    def encode(self, waveforms):
        return np.array([[np.nan if np.abs(w).max() > 0.5 else 0.0, 0.0] for w in waveforms], np.float32)


def prepare(store: Path, rows: list[dict]) -> None:
    write_rows(store, from_rows([{"modality": "speech"} | row for row in rows], "test"), len(rows))


def embed(store: Path, *, batch_s: float = 10.0, segment_s: float = 1.0, encoder: str = "fake", **values) -> dict:
    return EmbedShard(store, encoder, AudioConfig(segment_s=segment_s), batch_s=batch_s, **values)(0)


def of_folder(folder: Path) -> list[dict]:
    return [{"item_id": path.stem, "uri": str(path)} for path in sorted(folder.glob("*.wav"))]


def vectors(store: Path) -> dict[str, list[float]]:
    rows = pq.read_table(shard_path(store, 0), partitioning=None).to_pylist()
    return {row["item_id"]: row["embedding"] for row in rows}


@pytest.fixture
def fake(monkeypatch) -> FakeEncoder:
    encoder = FakeEncoder()
    monkeypatch.setattr(module, "build_encoder", lambda name: encoder)
    return encoder


def test_a_shard_is_written_with_its_rejects_and_counted(levels, tmp_path, fake):
    rows = of_folder(levels)
    rows.insert(1, {"item_id": "gone", "uri": str(levels / "gone.wav"), "emotion": "sad"})
    rows[0] |= {"emotion": "happy", "split": "train", "end_s": 0.5}
    prepare(tmp_path / "store", rows)
    counts = embed(tmp_path / "store", batch_s=2.0)
    assert {name: counts[name] for name in ("shard", "items", "rejected", "audio_s", "finished")} == {
        "shard": 0,
        "items": 4,
        "rejected": 1,
        "audio_s": 0.5 + 2.5 + 0.5 + 1.0,
        "finished": True,
    }
    assert 0 < counts["decode_s"] + counts["encode_s"] + counts["write_s"] <= counts["wall_s"]
    found = vectors(tmp_path / "store")
    assert {name: round(vector[0], 6) for name, vector in found.items()} == {
        "level-10": 0.1,
        "level-20": 0.2,
        "level-30": 0.3,
        "level-40": 0.4,
    }
    assert found["level-20"][1] == pytest.approx((1000 * 1000 + 1000 * 1000 + 500 * 500) / 2500)
    written = pq.read_table(shard_path(tmp_path / "store", 0), partitioning=None)
    assert written["emotion"].to_pylist() == ["happy", None, None, None]
    assert written["decoder"].to_pylist() == ["soundfile"] * 4
    status = (levels / "level-10.wav").stat()
    assert written["stamp"][0].as_py() == f"{status.st_size}/{status.st_mtime_ns}"
    assert [(r["item_id"], r["stage"], r["reason"]) for r in read_rejects(tmp_path / "store")] == [
        ("gone", "decode", "missing")
    ]
    assert entries(tmp_path / "store") == []


@pytest.mark.parametrize(
    # 1.0, 2.5, 0.5, 1.0 s of 1, 3, 1, 1 segments
    ("batch_s", "calls"),
    [(0.01, [1, 3, 1, 1]), (1.2, [4, 2]), (3.5, [4, 2]), (100.0, [6])],
)
@pytest.mark.parametrize("threads", [0, 3])
def test_a_batch_is_full_when_it_holds_batch_s(levels, tmp_path, fake, batch_s, calls, threads):
    prepare(tmp_path / "store", of_folder(levels))
    embed(tmp_path / "store", batch_s=batch_s, threads=threads)
    assert fake.calls == calls


def test_a_vector_that_is_not_finite_is_a_reject(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "build_encoder", lambda name: BrokenEncoder())
    for name, level in (("loud", 0.9), ("soft", 0.1)):
        soundfile.write(tmp_path / f"{name}.wav", tone(50, 1.0, RATE, level), RATE, subtype="FLOAT")
    prepare(tmp_path, of_folder(tmp_path))
    embed(tmp_path)
    assert list(vectors(tmp_path)) == ["soft"]
    assert [(r["item_id"], r["stage"], r["reason"]) for r in read_rejects(tmp_path)] == [
        ("loud", "encode", "not_finite")
    ]


def test_a_shard_without_a_single_good_item(tmp_path, fake):
    prepare(tmp_path, [{"item_id": "a", "uri": "/none"}])
    assert embed(tmp_path)["rejected"] == 1
    assert vectors(tmp_path) == {}


def test_neither_batch_nor_threads_change_a_bit_of_a_vector(audio_dir, tmp_path):
    stores = {}
    for batch_s, threads in ((0.01, 0), (2.0, 2), (1000.0, 4)):
        store = tmp_path / str(batch_s)
        prepare(store, of_folder(audio_dir))
        embed(store, encoder="spectral", segment_s=0.8, batch_s=batch_s, threads=threads)
        stores[batch_s] = vectors(store)
    first = stores[0.01]
    assert list(first) == [f"good-{n}" for n in range(6)]
    assert len({tuple(vector) for vector in first.values()}) == 6
    assert stores[2.0] == first
    assert stores[1000.0] == first


def test_an_unknown_encoder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="encoder 'wav2vec9': not known, expected one of"):
        embed(tmp_path, encoder="wav2vec9")


# What is kept


def test_a_stopped_shard_is_continued_where_it_was(levels, tmp_path, fake, monkeypatch):
    store, whole = tmp_path / "store", tmp_path / "whole"
    rows = [*of_folder(levels), {"item_id": "gone", "uri": "/gone"}]
    rows.insert(0, rows.pop())  # a reject first
    for folder in (store, whole):
        prepare(folder, rows)
    encode = fake.encode

    def encode_and_ask_to_stop(waveforms):
        (store / STOP).touch()
        return encode(waveforms)

    monkeypatch.setattr(fake, "encode", encode_and_ask_to_stop)
    stopped = embed(store, batch_s=1.2)
    assert (stopped["items"], stopped["rejected"], stopped["finished"]) == (2, 1, False)
    assert not shard_path(store, 0).exists()
    (store / STOP).unlink()
    monkeypatch.setattr(fake, "encode", encode)
    fake.calls.clear()
    rest = embed(store, batch_s=1.2)
    assert (rest["items"], rest["rejected"], rest["finished"]) == (2, 0, True)
    assert fake.calls == [2]
    embed(whole, batch_s=1.2)
    for path in (shard_path, rejects_path):
        assert path(store, 0).read_bytes() == path(whole, 0).read_bytes()
    assert sorted(p.name for p in store.glob(".*.parquet")) == []


def test_a_stop_before_anything_leaves_the_shard_as_it_is(levels, tmp_path, fake):
    prepare(tmp_path, of_folder(levels))
    (tmp_path / STOP).touch()
    counts = embed(tmp_path)
    assert (counts["items"], counts["finished"]) == (0, False)
    assert fake.calls == []
    (tmp_path / STOP).unlink()
    assert embed(tmp_path)["items"] == 4


def test_only_the_file_that_changed_is_encoded_again(levels, tmp_path, fake):
    prepare(tmp_path, of_folder(levels))
    embed(tmp_path)
    before = vectors(tmp_path)
    assert not changed(tmp_path, 0)
    (levels / "level-40.wav").unlink()  # gone is not changed: its vector stands
    assert not changed(tmp_path, 0)
    soundfile.write(levels / "level-30.wav", np.full(700, 0.9), RATE, subtype="FLOAT")
    assert changed(tmp_path, 0)
    reopen(tmp_path, 0)
    fake.calls.clear()
    assert embed(tmp_path)["items"] == 1
    assert fake.calls == [1]
    after = vectors(tmp_path)
    assert list(after) == list(before)
    assert after["level-30"] == pytest.approx([0.9, 700])
    assert {name: v for name, v in after.items() if name != "level-30"} == {
        name: v for name, v in before.items() if name != "level-30"
    }


def test_rejects_are_tried_again_on_request_only(levels, tmp_path, fake):
    gone = levels / "late.wav"
    prepare(tmp_path, [*of_folder(levels), {"item_id": "late", "uri": str(gone)}])
    embed(tmp_path)
    soundfile.write(gone, np.full(800, 0.7), RATE, subtype="FLOAT")
    reopen(tmp_path, 0)
    assert embed(tmp_path)["items"] == 0
    assert len(read_rejects(tmp_path)) == 1
    reopen(tmp_path, 0)
    fake.calls.clear()
    assert embed(tmp_path, retry_rejects=True)["items"] == 1
    assert fake.calls == [1]
    assert list(vectors(tmp_path))[-1] == "late"
    assert read_rejects(tmp_path) == []


# Crashes

ATTEMPT = """
import json, sys
from pathlib import Path
from s2m_ray.config.embedding import AudioConfig
from s2m_ray.stores.embed import EmbedShard
print(json.dumps(EmbedShard(Path(sys.argv[1]), "spectral", AudioConfig(), batch_s=10.0)(0)))
"""


@pytest.fixture
def deadly(audio_dir, tmp_path) -> tuple[Path, dict[str, str]]:
    """Start a store of two good files, a file that kills its decoder, and two more good files."""
    (tmp_path / "sitecustomize.py").write_text(DEADLY_DECODER)
    names = ["good-0", "good-1", "deadly", "good-2", "good-3"]
    for name in names:
        source = audio_dir / (f"{name}.wav" if name != "deadly" else "good-4.wav")
        (tmp_path / f"{name}.wav").write_bytes(source.read_bytes())
    store = tmp_path / "store"
    prepare(store, [{"item_id": name, "uri": str(tmp_path / f"{name}.wav")} for name in names])
    return store, {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}


def attempt(store: Path, env: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", ATTEMPT, str(store)], env=env, capture_output=True, text=True, timeout=60
    )


def test_a_file_that_kills_its_decoder_is_a_reject_and_costs_no_other(deadly):
    store, env = deadly
    first = attempt(store, env)
    assert first.returncode == -signal.SIGSEGV
    found = entries(store)
    assert [(entry.stage, entry.items) for entry in found] == [("decode", ("deadly",))]
    second = attempt(store, env)
    assert second.returncode == 0, second.stderr
    counts = json.loads(second.stdout)
    assert (counts["items"], counts["rejected"]) == (4, 1)
    assert list(vectors(store)) == ["good-0", "good-1", "good-2", "good-3"]
    assert [(r["item_id"], r["stage"], r["reason"], r["detail"]) for r in read_rejects(store)] == [
        ("deadly", "decode", "crashed", "the decoder ends its process with SIGSEGV")
    ]
    assert entries(store) == []


def test_a_worker_that_is_killed_from_outside_costs_no_item(deadly, tmp_path):
    store, env = deadly
    (tmp_path / "sitecustomize.py").write_text(
        DEADLY_DECODER.replace("signal.SIGSEGV)", "0)").replace("endless", "deadly")
    )
    child = subprocess.Popen([sys.executable, "-c", ATTEMPT, str(store)], env=env, stdout=subprocess.DEVNULL)
    while not any(entry.items == ("deadly",) for entry in entries(store)):
        time.sleep(0.02)
    child.kill()
    child.wait()
    (tmp_path / "sitecustomize.py").unlink()  # nothing was wrong with that file
    assert attempt(store, env).returncode == 0
    assert len(vectors(store)) == 5


def test_a_decoder_that_never_ends_is_a_reject(deadly, tmp_path, monkeypatch):
    _, env = deadly
    monkeypatch.setattr(isolation, "LIMIT_S", 2.0)
    monkeypatch.setenv("PYTHONPATH", env["PYTHONPATH"])
    (tmp_path / "deadly.wav").rename(tmp_path / "endless.wav")
    row = {"uri": str(tmp_path / "endless.wav"), "start_s": None, "end_s": None}
    verdict = isolation.survives(row, AudioConfig(), 16000)
    assert verdict.reason == "timeout"
    assert isolation.survives(row | {"uri": str(tmp_path / "good-0.wav")}, AudioConfig(), 16000) is None
    assert isolation.survives(row | {"uri": str(tmp_path / "none.wav")}, AudioConfig(), 16000) is None


def journal_of(store: Path, stage: str, items: list[str]) -> None:
    """Leave the journal of a worker that died at this stage."""
    journal = Journal(journal_path(store, 0))
    step = journal.doing(stage, items)
    step.__enter__()
    os.close(journal._file)
    journal._write = lambda: None  # the generator's end must not take it back


def test_an_item_that_the_encoder_dies_on_is_encoded_alone_and_then_rejected(levels, tmp_path, fake):
    prepare(tmp_path, of_folder(levels))
    names = [row["item_id"] for row in of_folder(levels)]
    journal_of(tmp_path, "encode", names)
    for _ in range(REJECT_AFTER - 1):
        journal_of(tmp_path, "encode", ["level-20"])
    counts = embed(tmp_path)
    assert (counts["items"], counts["rejected"]) == (3, 1)
    assert fake.calls == [1, 1, 1]  # each alone: any of them may be the one
    assert [(r["item_id"], r["stage"], r["reason"]) for r in read_rejects(tmp_path)] == [
        ("level-20", "encode", "crashed")
    ]


def test_a_shard_whose_workers_always_die_is_given_up(levels, tmp_path, fake):
    prepare(tmp_path, of_folder(levels))
    for _ in range(GIVE_UP_AFTER):
        journal_of(tmp_path, "write", [])
    with pytest.raises(StoreError, match=f"shard 0 was tried {GIVE_UP_AFTER} times and its worker died each time"):
        embed(tmp_path)
    assert embed(tmp_path)["items"] == 4  # the next run starts afresh


def test_a_torn_journal_is_no_journal(levels, tmp_path, fake):
    prepare(tmp_path, of_folder(levels))
    journal_path(tmp_path, 0).parent.mkdir()
    journal_path(tmp_path, 0).write_text('{"attempts": 1, "busy": {"dec')
    assert embed(tmp_path)["items"] == 4
    assert not begun_path(tmp_path, 0).exists()
