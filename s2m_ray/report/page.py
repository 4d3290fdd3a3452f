"""The self-contained HTML page of one or more evaluations: one file, no JavaScript, nothing loaded."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Template

from s2m_ray.audio.excerpts import EXCERPT_S
from s2m_ray.errors import EvaluationError
from s2m_ray.evaluation.reading import find_folders, read_header
from s2m_ray.report.paired import marks, paired
from s2m_ray.report.players import Shelf
from s2m_ray.report.projection import MAP_SIZE, PLANE_MARGIN, PLANE_SIZE, joint_map, plane
from s2m_ray.report.style import COLOURS, NOTHING, flat, number, palette, words
from s2m_ray.seeds import rng
from s2m_ray.stores.gallery import DETAILS

HEADLINE = "P@5"
SHOWN_RANKS = 5
MAX_PANELS = 4
TEXT_LETTERS = 280  # a longer transcript is cut


@dataclass(frozen=True)
class Result:
    """One finished evaluation folder and its header."""

    name: str
    folder: Path
    header: Mapping[str, Any]

    @property
    def headline(self) -> float:
        """Mean of the metric that chooses what is shown; NaN ranks last."""
        metrics = self.header["metrics"]
        name = HEADLINE if HEADLINE in metrics else next(iter(metrics), None)
        value = metrics[name].get("mean") if name else None
        return float(str(value)) if number(value) != NOTHING else -math.inf

    def table(self, name: str, columns: Sequence[str], filters: Any = None) -> pa.Table:
        """Some columns of one of the folder's Parquet files."""
        path = self.folder / name
        try:  # partitioning: a folder called margin=0.4 must not become a column
            return pq.read_table(path, columns=list(columns), filters=filters, partitioning=None)
        except (OSError, ValueError, KeyError) as error:
            found = "no such file" if not path.exists() else " ".join(str(error).split())[:160]
            raise EvaluationError(
                f"{path}: {found}; expected a Parquet file with {', '.join(columns)}; was the folder "
                f"written by `s2m evaluate` and copied whole?"
            ) from error


def write_report(root: Path, out: Path, *, queries_per_emotion: int = 1, seed: int = 0) -> Path:
    """Write one HTML file about every evaluation at or below ``root``, and return its path.

    Args:
        root: Folder; each ``evaluation.json`` at or below it is one result.
        out: The file to write; it appears whole or not at all.
        queries_per_emotion: Queries that are drawn at random from each emotion, to be listened to.
        seed: Seed of that draw and of the map.

    Raises:
        EvaluationError: no evaluation was found, one cannot be read, or ``out`` cannot be written.
    """
    results = read_results(Path(root))
    html = render(results, queries_per_emotion=queries_per_emotion, seed=seed)
    partial = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(html.encode("utf-8", errors="replace"))  # a lone surrogate has no bytes
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise EvaluationError(f"{out}: {error.strerror}; expected a file that can be written") from error
    return out


def read_results(root: Path) -> list[Result]:
    """Return the finished evaluations at or below ``root``, in the order of their folders.

    Raises:
        EvaluationError: none is there, or a header is not one of this version.
    """
    results = []
    for folder in find_folders([root]):
        relative = folder.relative_to(root).as_posix()
        results.append(Result(root.resolve().name if relative == "." else relative, folder, read_header(folder)))
    return results


