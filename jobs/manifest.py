"""A corpus, a library or somebody's manifest -> a checked manifest; on request every file is probed, on Ray Data."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.progress import Progress, Silent
from jobs.spread.survey import probe_shards
from s2m_ray.config.corpora import ManifestConfig
from s2m_ray.config.loading import to_dict
from s2m_ray.corpora.catalogue import corpus_rows, leaks_of
from s2m_ray.corpora.listing import Notes
from s2m_ray.emotions.labels import read_labels
from s2m_ray.errors import ConfigError, ManifestError
from s2m_ray.files.addresses import masked
from s2m_ray.files.claims import claim, locked
from s2m_ray.files.journal import clear
from s2m_ray.files.place import Place
from s2m_ray.files.rejects import REJECTS
from s2m_ray.files.tables import read_table
from s2m_ray.files.whole import read_json, write_json
from s2m_ray.manifest.checks import check_rows, refuse_repeated
from s2m_ray.manifest.formats import read_manifest, writing
from s2m_ray.manifest.leaks import Leak, find_leaks, refuse
from s2m_ray.manifest.probe import PROBED
from s2m_ray.manifest.schema import NO_COLUMNS, Row, as_table
from s2m_ray.manifest.summary import Duplicates, Summary
from s2m_ray.manifest.survey import ROWS, done, pieces, rejects_path, shard_count

AGAIN_SHARDS = 8  # up to so many are quickly probed again, and leave nothing behind
NOTES = "notes.json"  # of the listing, and written after it
Tables = Callable[[], Iterable[pa.Table]]


@dataclass(frozen=True)
class ManifestResult:
    """What the job found."""

    summary: Summary
    leaks: list[Leak]
    notes: list[str]
    rejects: dict[str, int] = field(default_factory=dict)  # by reason
    rejects_file: Place | None = None
    duplicates: int = 0  # files whose sound is that of an earlier one
    resumed: int = 0  # shards that were there
    over_limit: bool = False


def run(cfg: ManifestConfig, progress: Progress | None = None) -> ManifestResult:
    """Write the manifest of a corpus, or check one; with ``probe`` every file is looked into.

    Probing writes shards into ``OUT.parts``, so that the same call goes on where an interrupted one ended; the folder
    is deleted at the end. Nothing is held in memory but a shard a worker and some bytes an item.

    Raises:
        ConfigError, ManifestError, StoreError: the call, the corpus or its splits are not right.
        Interrupted, KeyboardInterrupt: stopped; the same call goes on.
    """
    progress = progress or Silent()
    if not cfg.probe or cfg.out is None:
        with tempfile.TemporaryDirectory() as temporary:
            return _run(cfg, Path(temporary), progress)
    folder = cfg.out.parent / f"{cfg.out.name}.parts"
    claim(folder, _job(cfg), ManifestError)
    refused: ManifestError | None = None
    with locked(folder):
        try:
            result = _run(cfg, folder, progress)
        except ManifestError as error:
            refused = error
    # what took long stays: --allow-leaks goes on from there, and a corpus that was mended is probed again anyway
    if refused is None or not (folder / NOTES).exists() or shard_count(folder) <= AGAIN_SHARDS:
        _remove(folder)
    if refused:
        raise refused
    return result


def _run(cfg: ManifestConfig, folder: Place, progress: Progress) -> ManifestResult:
    where = str(cfg.root if cfg.check is None else cfg.check)
    _list_again(cfg, folder, progress)
    shards, resumed = shard_count(folder), 0
    rejects: pa.Table = REJECTS.empty_table()
    if cfg.probe:
        before = done(folder)
        resumed = len(before)
        if missing := sorted(set(range(shards)) - before):
            progress.step(f"probe {where}")
            probe_shards(cfg, folder, missing, progress)
        files = [path for path in (rejects_path(folder, number) for number in range(shards)) if path.exists()]
        rejects = pa.concat_tables([rejects, *map(read_table, files)])

    def tables() -> Iterable[pa.Table]:
        return pieces(folder, shards, probed=cfg.probe)

    refuse_repeated(tables, where)
    leaks = find_leaks(tables)
    if not (cfg.allow_leaks or cfg.parity or cfg.leaks):
        refuse(leaks, where)
    duplicates, items = Duplicates(), 0
    for table in tables():
        duplicates.add(table)
        items += table.num_rows
    if items == 0:
        raise ManifestError(f"{where}: not one of {rejects.num_rows} files can be read: {_first(rejects)}")
    summary = _write(cfg, tables, duplicates)
    reasons = {e["values"]: e["counts"] for e in rejects["reason"].value_counts().to_pylist()}
    allowed = cfg.allowed_rejects(items + rejects.num_rows)
    return ManifestResult(
        summary,
        leaks,
        read_json(folder / NOTES, ManifestError)["notes"],
        reasons,
        _write_rejects(cfg, rejects),
        duplicates.count,
        resumed,
        rejects.num_rows > allowed,
    )


def _job(cfg: ManifestConfig) -> dict[str, Any]:
    """What may not change between two calls that work on one manifest."""
    free = ("resources", "max_rejects", "stall_s", "out", "allow_leaks", "drop_duplicates")
    return {name: value for name, value in to_dict(cfg).items() if name not in free}


def _list_again(cfg: ManifestConfig, folder: Place, progress: Progress) -> None:
    """List the rows; if that was done before and they are others now, what was probed of them goes."""
    if not (folder / NOTES).exists():
        _list(cfg, folder, progress)
        return
    with tempfile.TemporaryDirectory() as temporary:
        _list(cfg, Path(temporary), progress)
        now = read_json(Path(temporary) / NOTES, ManifestError)["rows"]
    if now != read_json(folder / NOTES, ManifestError)["rows"]:
        progress.step("the corpus has changed since: start over")
        for path in (path for pattern in ("part-*", "rejects-*") for path in folder.glob(pattern)):
            path.unlink()
        _list(cfg, folder, progress)


def _list(cfg: ManifestConfig, folder: Place, progress: Progress) -> None:
    """Write the rows, a row group a shard, checked one by one, and what there is to say of them."""
    notes, listed, where = Notes(), 0, str(cfg.root or cfg.check)
    tables = _checked(cfg) if cfg.check is not None else _imported(cfg, notes)
    first = next(tables, None)
    if first is None:
        raise ManifestError(f"{where}: no items found, expected at least one")
    rows = hashlib.sha256()
    with writing(folder / ROWS, first.schema) as write:
        for table in chain([first], tables):
            check_rows(table, where)
            for batch in table.to_batches():
                rows.update(batch.serialize())
            write(table)
            if listed:  # a small corpus is listed before anybody could read of it
                progress.update(listed, listed, "items")
            elif table.num_rows == cfg.shard_items:
                progress.step(f"list {where}")
            listed += table.num_rows
    write_json(folder / NOTES, {"notes": [masked(line) for line in notes.lines()], "rows": rows.hexdigest()})


def _checked(cfg: ManifestConfig) -> Iterator[pa.Table]:
    """A manifest's rows; what an earlier probing found stays, but for a new one."""
    assert cfg.check is not None
    found = read_manifest(cfg.check, NO_COLUMNS if cfg.probe else PROBED)
    for start in range(0, found.num_rows, cfg.shard_items):
        yield found.slice(start, cfg.shard_items)


