"""A gallery that is read in blocks equals a store that is read at once."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.toy_stores import rows, store, toy, write_foreign, write_sealed

from s2m_ray.errors import StoreError
from s2m_ray.joint.heads import JointModel
from s2m_ray.search.joint_gallery import JointGallery, ranges
from s2m_ray.stores import gallery as module
from s2m_ray.stores.gallery import Gallery, InMemory, read_gallery
from s2m_ray.stores.store import Store, read_store


def vectors(gallery: Gallery, first: int = 0, last: int | None = None) -> list[tuple[int, np.ndarray]]:
    return list(gallery.vectors.blocks(first, gallery.vectors.rows if last is None else last))


@pytest.fixture
def many(tmp_path: Path) -> tuple[Path, Store]:
    """Write three files of several row groups. A third of the rows have another split or no emotion."""
    items = [item | {"split": "train" if n % 7 == 0 else "test"} for n, item in enumerate(rows("music", "test", 200))]
    items = [item | {"emotion": None if n % 5 == 0 else item["emotion"]} for n, item in enumerate(items)]
    values = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    table = pa.Table.from_pylist(items).append_column(
        "embedding", pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 6)
    )
    folder = tmp_path / "many"
    folder.mkdir()
    for number, (start, stop) in enumerate([(0, 90), (90, 91), (91, 200)]):
        pq.write_table(table.slice(start, stop - start), folder / f"{number}.parquet", row_group_size=25)
    return folder, store(items, values, space_id="unknown/6")


@pytest.mark.parametrize("block", [1, 7, 64, 8192])
def test_blocks_are_the_rows_of_the_split(
    many: tuple[Path, Store], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    folder, everything = many
    expected, found = everything.labelled("test"), read_gallery(folder, "test")
    assert (found.dim, found.space_id, found.encoder) == (6, "unknown/6", "foreign")
    assert found.column("item_id") == expected.column("item_id")
    assert found.column("emotion") == expected.column("emotion")
    assert found.column("valence") == [None] * len(expected.vectors)
    blocks = vectors(found)
    assert [start for start, _ in blocks] == list(range(0, len(expected.vectors), block))
    assert all(len(part) == block for _, part in blocks[:-1])
    assert (np.concatenate([part for _, part in blocks]) == expected.vectors).all()


def test_a_range_is_given_in_the_same_blocks(many: tuple[Path, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 16)
    found = read_gallery(many[0], "test")
    whole = {start: part.tobytes() for start, part in vectors(found)}
    for first, last in ((0, 1), (15, 17), (16, 32), (40, 137), (130, 137)):
        part = vectors(found, first, last)
        assert [start for start, _ in part] == [start for start in whole if start < last and start + 16 > first]
        assert all(whole[start] == block.tobytes() for start, block in part)
        in_memory = InMemory(np.concatenate([block for _, block in vectors(found)])).blocks(first, last)
        assert [(start, block.tobytes()) for start, block in in_memory] == [(s, b.tobytes()) for s, b in part]


def test_a_sealed_store_keeps_its_space(tmp_path: Path) -> None:
    content = toy("music", "test", 12)
    found = read_gallery(write_sealed(tmp_path / "store", content), "test")
    assert (found.space_id, found.encoder, found.dim) == ("music-space", "toy", 8)
    assert (vectors(found)[0][1] == content.vectors).all()
    assert Gallery.of(read_store(tmp_path / "store")).column("uri") == found.column("uri")


def test_what_is_no_gallery_is_refused_as_a_store_is(tmp_path: Path) -> None:
    content = toy("music", "test", 6)
    with pytest.raises(StoreError, match="no such store"):
        read_gallery(tmp_path / "nothing", "test")
    file = write_foreign(tmp_path / "a.parquet", content)
    with pytest.raises(StoreError, match=r"no labelled item in split 'valid', found {'test': 6}"):
        read_gallery(file, "valid")
    with pytest.raises(StoreError, match="column 'embedding' is missing"):
        read_gallery(write_foreign(tmp_path / "b.parquet", content, without=["embedding"]), "test")
    with pytest.raises(StoreError, match="no labelled item"):
        read_gallery(write_foreign(tmp_path / "c.parquet", content, without=["emotion"]), "test")
    twice = tmp_path / "twice"
    for name in ("1", "2"):
        twice.mkdir(exist_ok=True)
        write_foreign(twice / f"{name}.parquet", content)
    with pytest.raises(StoreError, match="item_id is repeated"):
        read_gallery(twice, "test")
    (tmp_path / "d.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(StoreError, match="cannot be read"):
        read_gallery(tmp_path / "d.parquet", "test")


def test_a_value_that_is_not_finite_and_files_of_two_lengths_are_refused(tmp_path: Path) -> None:
    content = toy("music", "test", 6)
    content.vectors[5, 0] = np.nan
    with pytest.raises(StoreError, match="NaN or infinite"):
        read_gallery(write_foreign(tmp_path / "a.parquet", content), "test")
    folder = tmp_path / "two"
    folder.mkdir()
    write_foreign(folder / "a.parquet", toy("music", "test", 6))
    write_foreign(folder / "b.parquet", toy("speech", "test", 6, dim=9))
    with pytest.raises(StoreError, match="embeddings of several lengths"):
        read_gallery(folder, "test")


def test_joint_vectors_do_not_depend_on_range_chunks_or_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 32)
    source = InMemory(np.random.default_rng(0).normal(size=(300, 96)).astype(np.float32))
    model = JointModel((0, 1), 8, 96, 16)

    def joint(first: int, last: int, *, chunk: int, threads: int) -> np.ndarray:
        gallery = JointGallery(source, model, first, last, chunk=chunk, threads=threads)
        once, twice = list(gallery.chunks()), list(gallery.chunks())
        assert [row for row, _ in once] == list(range(first, last, chunk)) == [row for row, _ in twice]
        assert all(a.tobytes() == b.tobytes() for (_, a), (_, b) in zip(once, twice, strict=True))
        return np.concatenate([part for _, part in once], axis=1)

    whole = joint(0, 300, chunk=300, threads=1)
    assert np.linalg.norm(whole, axis=2) == pytest.approx(np.ones((2, 300)), abs=1e-5)
    for first, last, chunk, threads in ((0, 300, 7, 2), (5, 299, 50, 3), (31, 33, 1, 1), (64, 96, 200, 2)):
        assert (joint(first, last, chunk=chunk, threads=threads) == whole[:, first:last]).all()


def test_what_does_not_fit_is_projected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2m_ray.search.joint_gallery.KEPT_BYTES", 100)
    source = InMemory(np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32))
    reads = []
    blocks = source.blocks
    monkeypatch.setattr(source, "blocks", lambda *at: reads.append(at) or blocks(*at))
    gallery = JointGallery(source, None, 0, 50, chunk=20)
    first, second = list(gallery.chunks()), list(gallery.chunks())
    assert all((a == b).all() for (_, a), (_, b) in zip(first, second, strict=True))
    assert reads == [(0, 50), (0, 50)]


@pytest.mark.parametrize(("rows", "parts"), [(1, 3), (10, 3), (100_000, 3), (5, 1)])
def test_ranges_cover_every_row_once(rows: int, parts: int) -> None:
    found = ranges(rows, parts)
    assert [row for first, last in found for row in range(first, last)] == list(range(rows))
    assert 1 <= len(found) <= parts
