"""The job in object storage: as its source, as its target, and resumed there.

``S2M_TEST_S3`` runs these tests against another S3-compatible service too, as in test_place.py.
"""

import os
from pathlib import Path
from uuid import uuid4

import pytest
from support import s3_server, tiny_corpora
from support.libraries import config, library

from jobs.manifest import run
from s2m_ray.audio.decode import decode
from s2m_ray.config.corpora import ManifestConfig
from s2m_ray.errors import StoreError
from s2m_ray.files.place import place
from s2m_ray.manifest import survey
from s2m_ray.manifest.formats import read_manifest

GIVEN = os.environ.get("S2M_TEST_S3")


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
