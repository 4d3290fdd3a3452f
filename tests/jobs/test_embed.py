"""The embedding job on Ray: nothing is lost, nothing depends on the workers, and it resumes."""

import errno
import hashlib
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from filelock import FileLock
from support import hub_models
from support.tones import tone

from jobs import plan as plan_job
from jobs.embed import run
from jobs.spread.watch import Watch
from s2m_ray.config.embedding import AudioConfig, EmbedConfig
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import ConfigError, Interrupted, ManifestError, StoreError
from s2m_ray.files.journal import Journal, journal_path
from s2m_ray.files.rejects import read_rejects
from s2m_ray.files.whole import read_json, write_json
from s2m_ray.manifest.checks import from_rows
from s2m_ray.manifest.formats import write_manifest
from s2m_ray.stores.job import describe_job
from s2m_ray.stores.store import read_store

pytestmark = pytest.mark.usefixtures("ray_cluster")
AUDIO = AudioConfig(segment_s=0.8)


@pytest.fixture(scope="module")
def manifest(audio_dir, tmp_path_factory) -> Path:
    """Windows of the six good files, two of each."""
    rows = [
        {
            "item_id": f"{path.stem}/{part}",
            "uri": str(path),
            "modality": "speech",
            "emotion": "sad",
            "split": "train",
            "start_s": 0.2 * part,
            "end_s": None,
        }
        for path in sorted(audio_dir.glob("*.wav"))
        for part in range(2)
    ]
    path = tmp_path_factory.mktemp("manifest") / "m.csv"
    write_manifest(from_rows(rows, "test"), path)
    return path


