"""Make a checked manifest from a corpus, a library or a manifest of the user's own.

On request every file is probed, in this process or on Ray.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
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
from s2m_ray.files.claims import claim, locked
from s2m_ray.files.place import Place
from s2m_ray.manifest.checks import refuse_repeated
from s2m_ray.manifest.draft import Draft, listed_again
from s2m_ray.manifest.duplicates import same_sound
from s2m_ray.manifest.leaks import Leak, find_leaks, refuse
from s2m_ray.manifest.schema import Row, as_table
from s2m_ray.manifest.summary import Summary

AGAIN_SHARDS = 8  # a refused manifest of up to this many shards leaves nothing behind, as it is quick to probe again


@dataclass(frozen=True)
class ManifestResult:
    """Hold the counts of a manifest, and what was left out of it."""

    summary: Summary
    leaks: list[Leak]
    notes: list[str]
    rejects: dict[str, int] = field(default_factory=dict)  # number of items by reason
    rejects_file: Place | None = None
    duplicates: int = 0  # files with the sound of an earlier file
    resumed: int = 0  # shards that an earlier call had probed
    over_limit: bool = False


def run(cfg: ManifestConfig, progress: Progress | None = None) -> ManifestResult:
    """Write the manifest of a corpus, or check a manifest; with ``probe`` look into every file.

    Probing writes its shards into ``OUT.parts``, so the same call goes on where an interrupted call ended. The folder
    is deleted at the end. Memory holds a shard for each worker and a few bytes for each item, and no more.

    Raises:
        ConfigError, ManifestError, StoreError: The call, the corpus or its splits are wrong.
        Interrupted, KeyboardInterrupt: The job was stopped; the same call resumes it.
    """
    progress = progress or Silent()
    if not cfg.probe or cfg.out is None:
        with tempfile.TemporaryDirectory() as temporary:
            return _run(cfg, Draft(Path(temporary), cfg.probe), progress)
    draft = Draft(cfg.out.parent / f"{cfg.out.name}.parts", cfg.probe)
    claim(draft.folder, _job(cfg), ManifestError)
    refusal: ManifestError | None = None
    with locked(draft.folder):
        try:
            result = _run(cfg, draft, progress)
        except ManifestError as error:
            refusal = error
    # Probed shards stay, because probing took long, and --allow-leaks goes on from there. A corpus that was mended is
    # probed again in any case.
    if refusal is None or not draft.is_listed or draft.shards <= AGAIN_SHARDS:
        draft.remove()
    if refusal:
        raise refusal
    return result


def _run(cfg: ManifestConfig, draft: Draft, progress: Progress) -> ManifestResult:
    where = _where(cfg)
    _list_or_resume(cfg, draft, progress)
    resumed = 0
    if cfg.probe:
        before = draft.done()
        resumed = len(before)
        if missing := sorted(set(range(draft.shards)) - before):
            progress.step(f"probe {where}")
            probe_shards(cfg, draft.folder, missing, progress)
    rejects = draft.rejects()
    refuse_repeated(draft.tables, where)
    leaks = find_leaks(draft.tables)
    if not (cfg.allow_leaks or cfg.parity or cfg.leaks):
        refuse(leaks, where)
    if rejects.num_rows == draft.rows:
        first = rejects.slice(0, 1).to_pylist()[0]
        reason = f"'{first['item_id']}': {first['reason']}: {first['detail']}"
        raise ManifestError(f"{where}: not one of {rejects.num_rows} files can be read: {reason}")
    duplicates = same_sound(draft.tables)
    return ManifestResult(
        summary=draft.write(cfg.out, duplicates if cfg.drop_duplicates else duplicates[:0]),
        leaks=leaks,
        notes=draft.notes,
        rejects={e["values"]: e["counts"] for e in rejects["reason"].value_counts().to_pylist()},
        rejects_file=None if cfg.out is None else draft.write_rejects(cfg.out),
        duplicates=len(duplicates),
        resumed=resumed,
        over_limit=rejects.num_rows > cfg.allowed_rejects(draft.rows),
    )


def _where(cfg: ManifestConfig) -> str:
    return str(cfg.root if cfg.check is None else cfg.check)


def _job(cfg: ManifestConfig) -> dict[str, Any]:
    """Return the settings that may not change between two calls that work on one manifest."""
    free = ("resources", "max_rejects", "stall_s", "out", "allow_leaks", "drop_duplicates")
    return {name: value for name, value in to_dict(cfg).items() if name not in free}


def _list_or_resume(cfg: ManifestConfig, draft: Draft, progress: Progress) -> None:
    """List the rows. If an earlier call listed other rows, forget what it probed."""
    if not draft.is_listed:
        _list(cfg, draft, progress)
        return
    with tempfile.TemporaryDirectory() as temporary:
        now = Draft(Path(temporary), cfg.probe)
        _list(cfg, now, progress)
        has_changed = now.digest != draft.digest
    if has_changed:
        progress.step("the corpus has changed since: start over")
        draft.forget_probed()
        _list(cfg, draft, progress)


def _list(cfg: ManifestConfig, draft: Draft, progress: Progress) -> None:
    notes, where = Notes(), _where(cfg)
    if cfg.check is None:
        tables = _imported(cfg, notes)
    else:
        tables = listed_again(cfg.check, cfg.shard_items, probed=cfg.probe)
    for listed in draft.list_rows(tables, where, notes.lines):
        if listed == cfg.shard_items:  # a smaller corpus is listed before anybody could read the step
            progress.step(f"list {where}")
        elif listed > cfg.shard_items:
            progress.update(listed, listed, "items")


def _imported(cfg: ManifestConfig, notes: Notes) -> Iterator[pa.Table]:
    """Yield the rows of a corpus, in pieces of the size of a shard."""
    assert cfg.root is not None
    options = cfg.options()
    if leaks := leaks_of(cfg.corpus, cfg.leaks, all_of_them=cfg.parity):
        options["leaks"] = leaks
    labels = read_labels(cfg.labels) if cfg.labels is not None else None
    if labels is not None and labels.map:
        raise ConfigError(
            f"{cfg.labels}: [map] found, expected [coordinates] and [same]. A manifest has no place for a map, since "
            "training and evaluation take the nearest label. For a notebook, see s2m_ray.emotions.maps."
        )
    rows: Iterator[Row] = corpus_rows(cfg.corpus, cfg.root, notes, labels=labels, missing=cfg.missing, **options)
    while chunk := list(islice(rows, cfg.shard_items)):
        yield as_table(chunk, str(cfg.root))