def _imported(cfg: ManifestConfig, notes: Notes) -> Iterator[pa.Table]:
    assert cfg.root is not None
    options = cfg.options()
    if leaks := leaks_of(cfg.corpus, cfg.leaks, all_of_them=cfg.parity):
        options["leaks"] = leaks
    labels = read_labels(cfg.labels) if cfg.labels is not None else None
    if labels is not None and labels.map:
        raise ConfigError(
            f"{cfg.labels}: [map] found, expected [coordinates] and [same]: a manifest has no place for a map, "
            "training and evaluation take the nearest label; s2m_ray.emotions.maps has maps for notebooks"
        )
    rows: Iterator[Row] = corpus_rows(cfg.corpus, cfg.root, notes, labels=labels, missing=cfg.missing, **options)
    while chunk := list(islice(rows, cfg.shard_items)):
        yield as_table(chunk, str(cfg.root))


def _write(cfg: ManifestConfig, tables: Tables, duplicates: Duplicates) -> Summary:
    summary = Summary()
    with ExitStack() as stack:
        first, write = 0, None
        for table in tables():
            if cfg.out is not None and write is None:
                write = stack.enter_context(writing(cfg.out, table.schema))
            kept = duplicates.without(table, first) if cfg.drop_duplicates else table
            first += table.num_rows
            summary.add(kept)
            if write is not None and kept.num_rows:
                write(kept)
    return summary


def _write_rejects(cfg: ManifestConfig, rejects: pa.Table) -> Place | None:
    if cfg.out is None:
        return None
    path = cfg.out.parent / f"{cfg.out.stem}.rejects.csv"
    if rejects.num_rows == 0:
        if cfg.probe:
            path.unlink(missing_ok=True)
        return None
    with writing(path, rejects.schema) as write:
        write(rejects)
    return path


def _first(rejects: pa.Table) -> str:
    row = rejects.slice(0, 1).to_pylist()[0]
    return f"'{row['item_id']}': {row['reason']}: {row['detail']}"


def _remove(folder: Place) -> None:
    clear(folder)
    if isinstance(folder, Path):
        shutil.rmtree(folder)
    else:
        folder.remove_folder()
