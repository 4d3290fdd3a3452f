"""Local and remote places keep one contract, and a store in a bucket equals the local store bit for bit.

``S2M_TEST_S3`` runs all of it against another S3-compatible service too; it is the URI of a folder, such as
``s3://KEY:SECRET@bucket/tests?endpoint_override=http://127.0.0.1:5555&scheme=http&region=us-east-1``.
"""

import ast
import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter, ValidationError
from support import s3_server
from support.toy_stores import toy, write_sealed

from jobs import embed, evaluate
from jobs.spread.watch import Watch
from s2m_ray.config.embedding import AudioConfig, EmbedConfig
from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.loading import load, to_dict
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.config.training import TrainConfig
from s2m_ray.errors import ConfigError, Interrupted, ManifestError, StoreError
from s2m_ray.files import claims as lock
from s2m_ray.files import services
from s2m_ray.files.addresses import masked
from s2m_ray.files.claims import claim, locked
from s2m_ray.files.journal import STOP, Journal, StopSign, clear, entries, journal_path
from s2m_ray.files.place import Place, place
from s2m_ray.files.rejects import rejects_path
from s2m_ray.files.remote import Remote
from s2m_ray.files.tables import read_row_group, read_table, write_table
from s2m_ray.files.whole import read_json, write_json
from s2m_ray.manifest.formats import read_manifest
from s2m_ray.stores.shards import Stored, begun, begun_path, done_shards, reopen, seal, shard_path, write_shard
from s2m_ray.stores.store import read_store

ROOT = Path(__file__).resolve().parents[2]
GIVEN = os.environ.get("S2M_TEST_S3")
SERVICES = ["loopback", *(["given"] if GIVEN else [])]
TABLE = pa.table({"a": list(range(10)), "b": [str(n) for n in range(10)]})


@pytest.fixture(scope="module")
def server() -> Iterator[s3_server.S3Server]:
    with s3_server.serving() as found:
        yield found


@pytest.fixture(params=SERVICES)
def remote(request, server) -> Remote:
    """Return a new folder in the bucket."""
    name = uuid4().hex
    return place(server.uri(name)) if request.param == "loopback" else place(GIVEN) / name


@pytest.fixture(params=["local", *SERVICES])
def folder(request, server, tmp_path) -> Place:
    if request.param == "local":
        return tmp_path / "folder"
    name = uuid4().hex
    return place(server.uri(name)) if request.param == "loopback" else place(GIVEN) / name


