"""The job: streamed, resumed, on Ray, local and in object storage; what it says and how it ends.

``S2M_TEST_S3`` runs the tests of object storage against another S3-compatible service too, as in test_place.py.
"""

import json
import os
import shutil
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from support import s3_server, tiny_corpora
from support.tiny_audio import tone, written

import jobs.manifest
import jobs.spread.survey
from jobs.commands import app
from jobs.commands.entry import TYPER_INTERRUPTED, exit_codes
from jobs.manifest import run
from s2m_ray.audio.decode import decode
from s2m_ray.config.corpora import ManifestConfig
from s2m_ray.config.loading import load
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import ConfigError, ManifestError, StoreError
from s2m_ray.files.journal import Journal, journal_path
from s2m_ray.files.place import place
from s2m_ray.manifest import draft, survey
from s2m_ray.manifest.formats import read_manifest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
GIVEN = os.environ.get("S2M_TEST_S3")


def s2m(capsys, *arguments):
    """Exit code, stdout, stderr."""
    try:
        with exit_codes():
            code = app([str(a) for a in arguments], standalone_mode=False)
            if code == TYPER_INTERRUPTED:  # as in main()
                raise KeyboardInterrupt
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    return code or 0, said.out, said.err


def library(root: Path, files: int = 12) -> Path:
    """Files of different lengths in two folders of labels and one without."""
    for number in range(files):
        folder = root / ("train/happy", "test/sad", "other")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03d} é.WAV").write_bytes(written(tone(seconds=0.1 + 0.01 * number), 16000, format="WAV"))
    return root


def config(root, out, **values):
    return ManifestConfig(corpus="folder", root=root, out=out, modality="music", **values)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


def test_leaks_are_refused_unless_told_otherwise(tmp_path, capsys):
    root = library(tmp_path / "lib")
    shutil.copy(root / "train/happy/000 é.WAV", root / "test/sad/copy.wav")
    call = ("manifest", "folder", root, "--modality", "music", "--out", tmp_path / "m.csv")
    assert s2m(capsys, *call)[0] == 0  # the names do not tell
    (tmp_path / "m.csv").unlink()
    code, out, err = s2m(capsys, *call, "--probe")
    assert (code, out) == (2, "")
    assert "the same audio in files of different names in splits test and train" in err
    assert "--allow-leaks takes the splits as they are" in err
    assert names(tmp_path) == ["lib"]
    code, _, err = s2m(capsys, *call, "--probe", "--allow-leaks")
    assert code == 0
    assert "1 files sound as an earlier one does" in err
    assert read_manifest(tmp_path / "m.csv").num_rows == 13


def test_duplicates_are_told_and_dropped_on_request(tmp_path, capsys):
    root = library(tmp_path / "lib", 3)
    shutil.copy(root / "other/002 é.WAV", root / "other/copy.wav")
    (root / "other/link.wav").symlink_to(root / "other/002 é.WAV")
    call = ("manifest", "folder", root, "--modality", "music", "--out", tmp_path / "m.csv", "--probe")
    code, _, err = s2m(capsys, *call)
    assert (code, "2 files sound as an earlier one does\n" in err) == (0, True)
    code, _, err = s2m(capsys, *call, "--drop-duplicates")
    assert (code, "2 files sound as an earlier one does, dropped" in err) == (0, True)
    assert [Path(uri).name for uri in read_manifest(tmp_path / "m.csv")["uri"].to_pylist()] == [
        "002 é.WAV",
        "001 é.WAV",
        "000 é.WAV",
    ]


def test_check_goes_by_the_checksums_that_a_manifest_has(tmp_path, capsys):
    root = library(tmp_path / "lib")
    shutil.copy(root / "train/happy/000 é.WAV", root / "test/sad/copy.wav")
    run(config(root, tmp_path / "m.csv", probe=True, allow_leaks=True))
    code, _, err = s2m(capsys, "manifest", "--check", tmp_path / "m.csv")
    assert code == 2
    assert "the same audio in files of different names" in err
    again = ("manifest", "--check", tmp_path / "m.csv", "--allow-leaks", "--out", tmp_path / "again.csv")
    assert s2m(capsys, *again)[0] == 0
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "m.csv").read_text()


