"""Finished evaluations against each other, on values with a known answer."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.finished import finished, side

from s2m_ray.errors import ConfigError, EvaluationError
from s2m_ray.evaluation.compare import as_unit, compare
from s2m_ray.evaluation.reading import distinct_names, find_folders, read_evaluations
from s2m_ray.evaluation.stats import holm
from s2m_ray.report.findings import (
    difference_rows,
    mean_rows,
    method_note,
    p_text,
    to_dict,
    verdicts,
    write_comparison,
)

DRAWS = np.random.default_rng(0)
BASE = DRAWS.random((5, 24)) * 0.4
TEN = [f"s{n % 10}" for n in range(24)]


def read(*folders: Path):
    return read_evaluations(folders)


def test_a_difference_that_holds_in_all_queries_and_seeds_is_real(tmp_path: Path):
    a = finished(tmp_path / "plain", {"P@5": BASE, "MRR": BASE}, speakers=TEN)
    b = finished(tmp_path / "better", {"P@5": BASE + 0.2, "MRR": BASE[:, ::-1]}, speakers=TEN)
    found = compare(read(a, b))
    first, second = found.differences
    assert (found.unit, found.units) == ("speaker", 10)
    assert (first.first, first.second, first.metric, first.queries) == ("plain", "better", "P@5", 24)
    assert first.difference == pytest.approx(0.2)
    assert first.interval == pytest.approx((0.2, 0.2))
    assert first.p == 2 / 2**10  # all ten speakers are better: this assignment and its mirror image
    assert first.p_holm == pytest.approx(2 * 2 / 2**10)
    assert (first.d_z, first.d_w) == (None, 1.0)
    assert first.shown
    assert not second.shown
    assert ("better", "P@5") in found.best
    assert ("plain", "P@5") not in found.best
    assert ("better", "MRR") not in found.best
    assert verdicts(found) == [
        "better is better than plain in P@5 (+0.200, Holm p 0.004).",
        "better and plain: no difference shown in MRR.",
    ]


def test_p_is_that_of_speakers_whole_blocks(tmp_path: Path):
    """Unequal blocks: by definition, every assignment of signs to the speakers."""
    speakers = ["a"] * 5 + ["b"] * 2 + ["c"] * 1 + ["d"] * 4
    change = DRAWS.normal(0.1, 0.2, (2, 12))
    a = finished(tmp_path / "a", {"P@5": BASE[:2, :12]}, speakers=speakers)
    b = finished(tmp_path / "b", {"P@5": BASE[:2, :12] + change}, speakers=speakers)
    sums = [change.mean(axis=0)[np.array(speakers) == s].sum() for s in "abcd"]
    signs = np.array(np.meshgrid(*[(1, -1)] * 4)).reshape(4, -1).T
    expected = (np.abs(signs @ sums) >= abs(sum(sums)) - 1e-12).mean()
    assert compare(read(a, b)).differences[0].p == pytest.approx(expected)


def test_seeds_may_take_back_what_the_queries_say(tmp_path: Path):
    """All queries move alike, but up with some seeds and down with others."""
    shift = np.array([0.4, 0.4, 0.3, -0.3, -0.5])[:, None]
    a = finished(tmp_path / "a", {"P@5": np.tile(BASE[0], (5, 1))})
    b = finished(tmp_path / "b", {"P@5": np.tile(BASE[0], (5, 1)) + shift})
    found = compare(read(a, b))
    (difference,) = found.differences
    assert (found.unit, found.why_unit) == ("query", "24 of 24 queries have no speaker")
    assert difference.p < 0.001
    assert difference.turns_with_seeds
    assert not difference.shown
    assert "Other seeds of training might turn round: P@5 of b and a" in verdicts(found)[-1]


def test_three_methods_are_one_family(tmp_path: Path):
    folders = [
        finished(tmp_path / name, {"P@5": BASE + DRAWS.normal(0, 0.05, BASE.shape), "MRR": BASE}, seeds=range(5))
        for name in "abc"
    ]
    found = compare(read(*folders))
    pairs = [(d.first, d.second, d.metric) for d in found.differences]
    assert pairs == [(x, y, m) for x, y in (("a", "b"), ("a", "c"), ("b", "c")) for m in ("P@5", "MRR")]
    raw = np.array([d.p for d in found.differences])
    assert [d.p_holm for d in found.differences] == pytest.approx(holm(raw).tolist())
    assert [d.metric for d in compare(read(*folders), metrics=["MRR"]).differences] == ["MRR"] * 3
    assert len(mean_rows(found)) == 4
    assert len(difference_rows(found)) == 7
    assert "Holm's correction over all 6 rows" in method_note(found)


def test_swapping_two_methods_turns_the_sign_alone(tmp_path: Path):
    a = finished(tmp_path / "a", {"P@5": BASE}, speakers=TEN)
    b = finished(tmp_path / "b", {"P@5": BASE + DRAWS.normal(0.05, 0.1, BASE.shape)}, speakers=TEN)
    forth, back = (compare(read(*pair)).differences[0] for pair in ((a, b), (b, a)))
    assert back.difference == pytest.approx(-forth.difference)
    assert back.interval == pytest.approx((-forth.interval[1], -forth.interval[0]))
    assert (back.p, back.d_z, back.d_w) == pytest.approx((forth.p, -forth.d_z, -forth.d_w))


def test_different_seeds_are_compared_unpaired(tmp_path: Path):
    a = finished(tmp_path / "a", {"P@5": BASE}, seeds=range(5))
    b = finished(tmp_path / "b", {"P@5": BASE[:3] + 0.5}, seeds=(7, 8, 9))
    (difference,) = compare(read(a, b)).differences
    assert difference.difference == pytest.approx((BASE[:3].mean() + 0.5) - BASE.mean())
    assert difference.shown


def test_queries_without_a_value_are_left_out(tmp_path: Path):
    holed = BASE.copy()
    holed[2, 4] = holed[0, 9] = np.nan
    a = finished(tmp_path / "a", {"mAP": holed, "none": np.full_like(BASE, np.nan)})
    b = finished(tmp_path / "b", {"mAP": BASE + 0.1, "none": BASE})
    found = compare(read(a, b))
    assert found.metrics == ("mAP",)
    assert found.differences[0].queries == 22
    assert found.differences[0].difference == pytest.approx(0.1)
    json.dumps(to_dict(found), allow_nan=False)


def test_few_speakers_are_told_of(tmp_path: Path):
    three = [f"s{n % 3}" for n in range(24)]
    a = finished(tmp_path / "a", {"P@5": BASE}, speakers=three)
    b = finished(tmp_path / "b", {"P@5": BASE + 0.2}, speakers=three)
    found = compare(read(a, b))
    assert found.differences[0].p == 0.25
    assert "3 speakers cannot give a p below 0.25" in verdicts(found)[-1]
    assert "fewer than 6" in verdicts(found)[-1]  # 2 / 2**6 is the first below .05
    over_queries = compare(read(a, b), unit="query")
    assert over_queries.differences[0].shown
    assert len(verdicts(over_queries)) == 1


def test_files_of_a_comparison(tmp_path: Path):
    a = finished(tmp_path / "a", {"P@5": BASE}, speakers=TEN)
    b = finished(tmp_path / "b", {"P@5": BASE + 0.2}, speakers=TEN)
    found = compare(read(a, b))
    write_comparison(found, tmp_path / "out")
    write_comparison(found, tmp_path / "out")  # may be repeated
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert content["differences"][0]["real"] is True
    assert content["verdicts"] == verdicts(found)
    (row,) = csv.DictReader((tmp_path / "out" / "compare.csv").open())
    assert float(row["difference"]) == pytest.approx(0.2)
    assert (row["second"], row["d_z"], row["real"]) == ("b", "", "True")
    text = (tmp_path / "out" / "compare.md").read_text()
    assert "| b − a " in text
    assert "- b is better than a in P@5" in text
    with pytest.raises(EvaluationError, match="was started with unit=speaker, now unit=query"):
        write_comparison(compare(read(a, b), unit="query"), tmp_path / "out")
    with pytest.raises(EvaluationError, match="exists and was not made by this command"):
        write_comparison(found, a)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prefix": "x"}, r"queries: 24 items, but .*/a has 24; 'x000' \(angry\) is in one only"),
        ({"gallery": 4}, "gallery: 4 items, but .*/a has 3;"),
        (
            {"music": side("audioset", "moved")},
            "gallery: 3 items with other ids, .* coordinates, but .*/a has 3",
        ),
        (
            {"speech": side("ravdess", "moved")},
            "queries: 24 items with other ids, .* coordinates, but .*/a has 24",
        ),
        ({"speech": side("ravdess", "24 q", "valid")}, "speech split is valid, but .*/a has test"),
        ({"music": side("vgmidi", "3")}, r'music corpus is \["vgmidi"\], but .* has \["audioset"\]'),
        ({"label_map": {"angry": "happy"}}, 'label map is {"angry": "happy"}'),
        ({"parity": True}, "parity is true, but .*/a has false"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, changes: dict, message: str):
    a = finished(tmp_path / "a", {"P@5": BASE})
    b = finished(tmp_path / "b", {"P@5": BASE}, **changes)
    with pytest.raises(EvaluationError, match=f"/b: {message}"):
        compare(read(a, b))


def test_calls_that_cannot_be_answered(tmp_path: Path):
    a = finished(tmp_path / "a", {"P@5": BASE})
    b = finished(tmp_path / "b", {"P@10": BASE})
    with pytest.raises(EvaluationError, match="one evaluation, expected two or more"):
        compare(read(a))
    with pytest.raises(EvaluationError, match="named twice"):
        read(a, tmp_path / "b" / ".." / "a")
    with pytest.raises(EvaluationError, match="metric 'any' is not common to all .* same --k"):
        compare(read(a, b))
    c = finished(tmp_path / "c", {"P@5": BASE})
    with pytest.raises(EvaluationError, match="metric 'MRR' is not common to all that are compared, found P@5"):
        compare(read(a, c), metrics=["MRR"])
    with pytest.raises(EvaluationError, match="--unit speaker: 24 of 24 queries have no speaker"):
        compare(read(a, c), unit="speaker")
    with pytest.raises(ConfigError, match="--unit seed: expected speaker or query"):
        as_unit("seed")


def test_folders_that_are_no_evaluations(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(EvaluationError, match="it is a checkpoint: score it first"):
        read(tmp_path / "model")
    with pytest.raises(EvaluationError, match="no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(EvaluationError, match="no such folder"):
        find_folders([tmp_path / "nowhere"])
    folder = finished(tmp_path / "a", {"P@5": BASE})
    table = pq.read_table(folder / "per_query.parquet")
    pq.write_table(table.slice(1), folder / "per_query.parquet")
    with pytest.raises(EvaluationError, match="expected one row for each"):
        read(folder)
    pq.write_table(table.drop_columns(["speaker"]), folder / "per_query.parquet")
    with pytest.raises(EvaluationError, match="no column 'speaker'"):
        read(folder)
    (folder / "per_query.parquet").write_text("no Parquet")
    with pytest.raises(EvaluationError, match=r"per_query.parquet: .*copied whole"):
        read(folder)
    header = json.loads((folder / "evaluation.json").read_text())
    del header["music"]["items_sha256"]
    (folder / "evaluation.json").write_text(json.dumps(header))
    with pytest.raises(EvaluationError, match="no items_sha256 .* earlier version: evaluate again"):
        read(folder)
    (folder / "evaluation.json").write_text("{}")
    with pytest.raises(EvaluationError, match="no queries, gallery"):
        read(folder)


def test_rows_may_come_in_any_order(tmp_path: Path):
    folder = finished(tmp_path / "a", {"P@5": BASE}, speakers=TEN)
    before = read(folder)[0]
    table = pq.read_table(folder / "per_query.parquet")
    pq.write_table(table.take(np.random.default_rng(0).permutation(table.num_rows)), folder / "per_query.parquet")
    after = read(folder)[0]
    assert (after.query_ids, after.speakers, after.emotions) == (before.query_ids, before.speakers, before.emotions)
    np.testing.assert_array_equal(after.values["P@5"], before.values["P@5"])


def test_names_are_the_shortest_that_differ():
    assert distinct_names([Path("/x/a"), Path("/x/b")]) == ["a", "b"]
    assert distinct_names([Path("/x/a/eval"), Path("/x/b/eval")]) == ["a/eval", "b/eval"]


def test_small_p_is_only_called_small():
    assert [p_text(p) for p in (0.00098, 0.001, 0.05, 1.0)] == ["<0.001", "0.001", "0.050", "1.000"]
