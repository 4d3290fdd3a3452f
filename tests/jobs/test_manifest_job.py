"""The job: probed, interrupted, resumed, on Ray and in this process."""

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.libraries import config, library, names, s2m

import jobs.manifest
import jobs.spread.survey
from jobs.manifest import run
from s2m_ray.config.corpora import ManifestConfig
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import ManifestError
from s2m_ray.files.journal import Journal, journal_path
from s2m_ray.manifest import draft, survey
from s2m_ray.manifest.formats import read_manifest


def test_a_library_is_probed(tmp_path):
    root = library(tmp_path / "lib")
    result = run(config(root, tmp_path / "m.parquet", probe=True, shard_items=5))
    table = pq.read_table(tmp_path / "m.parquet")
    assert table.num_rows == result.summary.items.total() == 12
    assert table["duration_s"].to_pylist() == pytest.approx(
        [0.1 + 0.01 * int(Path(uri).name[:3]) for uri in table["uri"].to_pylist()]
    )
    assert set(table["sample_rate"].to_pylist()) == {16000}
    assert len(set(table["checksum"].to_pylist())) == 12
    assert names(tmp_path) == ["lib", "m.parquet"]
    assert read_manifest(tmp_path / "m.parquet")["duration_s"].null_count == 0
    by_split = result.summary.to_dict()["by_split"]
    assert by_split["train"]["emotions"] == {"happy": 4}
    assert by_split["train"]["hours"] == pytest.approx(sum(0.1 + 0.01 * n for n in (0, 3, 6, 9)) / 3600, abs=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_formats_say_the_same(tmp_path, suffix):
    root = library(tmp_path / "lib")
    run(config(root, tmp_path / f"m{suffix}", shard_items=5))
    run(config(root, tmp_path / "whole.parquet"))
    assert read_manifest(tmp_path / f"m{suffix}").equals(read_manifest(tmp_path / "whole.parquet"))


def test_broken_files_are_rejects_with_their_reason(tmp_path, capsys):
    root = library(tmp_path / "lib")
    (root / "other" / "text.wav").write_text("a note\n")
    (root / "other" / "zero.mp3").write_bytes(b"")
    call = ("manifest", "folder", root, "--modality", "music", "--out", tmp_path / "m.parquet", "--probe", "--json")
    code, out, err = s2m(capsys, *call)
    found = json.loads(out)
    assert (code, found["items"], found["rejected"]) == (3, 12, 2)
    assert found["reject_reasons"] == {"empty_file": 1, "not_audio": 1}
    assert "2 rejects, --max-rejects is 1%" in err
    rejects = (tmp_path / "m.rejects.csv").read_text()
    assert "lib/other/zero.mp3" in rejects
    code, out, err = s2m(capsys, *call, "--max-rejects", "2")
    assert code == 0
    for name in ("text.wav", "zero.mp3"):
        (root / "other" / name).unlink()
    assert s2m(capsys, *call)[0] == 0
    assert not (tmp_path / "m.rejects.csv").exists()


def test_nothing_but_rejects_is_an_error(tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(ManifestError, match=r"not one of 1 files can be read: '.*a\.wav': not_audio"):
        run(config(tmp_path, tmp_path / "m.csv", probe=True))
    assert names(tmp_path) == ["a.wav"]


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch, capsys):
    root, out = library(tmp_path / "lib"), tmp_path / "m.parquet"
    probed, really = [], survey.probe

    def probe(row, **options):
        if len(probed) == 7:
            raise KeyboardInterrupt
        probed.append(row["item_id"])
        return really(row, **options)

    monkeypatch.setattr(survey, "probe", probe)
    call = ("manifest", "folder", root, "--modality", "music", "--out", out, "--probe", "--set", "shard_items=3")
    code, _, err = s2m(capsys, *call)
    assert code == 75
    assert "interrupted; the same command resumes" in err
    assert not out.exists()
    assert sorted(path.name for path in (tmp_path / "m.parquet.parts").glob("part-*")) == [
        "part-000000.parquet",
        "part-000001.parquet",
    ]
    monkeypatch.setattr(survey, "probe", really)
    with pytest.raises(ManifestError, match="was started with modality=music, now modality=speech"):
        run(ManifestConfig(corpus="folder", root=root, out=out, modality="speech", probe=True, shard_items=3))
    code, _, err = s2m(capsys, *call)
    assert code == 0
    assert "resumed, 2 shards were probed already" in err
    assert names(tmp_path) == ["lib", "m.parquet"]
    resumed = pq.read_table(out)
    run(config(root, tmp_path / "whole.parquet", probe=True))
    assert resumed.equals(pq.read_table(tmp_path / "whole.parquet"))


def test_a_corpus_that_changed_meanwhile_is_probed_again(tmp_path, capsys):
    root, out = library(tmp_path / "lib"), tmp_path / "m.parquet"
    cfg = config(root, out, probe=True, shard_items=1)
    with pytest.raises(KeyboardInterrupt):
        run_until_listed(cfg)
    survey.SurveyShard(tmp_path / "m.parquet.parts", checksum=True)(0)
    assert run(cfg).resumed == 1
    with pytest.raises(KeyboardInterrupt):
        run_until_listed(cfg)
    survey.SurveyShard(tmp_path / "m.parquet.parts", checksum=True)(0)
    (root / "other/002 é.WAV").unlink()
    result = run(cfg)
    assert (result.resumed, result.summary.items.total()) == (0, 11)


def test_a_file_at_which_workers_died_is_a_reject_and_costs_no_other(tmp_path):
    root = library(tmp_path / "lib", 4)
    result = run(config(root, tmp_path / "a.parquet", probe=True))
    assert result.rejects == {}
    folder = tmp_path / "f"
    folder.mkdir()
    shutil.copy(tmp_path / "a.parquet", folder / "x")
    table = read_manifest(tmp_path / "a.parquet")
    pq.write_table(table, folder / draft.ROWS)
    victim = table["item_id"].to_pylist()[1]
    path = journal_path(folder, 0)
    for items in (table["item_id"].to_pylist(), [victim]):  # a worker dies in a batch, the next one at one item of it
        journal = Journal(path)
        with journal.doing("probe", items):
            died = path.read_bytes()
        os.close(journal._file)
        path.write_bytes(died)
    counts = survey.SurveyShard(folder, checksum=True)(0)
    assert counts == {"shard": 0, "items": 3, "rejected": 1}
    rejects = pq.read_table(draft.rejects_path(folder, 0)).to_pylist()
    assert [(reject["item_id"], reject["reason"]) for reject in rejects] == [(victim, "crashed")]
    assert not path.exists()


def test_ray_gives_the_same(tmp_path, ray_cluster):
    root = library(tmp_path / "lib", 30)
    run(config(root, tmp_path / "one.parquet", probe=True, shard_items=4))
    out = tmp_path / "two.parquet"
    result = run(config(root, out, probe=True, shard_items=7, resources=ResourceConfig(workers=2)))
    assert result.summary.items.total() == 30
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "one.parquet"))