def test_parity_says_what_it_brings_back(tmp_path, capsys):
    root = tiny_corpora.iemocap(tmp_path / "c")
    code, _, err = s2m(capsys, "manifest", "iemocap", root, "--out", tmp_path / "m.csv", "--parity")
    assert code == 0
    assert "splits leak, as asked for: the same audio file in splits" in err
    assert "splits leak, as asked for: the same speaker or piece in splits" in err
    assert read_manifest(tmp_path / "m.csv").num_rows == 144
    code, _, err = s2m(capsys, "manifest", "--check", tmp_path / "m.csv")
    assert code == 2
    assert "splits leak: the same audio file" in err
    assert s2m(capsys, "manifest", "--check", tmp_path / "m.csv", "--allow-leaks")[0] == 0


def test_check_prints_a_table(tmp_path, capsys):
    root = library(tmp_path / "lib")
    run(config(root, tmp_path / "m.csv", probe=True))
    code, out, err = s2m(capsys, "manifest", "--check", tmp_path / "m.csv")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["split", "items", "hours", "speakers", "emotions"]
    assert lines[1].split() == ["train", "4", "0.00", "-", "happy", "4"]
    assert lines[-1] == f"{tmp_path}/m.csv: 12 items"
    (root / "train/happy/000 é.WAV").unlink()
    assert s2m(capsys, "manifest", "--check", tmp_path / "m.csv")[0] == 0
    code, out, err = s2m(capsys, "manifest", "--check", tmp_path / "m.csv", "--probe")
    assert code == 3
    assert "1 files left out (missing 1)" in err
    assert names(tmp_path) == ["lib", "m.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id,uri\na,b\n", "column 'modality' is missing"),
        ("item_id,uri,modality\na,b,song\n", "modality='song', expected one of"),
        ("item_id,uri,modality,split\na,b,music,dev\n", "split='dev', expected one of"),
        ("item_id,uri,modality\na,b,music\na,c,music\n", "item_id 'a' occurs 2 times"),
        ("item_id,uri,modality,valence\na,b,music,high\n", "cannot be read as csv"),
    ],
)
def test_check_refuses_what_is_no_manifest(tmp_path, capsys, text, message):
    (tmp_path / "m.csv").write_text(text)
    code, out, err = s2m(capsys, "manifest", "--check", tmp_path / "m.csv")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_repeated_ids_are_found_across_shards(tmp_path):
    (tmp_path / "t.csv").write_text("file\n" + "".join(f"{n % 9}.wav\n" for n in range(10)))
    cfg = ManifestConfig(
        corpus="table",
        root=tmp_path / "t.csv",
        out=tmp_path / "m.csv",
        modality="music",
        columns="uri=file",
        shard_items=4,
    )
    with pytest.raises(ManifestError, match="item_id '0.wav' occurs 2 times"):
        run(cfg)