def names(folder: Place, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


# One contract


def test_what_is_written_is_read_back(folder):
    assert not folder.exists()
    write_json(folder / "h.json", {"a": 1})
    write_table(TABLE, folder / "part-000001.parquet", row_group_size=4)
    write_table(TABLE, folder / ".part-000001.x.parquet")
    write_table(TABLE, folder / "a b+c%d.parquet")
    assert (folder.exists(), folder.is_dir(), folder.is_file()) == (True, True, False)
    assert ((folder / "h.json").exists(), (folder / "h.json").is_file(), (folder / "h.json").is_dir()) == (
        True,
        True,
        False,
    )
    assert read_json(folder / "h.json", StoreError) == {"a": 1}
    assert read_table(folder / "part-000001.parquet").equals(TABLE)
    assert read_table(folder / "part-000001.parquet", ["b"]).equals(TABLE.select(["b"]))
    assert read_row_group(folder / "part-000001.parquet", 1)["a"].to_pylist() == [4, 5, 6, 7]
    assert names(folder, "*.parquet") == [".part-000001.x.parquet", "a b+c%d.parquet", "part-000001.parquet"]
    assert names(folder, "part-*") == ["part-000001.parquet"]
    assert read_table(next(folder.glob("a b*"))).equals(TABLE)
    assert (folder / "part-000001.parquet").stem == "part-000001"
    assert (folder / "part-000001.parquet").suffix == ".parquet"
    assert (folder / "h.json").parent == folder


def test_a_file_is_replaced_and_deleted(folder):
    write_json(folder / "h.json", {"a": 1})
    write_json(folder / "h.json", {"a": 2})
    assert read_json(folder / "h.json", StoreError) == {"a": 2}
    (folder / STOP).touch()
    assert (folder / STOP).exists()
    (folder / STOP).unlink()
    (folder / STOP).unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (folder / STOP).unlink()
    assert names(folder) == ["h.json"]
    with pytest.raises(StoreError, match=r"none\.json: cannot be read: No such file"):
        read_json(folder / "none.json", StoreError)


def test_nothing_is_left_of_what_fails(folder):
    write_json(folder / "h.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(folder / "h.json", {"a": float("nan")})
    with pytest.raises(TypeError):
        write_table(TABLE, folder / "t.parquet", row_group_size="x")
    assert read_json(folder / "h.json", StoreError) == {"a": 1}
    assert names(folder) == ["h.json"]


def test_a_folder_is_claimed_once(folder):
    claim(folder, {"a": 1}, StoreError)
    assert claim(folder, {"a": 1}, StoreError)
    with pytest.raises(StoreError, match="was started with a=1, now a=2"):
        claim(folder, {"a": 2}, StoreError)
    (folder / "job.json").unlink()
    (folder / "thesis.txt").touch()
    with pytest.raises(StoreError, match="exists and was not made by this command"):
        claim(folder, {"a": 1}, StoreError)


def test_a_shard_is_reopened_and_continued(folder):
    items = [
        Stored({"item_id": name, "uri": f"/{name}", "modality": "speech"}, np.ones(2, np.float32)) for name in "ab"
    ]
    write_shard(folder, 3, items, [], dim=2)
    assert done_shards(folder) == {3}
    reopen(folder, 3)
    assert done_shards(folder) == set()
    assert list(begun(folder, 3, retry_rejects=False)[0]) == ["a", "b"]
    write_shard(folder, 3, items, [], dim=2)
    assert names(folder) == ["part-000003.parquet"]
    assert begun(folder, 3, retry_rejects=False) == ({}, {})


def test_one_job_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(lock, "SETTLE_S", 0.05)
    claim(folder, {"a": 1}, StoreError)
    with locked(folder), pytest.raises(StoreError, match="another `s2m embed` writes here now"), locked(folder):
        pass
    with locked(folder):  # it is given back
        pass


def test_only_this_folder_looks_at_the_kind_of_a_place():
    """Elsewhere a place is a Place, and ``is_local`` tells where the two kinds need different work."""
    kinds = {"Remote", "Path", "PurePath", "PosixPath", "Place"}
    asked = []
    for top in ("s2m_ray", "jobs"):
        for source in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(source.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
                    names = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
                    asked += [source.relative_to(ROOT).as_posix()] if names & kinds else []
    assert set(asked) == {"s2m_ray/files/place.py"}
    assert len(asked) <= 9


@pytest.mark.parametrize("value", [Path("a"), "a", "s3://b/a", Remote("s3://b/a")])
def test_a_setting_of_type_place_is_made_from_a_text(value):
    assert TypeAdapter(Place).validate_python(value) == place(value)


def test_a_setting_of_type_place_is_no_number():
    with pytest.raises(ValidationError, match="expected a path or a URI"):
        TypeAdapter(Place).validate_python(3)


# Remote only


def test_places_are_paths_or_uris():
    assert place("a/b") == Path("a/b")
    assert place("file:///a/b%20c") == Path("/a/b c")
    assert place(Path("a")) == Path("a")
    found = place("s3://bucket/a/m.csv?region=x")
    assert isinstance(found, Remote)
    assert place(found) is found
    assert pickle.loads(pickle.dumps(found)) == found
    assert (found.parent / "b c").uri == "s3://bucket/a/b%20c?region=x"
    assert (found.name, found.stem, found.suffix, found.absolute()) == ("m.csv", "m", ".csv", found)
    for wrong in ("s3://", "://x", "s3://?region=x", "s3://key:secret@"):
        with pytest.raises(StoreError, match="expected a URI such as"):
            place(wrong)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:SECRET@bucket/a?scheme=http", "s3://bucket/a"),
        ("s3://KEY:SEC/RET@bucket/a", "s3://bucket/a"),
        ("cannot open 's3://KEY:SECRET@bucket/a?x=y': no", "cannot open 's3://bucket/a': no"),
        ("s3://bucket/mail@home/a", "s3://bucket/mail@home/a"),
        ("abfs://container:KEY@account/a?sas=SECRET", "abfs://account/a"),
        ("a plain text?", "a plain text?"),
    ],
)
def test_secrets_are_not_shown(text, shown):
    assert masked(text) == shown


def test_a_config_takes_uris_and_tells_no_secret():
    uri = "s3://KEY:SECRET@bucket/a/m.csv?scheme=http"
    direct = EmbedConfig(manifest=uri, out="s3://KEY:SECRET@bucket/out")
    loaded = load(EmbedConfig, None, [], manifest=uri, out="s3://KEY:SECRET@bucket/out")
    assert direct == loaded
    assert (direct.manifest.uri, direct.out.uri) == (uri, "s3://KEY:SECRET@bucket/out")
    assert load(EmbedConfig, manifest="m.csv", out="o").out == Path("o")
    train = TrainConfig(speech=uri, music=Path("m"), out=Path("o"))
    evaluation = load(EvalConfig, speech=uri, music="m", out="o")
    assert to_dict(evaluation)["speech"] == "s3://bucket/a/m.csv"
    for config in (direct, train, evaluation):
        assert "SECRET" not in repr(config) + json.dumps(to_dict(config))
    with pytest.raises(ConfigError, match="out") as error:
        load(TrainConfig, speech=uri, music="m", out={"a": uri})
    assert "SECRET" not in str(error.value)


def test_models_and_evaluations_are_local():
    for kind in (TrainConfig, EvalConfig):
        with pytest.raises(
            ConfigError, match="out=s3://bucket/x: expected a local folder; only manifests and stores may be URIs"
        ):
            load(kind, speech="s", music="m", out=Path("s3://K:SECRET@bucket/x"))


@pytest.mark.parametrize("uri", ["abfs://container@account/a", "hdfs://host/a"])
def test_where_half_a_file_could_be_seen_nothing_is_written(uri):
    with pytest.raises(StoreError, match="cannot be written to, expected a local folder or one of s3, gs, gcs"):
        EmbedConfig(manifest="m.csv", out=uri)


def test_a_small_file_is_one_request_and_a_failed_upload_leaves_nothing(server):
    folder = place(server.uri(uuid4().hex))
    server.requests.clear()
    (folder / "small").write_bytes(b"x")
    assert [method for method, _ in server.requests] == ["PUT"]
    large = np.random.default_rng(0).bytes(25 * 2**20)  # several parts
    (folder / "large").write_bytes(large)
    assert (folder / "large").read_bytes() == large
    for refused, content in (("UploadPart", large[:-1]), ("PUT", b"y")):
        server.refuses = refused
        try:
            for name in ("large", "new"):
                with pytest.raises(StoreError, match="ACCESS_DENIED.*check the credentials"):
                    (folder / name).write_bytes(content)
        finally:
            server.refuses = ""
    assert names(folder) == ["large", "small"]
    assert (folder / "large").read_bytes() == large


def test_a_kill_between_copy_and_delete_costs_nothing(server):
    store = place(server.uri(uuid4().hex))
    items = [Stored({"item_id": "a", "uri": "/a", "modality": "speech"}, np.ones(2, np.float32))]
    write_shard(store, 0, items, [], dim=2)
    server.refuses = "DELETE"
    try:
        with pytest.raises(StoreError):
            reopen(store, 0)
    finally:
        server.refuses = ""
    assert names(store) == [".begun-000000.parquet", "part-000000.parquet"]
    assert done_shards(store) == {0}  # as it was
    reopen(store, 0)
    assert names(store) == [".begun-000000.parquet"]
    write_shard(store, 0, items, [], dim=2)
    (begun_path(store, 0)).touch()
    assert seal(store, shards=1, items=1, header={})["items"] == 1
    assert names(store) == ["part-000000.parquet", "store.json"]


def held_by(folder: Remote, **values: object) -> None:
    state = {"host": "elsewhere", "pid": 1, "time": time.time(), "token": "x"} | values
    write_json(folder / ".lock", state)


def test_a_lock_that_is_held_is_respected_and_a_stale_one_is_not(remote, monkeypatch):
    monkeypatch.setattr(lock, "SETTLE_S", 0.05)
    held_by(remote)
    with (
        pytest.raises(StoreError, match=r"process 1 on elsewhere; if that is dead, try again in 1\d\d s"),
        locked(remote),
    ):
        pass
    held_by(remote, time=time.time() - lock.STALE_S - 1)
    with locked(remote):
        assert read_json(remote / ".lock", StoreError)["pid"] == os.getpid()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    held_by(remote, host=lock.socket.gethostname(), pid=ended.pid)  # killed a moment ago
    with locked(remote):
        pass
    assert names(remote) == []
    (remote / ".lock").write_bytes(b"not ours")
    with locked(remote):
        pass


def test_a_lock_is_renewed_and_of_two_writers_one_goes_on(server, monkeypatch):
    folder = place(server.uri(uuid4().hex))
    monkeypatch.setattr(lock, "SETTLE_S", 0.2)
    monkeypatch.setattr(lock, "RENEW_S", 0.1)
    with locked(folder):
        before = read_json(folder / ".lock", StoreError)["time"]
        time.sleep(0.4)
        assert read_json(folder / ".lock", StoreError)["time"] > before
    monkeypatch.setattr(lock.time, "sleep", lambda _: held_by(folder))  # somebody writes in the same moment
    with pytest.raises(StoreError, match="process 1 on elsewhere"), locked(folder):
        pass
    assert read_json(folder / ".lock", StoreError)["pid"] == 1  # and it is not taken from them


def test_journals_of_a_remote_store_are_on_this_machine(server):
    store = place(server.uri(uuid4().hex))
    server.requests.clear()
    journal = Journal(journal_path(store, 7))
    with journal.doing("decode", ["a"]):
        assert [(entry.shard, entry.items) for entry in entries(store)] == [(7, ("a",))]
    other = place(store.uri.replace("loopback-key", "another-key"))
    assert journal_path(other, 7) == journal_path(store, 7)
    assert journal_path(store / "x", 7) != journal_path(store, 7)
    clear(store)
    assert entries(store) == []
    assert server.requests == []


def test_the_watch_on_a_cluster_goes_by_the_shards(server, monkeypatch):
    store, now = place(server.uri(uuid4().hex)), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    blind, seeing = (Watch(store, 10.0, journals=journals) for journals in (False, True))
    now[0] = 11.0
    with pytest.raises(Interrupted, match="nothing moved for 10 s"):
        seeing.look()
    now[0] = 3600.0
    assert blind.look() == 0  # it is not known how long a shard takes
    blind.arrived(1000.0)
    now[0] += 2999
    blind.look()
    now[0] += 10
    with pytest.raises(Interrupted, match="nothing moved for 3000 s"):
        blind.look()


def test_the_stop_sign_is_asked_now_and_then(server, monkeypatch):
    store, now = place(server.uri(uuid4().hex)), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    (store / STOP).touch()
    sign = StopSign(store)
    server.requests.clear()
    assert sign()
    assert [sign() for _ in range(100)] == [False] * 100
    assert len(server.requests) == 1
    now[0] = 4.0
    assert sign()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bucket": "nobucket"}, "AWS Error NO_SUCH_BUCKET"),
        ({"user": "wrong:key@"}, "ACCESS_DENIED.*check the credentials"),
        ({"user": ""}, "ACCESS_DENIED.*check the credentials"),
        ({"port": "1"}, "NETWORK_CONNECTION"),
        ({"option": "&regoin=x"}, "unknown option 'regoin', expected one of region"),
    ],
)
def test_a_place_that_does_not_answer_is_one_line_within_seconds(server, monkeypatch, tmp_path, change, message):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # a test asks no network
    uri = server.uri("x", **{key: value for key, value in change.items() if key in ("bucket", "user")})
    uri = uri.replace(f":{server.server_port}", f":{change.get('port', server.server_port)}") + change.get(
        "option", ""
    )
    began = time.monotonic()
    with pytest.raises(StoreError, match=message) as error:
        claim(place(uri), {"a": 1}, StoreError)
    assert time.monotonic() - began < 8
    assert "\n" not in str(error.value)
    assert "loopback" not in str(error.value).replace("loopback.s", "")
    if change.get("bucket"):
        with pytest.raises(StoreError, match="no such store"):
            read_store(place(uri))