def test_what_would_take_long_goes_to_ray(tmp_path, ray_cluster, monkeypatch):
    root, out = library(tmp_path / "lib"), tmp_path / "m.parquet"
    monkeypatch.setattr("jobs.spread.survey.RAY_PAYS_S", 0.0)
    sent = []
    really = jobs.spread.survey._probe_by_ray

    def send(cfg, folder, shards, count):
        sent.extend(shards)
        really(cfg, folder, shards, count)

    monkeypatch.setattr("jobs.spread.survey._probe_by_ray", send)
    assert run(config(root, out, probe=True, shard_items=4)).summary.items.total() == 12
    assert sent == [1, 2]  # the first tells how long one takes


def test_an_error_of_a_worker_arrives(tmp_path, ray_cluster):
    root, out = library(tmp_path / "lib"), tmp_path / "m.parquet"
    cfg = config(root, out, probe=True, shard_items=4, resources=ResourceConfig(workers=1))
    parts = tmp_path / "m.parquet.parts"
    with pytest.raises(KeyboardInterrupt):
        run_until_listed(cfg)
    (parts / ".journal").touch()  # no folder can be made there
    with pytest.raises(OSError, match="journal"):
        run(cfg)


def run_until_listed(cfg):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs.manifest, "probe_shards", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(cfg)