def test_own_labels(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("uri,emotion\na.wav,serene\nb.wav,joyful\nc.wav,sad\n")
    (tmp_path / "mine.toml").write_text('[coordinates]\nserene = [0.8, 0.13]\n[same]\njoyful = "happy"\n')
    call = ("manifest", "table", tmp_path / "t.csv", "--modality", "music", "--out", tmp_path / "m.csv")
    code, _, err = s2m(capsys, *call)
    assert code == 2
    assert "emotion 'serene': no valence-arousal coordinates" in err
    assert "--labels FILE gives it some" in err
    (tmp_path / "map.toml").write_text('[map]\nserene = "tender"\n')
    code, _, err = s2m(capsys, *call, "--labels", tmp_path / "map.toml")
    assert code == 2
    assert "[map] found, expected [coordinates] and [same]" in err
    assert s2m(capsys, *call, "--labels", tmp_path / "mine.toml")[0] == 0
    rows = read_manifest(tmp_path / "m.csv").to_pylist()
    assert [(row["emotion"], row["valence"], row["arousal"]) for row in rows] == [
        ("serene", 0.8, 0.13),
        ("happy", None, None),
        ("sad", None, None),
    ]
    tiny_corpora.touch(tmp_path / "lib", "serene/a.wav", "joyful/b.wav", "rock/c.wav")
    call = ("manifest", "folder", tmp_path / "lib", "--modality", "music", "--out", tmp_path / "f.csv")
    assert s2m(capsys, *call, "--labels", tmp_path / "mine.toml")[0] == 0
    assert [row["emotion"] for row in read_manifest(tmp_path / "f.csv").to_pylist()] == ["happy", None, "serene"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "corpus=: expected one of `s2m manifest --list`"),
        (("folder",), "root=None: expected the corpus's folder"),
        (("folder", "."), "out=None: expected a file for the manifest"),
        (("folder", ".", "--out", "m.csv", "--check", "m.csv"), "check=m.csv: expected a manifest alone"),
        (("folder", ".", "--out", "m.csv", "--drop-duplicates"), "drop_duplicates=True: expected probe"),
        (("folder", ".", "--out", "m.csv", "--missing", "maybe"), "missing=maybe: expected refuse or skip"),
        (("folder", ".", "--out", "m.txt", "--modality", "music"), "m.txt: unknown format '.txt'"),
        (("ravdess", ".", "--out", "m.csv", "--leak", "x"), "leak 'x' is not known, expected none"),
        (("ravdess", ".", "--out", "m.csv", "--classes", "6"), "classes '6': expected one of 8, 7"),
        (("folder", ".", "--out", "abfs://c@a/m.csv", "--modality", "music"), "cannot be written to"),
    ],
)
def test_wrong_calls(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    tiny_corpora.touch(tmp_path, "a.wav")
    code, out, err = s2m(capsys, "manifest", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert names(tmp_path) == ["a.wav"]


def test_the_list_has_every_corpus(capsys):
    code, out, _ = s2m(capsys, "manifest", "--list", "--json")
    assert code == 0
    assert [entry["name"] for entry in json.loads(out)["corpora"]] == [
        "ravdess",
        "iemocap",
        "hikia",
        "emodb",
        "emofilm",
        "isear",
        "alm",
        "audioset",
        "vgmidi",
        "4q",
        "ch818",
        "folder",
        "table",
        "huggingface",
        "webdataset",
    ]


def test_a_config_file(tmp_path):
    (tmp_path / "m.toml").write_text(
        'corpus = "ravdess"\nroot = "s3://b/x"\nout = "m.csv"\n[resources]\nworkers = 2\n'
    )
    cfg = load(ManifestConfig, tmp_path / "m.toml")
    assert (cfg.root.uri, cfg.out, cfg.resources.workers) == ("s3://b/x", Path("m.csv"), 2)
    with pytest.raises(ConfigError, match="shard_items=0"):
        ManifestConfig(check=Path("m.csv"), shard_items=0)


# Object storage


@pytest.fixture(scope="module")
def server():
    with s3_server.serving() as found:
        yield found


@pytest.fixture(params=["loopback", *(["given"] if GIVEN else [])])
def bucket(request, server, monkeypatch):
    """A folder of its own; credentials stand in the environment, since a manifest must not repeat them."""
    uri = place(server.uri(uuid4().hex) if request.param == "loopback" else f"{GIVEN}").uri
    credentials, _, rest = uri.removeprefix("s3://").partition("@")
    key, _, secret = credentials.partition(":")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret.replace("%2B", "+"))
    return place(f"s3://{rest}") / uuid4().hex


def upload(root: Path, folder) -> None:
    for path in sorted(root.rglob("*")):
        if path.is_file():
            target = folder
            for part in path.relative_to(root).parts:
                target = target / part
            target.write_bytes(path.read_bytes())


def test_a_bucket_as_source_and_as_target(tmp_path, bucket):
    root = library(tmp_path / "lib", 7)
    (root / "other" / "text.wav").write_text("a note\n")
    (root / "other" / "._x.wav").write_text("fork")
    upload(root, bucket / "lib")
    cfg = config(bucket / "lib", bucket / "m.parquet", probe=True, shard_items=3, max_rejects=1)
    result = run(cfg)
    assert result.rejects == {"not_audio": 1}
    run(config(root, tmp_path / "m.parquet", probe=True, max_rejects=1))
    there, here = read_manifest(bucket / "m.parquet"), read_manifest(tmp_path / "m.parquet")
    assert there.drop_columns(["uri"]).equals(here.drop_columns(["uri"]))
    assert sorted(path.name for path in bucket.glob("*")) == ["lib", "m.parquet", "m.rejects.csv"]
    assert len(decode(there["uri"][0].as_py(), sample_rate=16000)) == len(
        decode(here["uri"][0].as_py(), sample_rate=16000)
    )
    check = ManifestConfig(check=bucket / "m.parquet", probe=True)
    assert run(check).summary.items.total() == 7


def test_corpora_and_shards_in_a_bucket(tmp_path, bucket):
    for corpus in ("ravdess", "iemocap", "isear", "vgmidi", "hikia", "webdataset"):
        root = tiny_corpora.BUILDERS[corpus](tmp_path / corpus)
        upload(root, bucket / corpus)
        options = {"modality": "speech"} if corpus == "webdataset" else {}
        for place_, out in ((bucket / corpus, bucket / f"{corpus}.csv"), (root, tmp_path / f"{corpus}.csv")):
            run(ManifestConfig(corpus=corpus, root=place_, out=out, **options))
        there, here = read_manifest(bucket / f"{corpus}.csv"), read_manifest(tmp_path / f"{corpus}.csv")
        assert there.drop_columns(["uri"]).equals(here.drop_columns(["uri"])), corpus
    assert len(decode(there["uri"][-1].as_py(), sample_rate=16000)) > 0


def test_an_interrupted_run_in_a_bucket_goes_on(tmp_path, bucket, monkeypatch):
    upload(library(tmp_path / "lib", 7), bucket / "lib")
    cfg = config(bucket / "lib", bucket / "m.parquet", probe=True, shard_items=2)
    really = survey.write_table

    def write_table(table, path, **options):
        if path.name == "part-000002.parquet":
            raise KeyboardInterrupt
        really(table, path, **options)

    monkeypatch.setattr(survey, "write_table", write_table)
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    monkeypatch.setattr(survey, "write_table", really)
    result = run(cfg)
    assert result.resumed == 2
    assert result.summary.items.total() == 7


def test_credentials_in_a_uri_are_not_written_into_a_manifest(server, tmp_path):
    folder = place(server.uri("x"))
    (folder / "a.wav").write_bytes(b"x")
    with pytest.raises(StoreError, match="has credentials in the URI, which would be written into the manifest"):
        run(config(folder, tmp_path / "m.csv"))


# Real data


@pytest.mark.parametrize(("corpus", "items"), [("ravdess", 1320), ("vgmidi", 164), ("isear", 7666)])
def test_real_corpora_through_the_command(tmp_path, capsys, corpus, items):
    if not (DATA / corpus).is_dir():
        pytest.skip(f"the real corpus {DATA / corpus} is not on this machine")
    out = tmp_path / "m.parquet"
    code, said, _ = s2m(capsys, "manifest", corpus, DATA / corpus, "--out", out, "--json")
    assert code == 0
    found = json.loads(said)
    assert (found["items"], found["leaks"]) == (items, [])
    if corpus == "isear":
        assert set(found["emotions"]) == {"anger", "disgust", "fear", "guilt", "joy", "sadness", "shame"}
        assert found["splits"]["test"] == pytest.approx(0.15 * items, rel=0.02)
    if corpus == "ravdess":
        assert found["splits"] == {"train": 1140, "valid": 180}
    assert s2m(capsys, "manifest", "--check", out)[0] == 0
