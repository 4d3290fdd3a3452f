"""Place points in the two pictures of the page: the map of joint vectors and the valence-arousal plane."""

import importlib
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float
from numpy import ndarray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from s2m_ray.emotions.plane import VALENCE_AROUSAL
from s2m_ray.seeds import rng

Method = Literal["UMAP", "t-SNE", "PCA"]
MIN_NEIGHBOURS_POINTS = 10  # fewer have no neighbourhoods to keep: PCA
UMAP_NEIGHBOURS = 15  # umap-learn's default
PERPLEXITY = 30.0  # scikit-learn's default; lowered to (n - 1) / 3, which van der Maaten's code demands
MAX_POINTS = 600  # of each modality in a map: beyond it marks cover each other and the page grows
MAP_SIZE = (480, 400)  # viewBox units
PLANE_SIZE = (640, 480)
PLANE_MARGIN = (56, 24, 24, 44)  # left, top, right, bottom
LETTER = 7.4  # measured, DejaVu Sans at 12.5 px: 6.7 a letter over all our labels, 7.8 in the widest of them
MARK = 9  # half the size of a marker in the plane


def joint_map(items: pa.Table, *, seed: int) -> dict[str, Any]:
    """Return the map of joint vectors, from the columns ``item_id``, ``modality``, ``emotion`` and ``vector``.

    Returns:
        ``points`` (x, y, item_id, modality, emotion), at most ``MAX_POINTS`` of each modality, drawn at random;
        ``method``; and ``total``, the number of all items.

    Raises:
        ValueError: The vectors have unequal lengths.
    """
    rows: list[dict[str, Any]] = []
    for modality in ("music", "speech"):
        # of a large gallery only a sample has vectors, and beside it stands what was retrieved
        table = items.filter(pc.and_(pc.equal(items["modality"], modality), pc.is_valid(items["vector"]))).sort_by(
            "item_id"
        )
        drawn = rng(seed, "report", "map", modality).permutation(len(table))[:MAX_POINTS]
        rows += table.take(np.sort(drawn)).to_pylist()
    rows = [row for row in rows if row["vector"] and np.isfinite(np.array(row["vector"], dtype=float)).all()]
    method = method_for(len(rows))
    if not rows:
        return {"points": [], "method": method, "total": len(items)}
    vectors = np.array([row.pop("vector") for row in rows], dtype=np.float32)
    with warnings.catch_warnings(action="ignore"):  # umap-learn and numba: news of their next releases
        flat = fit_box(project(vectors, seed=seed, method=method)).round(1).tolist()
    order = rng(seed, "report", "order").permutation(len(rows))  # else one modality covers the other
    points = [{**rows[i], "x": flat[i][0], "y": flat[i][1]} for i in order]
    return {"points": points, "method": method, "total": len(items)}


def method_for(points: int) -> Method:
    """Return UMAP if umap-learn can be imported, else t-SNE; below ``MIN_NEIGHBOURS_POINTS`` points, return PCA."""
    if points < MIN_NEIGHBOURS_POINTS:
        return "PCA"
    try:
        importlib.import_module("umap")
    except ImportError:
        return "t-SNE"
    return "UMAP"


def project(vectors: Float[ndarray, "points dim"], *, seed: int, method: Method) -> Float[ndarray, "points 2"]:
    """Return two coordinates for each vector, without a unit. Equal arguments give equal coordinates on one machine.

    Source: UMAP, McInnes et al. 2018, arXiv:1802.03426; t-SNE, van der Maaten & Hinton, JMLR 2008.
    """
    count = len(vectors)
    state = int(rng(seed, "report", "map").integers(2**31))
    if method == "UMAP":
        umap: Any = importlib.import_module("umap")
        neighbours = min(UMAP_NEIGHBOURS, count - 1)
        mapper = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=state, n_jobs=1)
    elif method == "t-SNE":
        perplexity = min(PERPLEXITY, (count - 1) / 3)
        mapper = TSNE(init="pca", metric="cosine", perplexity=perplexity, random_state=state)
    else:
        mapper = PCA(n_components=min(2, *vectors.shape), random_state=state)
    with threadpool_limits(limits=1):  # sums in one order on any machine, and no waiting where cores are shared
        flat = np.asarray(mapper.fit_transform(vectors), dtype=np.float64)
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))