def test_credentials_and_endpoint_may_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.SECRET)
    services.filesystem.cache_clear()  # a process keeps one connection per bucket
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    name = uuid4().hex
    (place(f"s3://bucket/{name}") / "a").write_bytes(b"from the environment")
    assert server.objects[f"{name}/a"][0] == b"from the environment"


# Manifests and jobs


def test_a_remote_manifest_s_relative_uris_are_in_its_folder(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.SECRET)
    name = uuid4().hex
    folder = place(server.uri(name, user=""))
    text = "item_id,uri,modality\na,deep/a b.wav,speech\nb,s3://other/b.wav,speech\n"
    lines = '{"item_id":"a","uri":"deep/a b.wav","modality":"speech"}\n{"item_id":"b","uri":"s3://other/b.wav","modality":"speech"}\n'
    (folder / "m.csv").write_bytes(text.encode())
    (folder / "m.jsonl").write_bytes(lines.encode())
    expected = [f"s3://bucket/{name}/deep/a%20b.wav{server.query}", "s3://other/b.wav"]
    for manifest in ("m.csv", "m.jsonl"):
        assert read_manifest(folder / manifest)["uri"].to_pylist() == expected
    with pytest.raises(
        ManifestError, match="relative to an address with credentials, which would be stored"
    ) as error:
        read_manifest(place(server.uri(name)) / "m.csv")
    assert "loopback" not in str(error.value)
    (folder / "m.csv").write_bytes(text.replace("deep/", "/deep/").encode())
    with pytest.raises(ManifestError, match="is a path of one machine"):
        read_manifest(folder / "m.csv")
    with pytest.raises(ManifestError, match=r"none\.csv: no such manifest"):
        read_manifest(folder / "none.csv")