@pytest.fixture(scope="module")
def broken(audio_dir, tmp_path_factory) -> Path:
    """Two good items, a short one, and one of each way of being no audio."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "text.wav").write_text("a note\n")
    (folder / "empty.wav").touch()
    soundfile.write(folder / "whole.mp3", tone(440, 4.0, 22050), 22050)
    (folder / "cut.mp3").write_bytes((folder / "whole.mp3").read_bytes()[:3000])
    with_nan = tone(440, 1.0)
    with_nan[5] = np.nan
    soundfile.write(folder / "nan.wav", with_nan, 16000, subtype="FLOAT")
    soundfile.write(folder / "tenth.wav", tone(440, 0.1), 16000)
    names = ("missing.wav", "text.wav", "empty.wav", "cut.mp3", "nan.wav", "tenth.wav")
    rows = [{"item_id": name, "uri": name, "modality": "speech"} for name in names]
    for number in (0, 2):
        uri = str(audio_dir / f"good-{number}.wav")
        rows.insert(number, {"item_id": f"good-{number}", "uri": uri, "modality": "speech"})
    path = folder / "broken.jsonl"
    write_manifest(from_rows(rows, "test"), path)
    return path


REASONS = {
    "missing.wav": "missing",
    "text.wav": "not_audio",
    "empty.wav": "empty_file",
    "cut.mp3": "truncated",
    "nan.wav": "not_finite",
}


def config(manifest: Path, out: Path, *, workers: int = 1, batch_s: float = 120.0, **values) -> EmbedConfig:
    resources = ResourceConfig(workers=workers, batch_s=batch_s, cpus_per_worker=0.5)
    return EmbedConfig(manifest=manifest, out=out, resources=resources, **{"audio": AUDIO, "shard_items": 3} | values)


def content(store: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(p, partitioning=None) for p in sorted(store.glob("part-*.parquet")))


def checksums(store: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(store.glob("*.parquet"))}


@pytest.fixture(scope="module")
def store(manifest, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("embed") / "store"
    result = run(config(manifest, out))
    assert (result.embedded_now, result.over_limit) == (12, False)
    return out


def test_every_item_has_a_vector_of_its_own(store):
    found = read_store(store)
    assert found.column("item_id") == [f"good-{number}/{part}" for number in range(6) for part in range(2)]
    assert found.vectors.dtype == np.float32
    assert len(np.unique(found.vectors, axis=0)) == 12
    assert sorted(p.name for p in store.iterdir()) == [
        ".lock",
        "job.json",
        "manifest.parquet",
        *(f"part-00000{n}.parquet" for n in range(4)),
        "store.json",
    ]


def test_workers_and_batches_change_no_bit(store, manifest, tmp_path):
    result = run(config(manifest, tmp_path / "three", workers=3, batch_s=0.5))
    assert checksums(tmp_path / "three") == checksums(store)
    assert result.header["space_id"] == read_store(store).space_id


NETWORKS = [
    pytest.param(name, marks=[] if name == "wav2vec2" else [pytest.mark.slow]) for name in (*hub_models.AUDIO, "text")
]


@pytest.mark.parametrize("name", NETWORKS)
def test_workers_and_batches_change_no_bit_of_a_network_s_vectors(name, manifest, tmp_path):
    """One worker with all in one batch, against three with a batch an item."""
    if name == "text":
        folder = hub_models.save_text("DistilBert", tmp_path / name)
        lines = [f"{i},{i}.wav,text,{'dogs kids ' * (i % 4 + 1)}{'hi' * (i % 2)}" for i in range(12)]
        manifest = tmp_path / "m.csv"
        manifest.write_text("\n".join(["item_id,uri,modality,text", *lines]) + "\n")
    else:
        folder = hub_models.save_audio(name, tmp_path / name)
    run(config(manifest, tmp_path / "one", encoder=str(folder)))
    run(config(manifest, tmp_path / "three", encoder=str(folder), workers=3, batch_s=0.1))
    assert read_store(tmp_path / "one").vectors.shape == (12, 32)
    assert checksums(tmp_path / "one") == checksums(tmp_path / "three")


def test_shards_change_no_bit_either(store, manifest, tmp_path):
    run(config(manifest, tmp_path / "one", shard_items=12))
    assert len(list((tmp_path / "one").glob("part-*"))) == 1
    assert content(tmp_path / "one").equals(content(store))


def test_the_space_is_that_of_encoder_and_audio_settings(store, manifest, tmp_path):
    other = run(config(manifest, tmp_path / "s", audio=AudioConfig(segment_s=0.7)))
    assert other.header["space_id"] != read_store(store).space_id
    assert not np.array_equal(read_store(tmp_path / "s").vectors, read_store(store).vectors)


def test_broken_files_are_rejects_with_reasons_and_the_counts_add_up(broken, tmp_path):
    result = run(config(broken, tmp_path / "s", workers=2))
    header = result.header
    assert (header["items"], header["rejected"], result.embedded_now) == (3, 5, 8)
    assert header["reject_reasons"] == dict.fromkeys(REASONS.values(), 1)
    assert {r["item_id"]: r["reason"] for r in read_rejects(tmp_path / "s")} == REASONS
    assert {r["stage"] for r in read_rejects(tmp_path / "s")} == {"decode"}
    assert read_store(tmp_path / "s").column("item_id") == ["good-0", "good-2", "tenth.wav"]
    assert result.over_limit  # 5 of 8 are more than 1 %


@pytest.mark.parametrize(("limit", "over"), [("4", True), ("5", False), ("62%", True), ("63%", False)])
def test_the_limit_of_rejects(broken, tmp_path, limit, over):
    """5 of 8 rows: 62 % are 4.96 items, so at most 4."""
    cfg = config(broken, tmp_path / "s", shard_items=8, max_rejects=limit)
    assert run(cfg).over_limit is over
    again = run(cfg)  # nothing to do, the same verdict
    assert (again.embedded_now, again.over_limit) == (0, over)


def test_the_same_call_again_does_nothing(store, manifest):
    before = {path.name: path.stat().st_mtime_ns for path in store.iterdir()}
    result = run(config(manifest, store, workers=2, batch_s=7.0))
    assert result.embedded_now == 0
    assert result.header["items"] == 12
    assert {path.name: path.stat().st_mtime_ns for path in store.iterdir()} == before


def test_what_is_missing_is_made_again_and_only_that(broken, tmp_path):
    """Stopped after the rejects of shard 1 were written, before its part."""
    cfg = config(broken, tmp_path / "s")
    run(cfg)
    sums, rows = checksums(tmp_path / "s"), content(tmp_path / "s")
    (tmp_path / "s" / "store.json").unlink()
    (tmp_path / "s" / "part-000001.parquet").unlink()
    (tmp_path / "s" / ".part-000001.0badcafe.parquet").write_bytes(b"half")
    kept = (tmp_path / "s" / "part-000000.parquet").stat().st_mtime_ns
    with pytest.raises(StoreError, match="unfinished"):
        read_store(tmp_path / "s")
    result = run(cfg)
    assert result.embedded_now == 3
    assert content(tmp_path / "s").equals(rows)
    assert checksums(tmp_path / "s") == sums
    assert (tmp_path / "s" / "part-000000.parquet").stat().st_mtime_ns == kept
    assert result.header["rejected"] == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"audio": AudioConfig(segment_s=0.9)}, r"was started with audio\.segment_s=0\.8, now audio\.segment_s=0\.9"),
        ({"shard_items": 5}, "was started with shard_items=3, now shard_items=5"),
    ],
)
def test_another_setting_never_shares_the_folder(store, manifest, values, message):
    before = checksums(store)
    with pytest.raises(StoreError, match=message):
        run(config(manifest, store, **values))
    assert checksums(store) == before


def test_another_manifest_never_shares_the_folder(store, broken):
    with pytest.raises(StoreError, match="was started with manifest_sha256="):
        run(config(broken, store))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"encoder": "wav2vec9"}, ConfigError, "encoder 'wav2vec9': not known"),
        (
            {"workers": 1000},
            ConfigError,
            r"resources\.workers=1000: 1000 x 0\.5 CPU \+ 1 for Ray's own tasks = 501 CPUs",
        ),
    ],
)
def test_a_wrong_call_is_refused_before_an_actor_starts(manifest, tmp_path, values, error, message):
    with pytest.raises(error, match=message):
        run(config(manifest, tmp_path / "s", **values))
    assert list(tmp_path.glob("s/part-*")) == []


def test_a_manifest_that_is_not_there_leaves_nothing_behind(tmp_path):
    with pytest.raises(ManifestError, match="no such manifest"):
        run(config(tmp_path / "none.csv", tmp_path / "s"))
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_is_embedded_again_and_nothing_else(audio_dir, tmp_path):
    rows = []
    for number in range(6):
        copy = tmp_path / f"{number}.wav"
        copy.write_bytes((audio_dir / f"good-{number}.wav").read_bytes())
        rows.append({"item_id": copy.stem, "uri": copy.name, "modality": "speech"})
    write_manifest(from_rows(rows, "test"), tmp_path / "m.csv")
    cfg = config(tmp_path / "m.csv", tmp_path / "s")
    run(cfg)
    before = read_store(tmp_path / "s").vectors
    soundfile.write(tmp_path / "4.wav", tone(900, 1.0), 16000)
    result = run(cfg)
    assert (result.embedded_now, result.reopened) == (1, 1)
    after = read_store(tmp_path / "s").vectors
    assert (before == after).all(axis=1).tolist() == [True, True, True, True, False, True]
    assert (run(cfg).embedded_now, run(cfg).reopened) == (0, 0)


def test_rejects_are_tried_again_when_asked(broken, audio_dir, tmp_path):
    late = broken.parent / "missing.wav"
    run(config(broken, tmp_path / "s"))
    late.write_bytes((audio_dir / "good-1.wav").read_bytes())
    try:
        assert run(config(broken, tmp_path / "s")).embedded_now == 0
        again = run(config(broken, tmp_path / "s", retry_rejects=True))
    finally:
        late.unlink()
    assert (again.header["items"], again.header["rejected"]) == (4, 4)
    assert again.embedded_now == 5  # all that had been rejected
    assert "missing" not in again.header["reject_reasons"]


def test_two_runs_at_once_are_refused(manifest, tmp_path):
    cfg = config(manifest, tmp_path / "s")
    run(cfg)
    with FileLock(tmp_path / "s" / ".lock"), pytest.raises(StoreError, match="another `s2m embed` writes here now"):
        run(cfg)


def test_a_disk_that_is_too_small_is_refused_before_the_work(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(StoreError, match=r"0\.0 GB free, but the missing vectors need about"):
        run(config(manifest, tmp_path / "s"))


def test_what_a_worker_cannot_write_is_an_error_of_its_own_kind(manifest, tmp_path):
    """A folder where a shard's file should be."""
    cfg = config(manifest, tmp_path / "s")
    (tmp_path / "s" / "rejects-000002.parquet" / "x").mkdir(parents=True)
    write_json(tmp_path / "s" / "job.json", describe_job(cfg, 12)[0])
    with pytest.raises(OSError, match="Is a directory|Operation not permitted") as caught:
        run(cfg)
    assert caught.value.errno in (errno.EISDIR, errno.EPERM)
    assert str(tmp_path / "s") in str(caught.value)