def fit_box(points: Float[ndarray, "points 2"], *, margin: float = 14) -> Float[ndarray, "points 2"]:
    """Move and scale the points, both axes alike, into the middle of ``MAP_SIZE``."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array(MAP_SIZE) - 2 * margin
    span = np.where(high > low, high - low, np.inf)
    scale = float((room / span).min())  # 0 where all points are one
    placed: Float[ndarray, "points 2"] = (points - (low + high) / 2) * scale + np.array(MAP_SIZE) / 2
    return placed


def plane(label_map: Mapping[str, str]) -> dict[str, Any]:
    """Return the valence-arousal plane of a label map: marks with their labels, and arrows from speech to music.

    Returns:
        ``marks`` (x, y, emotion, speech, music, label_x, label_y, leader), ``arrows`` (emotion, path), and
        ``unplaced``, the emotions without coordinates.
    """
    labels = sorted({*label_map, *label_map.values()})
    known = [label for label in labels if label in VALENCE_AROUSAL]
    xy = {label: _on_plane(*VALENCE_AROUSAL[label]) for label in known}
    ends = [(a, xy[a], xy[b]) for a, b in sorted(label_map.items()) if a in xy and b in xy]
    ends = [(a, p, q) for a, p, q in ends if math.dist(p, q) > 2.5 * MARK]
    lines = [(p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])) for _, p, q in ends for t in _STEPS]
    (left, top, _, bottom), height = PLANE_MARGIN, PLANE_SIZE[1]
    lines += [(left, top + t * (height - top - bottom)) for t in _STEPS]  # the arousal axis
    places = place_labels([xy[label] for label in known], known, avoid=lines)
    marks = [
        {
            "x": xy[a][0],
            "y": xy[a][1],
            "emotion": a,
            "speech": a in label_map,
            "music": a in label_map.values(),
            "label_x": x,
            "label_y": y,
            "leader": _leader(xy[a], (x, y), a),
        }
        for a, (x, y) in zip(known, places, strict=True)
    ]
    arrows = [{"emotion": a, "path": _arrow(p, q)} for a, p, q in ends]
    unplaced = [label for label in labels if label not in VALENCE_AROUSAL]
    return {"marks": marks, "arrows": arrows, "unplaced": unplaced, "map": sorted(label_map.items())}


def place_labels(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    *,
    avoid: Sequence[tuple[float, float]] = (),
) -> list[tuple[float, float]]:
    """Return the middle of each text, near its point, so that texts cover neither each other nor the points.

    The search is greedy: each text takes the cheapest of some positions around its point. Covering a text costs most,
    then covering a point, then a position to ``avoid``, then distance.
    """
    done: list[tuple[float, float, float]] = []
    for (x, y), text in zip(points, texts, strict=True):
        half = LETTER * len(text) / 2

        def cost(place: tuple[float, float], half: float = half, x: float = x, y: float = y) -> float:
            cx, cy = place
            width, height = PLANE_SIZE
            outside = cx - half < 4 or cx + half > width - 4 or cy < 12 or cy > height - 12
            texts_hit = sum(abs(cx - a) < half + w + 4 and abs(cy - b) < 15 for a, b, w in done)
            points_hit = sum(abs(cx - a) < half + MARK and abs(cy - b) < 8 + MARK for a, b in points)
            lines_hit = sum(abs(cx - a) < half + 1 and abs(cy - b) < 8 for a, b in avoid)
            gap = math.hypot(max(abs(cx - x) - half, 0), cy - y)
            return 1000 * outside + 200 * texts_hit + 80 * points_hit + 6 * lines_hit + gap

        around = [
            (round(x + math.cos(t) * (half + r), 1), round(y + math.sin(t) * r, 1))
            for r in (14, 18, 24, 31, 39, 48)
            for t in np.linspace(0, 2 * math.pi, 16, endpoint=False)
        ]
        best = min(around, key=cost)
        done.append((*best, half))
    return [(x, y) for x, y, _ in done]


_STEPS = np.linspace(0, 1, 40)
_NEAR = 20  # viewBox units between a point and its label; beyond it a thin line joins the two


def _leader(point: tuple[float, float], label: tuple[float, float], text: str) -> str | None:
    """Return the SVG path from a point to the near edge of its label, or nothing if they are close."""
    half = LETTER * len(text) / 2
    x = min(max(point[0], label[0] - half), label[0] + half)
    y = label[1] - math.copysign(8, label[1] - point[1])
    if math.dist(point, (x, label[1])) <= _NEAR:
        return None
    return f"M{point[0]:.1f} {point[1]:.1f}L{x:.1f} {y:.1f}"


def _on_plane(valence: float, arousal: float) -> tuple[float, float]:
    (width, height), (left, top, right, bottom) = PLANE_SIZE, PLANE_MARGIN
    x = left + valence * (width - left - right)
    return round(x, 1), round(top + (1 - arousal) * (height - top - bottom), 1)


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return the SVG path of an arrow that stops short of both marks."""
    length = math.dist(start, end)
    ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    x1, y1 = start[0] + ux * (MARK + 2), start[1] + uy * (MARK + 2)
    x2, y2 = end[0] - ux * (MARK + 4), end[1] - uy * (MARK + 4)
    wings = [(x2 - 8 * ux + s * 4 * uy, y2 - 8 * uy - s * 4 * ux) for s in (1, -1)]
    head = f"M{wings[0][0]:.1f} {wings[0][1]:.1f}L{x2:.1f} {y2:.1f}L{wings[1][0]:.1f} {wings[1][1]:.1f}"
    return f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}{head}"