def library(folder: Remote, audio_dir: Path) -> Remote:
    """Upload three audio files, a file that is no audio, and their manifest."""
    lines = ["item_id,uri,modality"]
    for path in sorted(audio_dir.glob("good-[012].wav")):
        (folder / path.name).write_bytes(path.read_bytes())
        lines.append(f"{path.stem},{(folder / path.name).uri},speech")
    (folder / "note.wav").write_bytes(b"a note")
    lines.insert(3, f"note,{(folder / 'note.wav').uri},speech")
    (folder / "m.csv").write_bytes("\n".join(lines).encode())
    return folder / "m.csv"


def checksums(store: Place) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in store.glob("*.parquet")}


@pytest.mark.usefixtures("ray_cluster")
def test_a_remote_store_is_bit_for_bit_the_local_one_and_resumes(remote, audio_dir, tmp_path):
    manifest, out = library(remote / "library", audio_dir), remote / "store"
    settings = {
        "manifest": manifest,
        "audio": AudioConfig(segment_s=0.8),
        "shard_items": 2,
        "max_rejects": 1,
        "resources": ResourceConfig(workers=2, cpus_per_worker=0.5),
    }
    header = embed.run(EmbedConfig(out=out, **settings)).header
    embed.run(EmbedConfig(out=tmp_path / "store", **settings))
    expected = checksums(tmp_path / "store")
    assert (header["items"], header["rejected"], header["shards"]) == (3, 1, 2)
    assert checksums(out) == expected
    assert names(out) == sorted([*expected, "job.json", "store.json"])
    for name in ("job.json", "store.json"):
        assert urlsplit(out.uri).password not in (out / name).read_text()
        assert "@" not in (out / name).read_text()
    # killed in the middle: a part and the header are not there yet, the rejects of it are; and one shard is begun
    (out / "store.json").unlink()
    shard_path(out, 1).unlink()
    assert rejects_path(out, 1).is_file()
    reopen(out, 0)
    with pytest.raises(StoreError, match="unfinished. Run the same `s2m embed` again"):
        read_store(out)
    assert embed.run(EmbedConfig(out=out, **settings)).embedded_now == 2
    assert checksums(out) == expected
    assert names(out) == sorted([*expected, "job.json", "store.json"])
    assert embed.run(EmbedConfig(out=out, **settings)).embedded_now == 0
    local, far = read_store(tmp_path / "store"), read_store(out)
    assert np.array_equal(local.vectors, far.vectors)
    assert local.items.equals(far.items)
    assert local.space_id == far.space_id