def render(results: Sequence[Result], *, queries_per_emotion: int, seed: int) -> str:
    """Return the page as text.

    Equal folders, arguments and library versions give equal pages.
    """
    shown = max(results, key=lambda result: result.headline)  # the first of equals
    comparisons = paired(results)
    highest = sorted(results, key=lambda result: -result.headline)[:MAX_PANELS]
    panels = [drawn(result, seed=seed) for result in results if result in highest]
    queries = heard(shown, queries_per_emotion=queries_per_emotion, seed=seed)
    maps = {json.dumps(r.header["label_map"], sort_keys=True): r.header["label_map"] for r in results}
    return _template().render(
        results=results,
        comparisons=comparisons,
        shown=shown,
        marks=marks(results, comparisons),
        panels=panels,
        queries=queries,
        styles=palette(_labels(results, panels, queries)),
        planes=[plane(label_map) for label_map in islice(maps.values(), MAX_PANELS)],
        colours=list(COLOURS.values()),
        metrics=list(dict.fromkeys(name for r in results for name in r.header["metrics"])),
        synthetic=[result for result in results if result.header.get("synthetic")],
        queries_per_emotion=queries_per_emotion,
        seed=seed,
        excerpt_s=EXCERPT_S,
        shown_ranks=SHOWN_RANKS,
        map_size=MAP_SIZE,
        plane_size=PLANE_SIZE,
        plane_margin=PLANE_MARGIN,
        headline=HEADLINE,
    )


def _labels(
    results: Sequence[Result], panels: Sequence[Mapping[str, Any]], queries: Sequence[Mapping[str, Any]]
) -> set[str]:
    """Return every emotion that the page shows."""
    labels = {label for r in results for label in (*r.header["label_map"], *r.header["per_emotion"])}
    labels |= {label for r in results for label in r.header["label_map"].values()}
    labels |= {point["emotion"] for panel in panels for point in panel["points"]}
    labels |= {row["emotion"] for query in queries for row in (query, *query["found"])}
    return labels - {None}


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "flat": flat, "words": words}
    return environment.get_template("page.html")


def heard(result: Result, *, queries_per_emotion: int, seed: int) -> list[dict[str, Any]]:
    """Draw queries of each emotion, and return them with the best ranked music of the first seed and the players."""
    first_seed = result.header["seeds"][0] if result.header["seeds"] else 0
    ranked = (
        result.table(
            "run.parquet",
            ["query_id", "rank", "item_id", "score", "relevance", "hit"],
            [("seed", "==", first_seed), ("rank", "<=", SHOWN_RANKS)],
        )
        .sort_by([("query_id", "ascending"), ("rank", "ascending")])
        .to_pylist()
    )
    details = result.table("items.parquet", DETAILS.names).to_pylist()
    items = {(row["modality"], row["item_id"]): row for row in details}
    emotions: dict[str | None, list[str]] = {}
    for query_id in sorted({row["query_id"] for row in ranked}):
        emotions.setdefault(items.get(("speech", query_id), {}).get("emotion"), []).append(query_id)
    shelf = Shelf()

    def entry(modality: str, item_id: str) -> dict[str, Any]:
        row = {**dict.fromkeys(DETAILS.names), "item_id": item_id, **items.get((modality, item_id), {})}
        text = row["text"] or ""
        row["text"] = text if len(text) <= TEXT_LETTERS else text[:TEXT_LETTERS].rstrip() + " …"
        row["player"] = shelf.place(row["uri"] or "", start_s=row["start_s"], end_s=row["end_s"])
        return row

    queries = []
    for emotion, ids in sorted(emotions.items(), key=lambda pair: pair[0] or ""):
        chosen = rng(seed, "report", emotion or "").permutation(len(ids))[:queries_per_emotion]
        for query_id in (ids[i] for i in sorted(chosen)):
            query = entry("speech", query_id) | {"target": result.header["label_map"].get(emotion)}
            rows = [row for row in ranked if row["query_id"] == query_id]
            queries.append(query | {"found": [row | entry("music", row["item_id"]) for row in rows]})
    return queries


def drawn(result: Result, *, seed: int) -> dict[str, Any]:
    """Return the map of the joint vectors of an evaluation, with its name."""
    table = result.table("items.parquet", ["item_id", "modality", "emotion", "vector"])
    try:
        return {"name": result.name, **joint_map(table, seed=seed)}
    except ValueError as error:  # numpy, on rows of unequal length
        raise EvaluationError(
            f"{result.folder / 'items.parquet'}: vectors of unequal length; expected those of one joint space"
        ) from error


def run(root: Path, out: Path) -> Path:
    """Write the page of every evaluation at or below ``root``.

    Raises:
        EvaluationError: there is no evaluation.
    """
    return write_report(root, out)