def test_the_last_run_tells_its_stages(store):
    last = read_json(store / "store.json", StoreError)["last_run"]
    assert last["items"] == 12
    assert 0 < last["startup_s"] < last["wall_s"]
    assert last["decode_s"] + last["encode_s"] + last["write_s"] <= last["busy_s"]
    assert read_json(store / "store.json", StoreError)["decoders"] == {"soundfile": 12}


def watched(store: Path, shard: int = 0) -> Journal:
    return Journal(journal_path(store, shard))


def test_the_watch_names_what_stands_still(tmp_path):
    watch = Watch(tmp_path, 0.2, journals=True)
    journal = watched(tmp_path)
    journal.audio_s = 12.5
    with journal.doing("decode", ["slow.mp3"]):
        for _ in range(4):  # it moves
            with journal.doing("write", []):
                pass
            time.sleep(0.1)
            assert watch.look() in (0.0, 12.5)
        time.sleep(0.3)
        with pytest.raises(Interrupted, match=r"nothing moved for 0\.2 s: shard 0 at decode of 'slow\.mp3' \(pid"):
            watch.look()


def test_a_plan_made_of_a_sample(manifest, tmp_path):
    cfg = config(manifest, tmp_path / "unused")
    plan = plan_job.run(cfg, sample=6, price_per_hour=36.0, out=tmp_path / "plan.json")
    assert (plan.items, plan.sample_items, plan.workers) == (12, 12, 1)  # six were too quick to tell
    assert plan.cost == pytest.approx(plan.total_s / 100)
    assert sum(plan.shares.values()) == pytest.approx(1, abs=1e-3)
    assert not (tmp_path / "unused").exists()
    result = run(replace(cfg, out=tmp_path / "s", plan=tmp_path / "plan.json"))
    compared = result.header["last_run"]["plan"]
    assert compared["expected_s"] == pytest.approx(plan.total_s, abs=1e-3)
    assert compared["error"] == pytest.approx(result.header["last_run"]["wall_s"] / plan.total_s - 1, abs=1e-3)