def test_an_evaluation_reads_remote_stores(remote, tmp_path):
    found = {}
    for name, at in (("near", tmp_path), ("far", remote)):
        stores = {side: toy(side, "test", 12) for side in ("speech", "music")}
        for side, content in stores.items():
            write_sealed(at / side, content)
        cfg = EvalConfig(speech=at / "speech", music=at / "speech", out=tmp_path / f"evaluation-{name}", bootstrap=10)
        found[name] = evaluate.run(cfg)
    assert found["far"]["metrics"] == found["near"]["metrics"]
    for path in (tmp_path / "evaluation-far").glob("*.json"):
        assert urlsplit(remote.uri).password not in path.read_text()
    one = remote / "one.parquet"
    pq_table = pa.table({"item_id": ["a"], "embedding": [[1.0, 2.0]]})
    write_table(pq_table, one)
    assert read_store(one).vectors.tolist() == [[1, 2]]
    assert pq.read_table(pa.BufferReader(one.read_bytes())).equals(pq_table)


def test_the_command_line_takes_uris(server, audio_dir):
    """The credentials are in the environment, the addresses relative, and the endpoint in the query."""
    name = uuid4().hex
    secrets = {"AWS_ACCESS_KEY_ID": s3_server.KEY, "AWS_SECRET_ACCESS_KEY": s3_server.SECRET}
    server.put(f"{name}/good-0.wav", (audio_dir / "good-0.wav").read_bytes())
    server.put(f"{name}/m.csv", b"item_id,uri,modality\na,good-0.wav,speech\n")
    command = [sys.executable, "-m", "s2m_ray", "embed", server.uri(f"{name}/m.csv", user=""), "--json", "--out"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "true"}

    def run(out: str, **values: str) -> subprocess.CompletedProcess:
        return subprocess.run([*command, out], env=env | values, capture_output=True, text=True, timeout=120)

    done = run(server.uri(f"{name}/store", user=""), **secrets)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["store"], told["items"], told["rejected"]) == (f"s3://bucket/{name}/store", 1, 0)
    # Arrow leaves an empty object for the folder itself where it deletes something
    assert [key for key in server.keys(f"{name}/store/") if not key.endswith("/")] == [
        f"{name}/store/{file}" for file in ("job.json", "manifest.parquet", "part-000000.parquet", "store.json")
    ]
    for refused, message in ((run("s3://", **secrets), "expected a URI"), (run("out"), "ACCESS_DENIED")):
        assert refused.returncode == 2
        assert refused.stderr.startswith("error: ")
        assert message in refused.stderr
        assert refused.stderr.count("\n") == 1
