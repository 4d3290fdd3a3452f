"""Check that the same paired results give the same verdict in a comparison, the table, the report and a sweep."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.finished import finished

from s2m_ray.config.training import LossConfig, TrainConfig
from s2m_ray.evaluation.compare import compare
from s2m_ray.evaluation.reading import read_evaluations
from s2m_ray.report.findings import verdicts
from s2m_ray.report.page import read_results, render
from s2m_ray.report.sweep import result_table, sentences, told_choice
from s2m_ray.report.table import build_table, record_rows
from s2m_ray.tuning.ledger import Entry
from s2m_ray.tuning.selection import Queries, choose, table
from s2m_ray.tuning.trials import Configuration

QUERIES = 24
BASE = np.tile(np.random.default_rng(0).random(QUERIES), (5, 1)) * 0.4
NOISE = np.random.default_rng(1).normal(0, 0.2, QUERIES)
SHOWN = BASE + 0.2
LUCK = BASE + 0.03 + NOISE - NOISE.mean()
TURNS = BASE + np.array([0.4, 0.4, 0.3, -0.3, -0.5])[:, None]  # up with some seeds, down with others
# 10 of 12 speakers are better by as much as the other two are worse: p = 2 (1 + 12 + 66) / 2**12 = .039.
# A family of two tests takes it above .05.
EDGE = BASE + np.array([0.1, -0.1])[[0] * 10 + [1] * 2 + [0] * 10 + [1] * 2]
TWELVE = [f"s{n % 12}" for n in range(QUERIES)]
CASES = {"shown": (SHOWN, True), "luck": (LUCK, False), "turns": (TURNS, False)}


def folders(root: Path, speakers: list[str] = TWELVE, **values: dict[str, np.ndarray] | np.ndarray) -> list[Path]:
    """Finished evaluations that the report can read too: nothing was retrieved."""
    written = []
    for number, (name, of) in enumerate(values.items()):
        config = {"modality": "audio", "loss": {"framework": "triplet", "margin": number / 10}}
        of = of if isinstance(of, dict) else {"MRR": of}
        written.append(finished(root / name, of, speakers=speakers, config=config, warnings=[]))
        strings = ("item_id", "modality", "uri", "corpus", "emotion", "speaker", "text", "query_id")
        schema = {name: pa.string() for name in strings} | {"start_s": pa.float64(), "end_s": pa.float64()}
        schema |= {"seed": pa.int32(), "rank": pa.int32(), "score": pa.float32(), "relevance": pa.float32()}
        empty = pa.schema(schema | {"hit": pa.bool_(), "vector": pa.list_(pa.float32())}).empty_table()
        pq.write_table(empty, written[-1] / "items.parquet")
        pq.write_table(empty, written[-1] / "run.parquet")
    return written


def configuration(emo_lambda: float) -> Configuration:
    loss = LossConfig(framework="triplet_soft", emo_lambda=emo_lambda)
    train = TrainConfig(speech=Path("a"), music=Path("b"), out=Path("c"), loss=loss)
    return Configuration({"loss.emo_lambda": emo_lambda}, train)


def swept(*values: np.ndarray):
    """Rows and choice of a sweep over the weight of the regulariser; the first has none."""
    found = [configuration(weight) for weight in range(len(values))]
    done = {
        (one.key, seed): Entry(one.key, seed, "done", 1, 2, 0.1, [], {}, {"MRR": value[seed]})
        for one, value in zip(found, values, strict=True)
        for seed in range(len(value))
    }
    asked = Queries(tuple(f"q{n:03d}" for n in range(QUERIES)), tuple(TWELVE), {"MRR": np.full(QUERIES, 0.25)})
    rows = table(found, done, range(len(values[0])), asked, objective="MRR", resamples=200)
    return rows, choose(rows, asked, objective="MRR")


def said(rows, choice) -> tuple[list[list[str]], list[str]]:
    header = {"chosen_by": {"split": "valid", "queries": QUERIES, "gallery": 3, "unit": "speaker"}, "seeds": range(5)}
    return result_table(rows, choice, ["loss.emo_lambda"], "MRR"), sentences(choice, header, "MRR")


@pytest.mark.parametrize("case", CASES)
def test_the_same_results_get_the_same_verdict_everywhere(tmp_path: Path, case: str):
    values, is_shown = CASES[case]
    pair = folders(tmp_path / "in", plain=BASE, ours=values)
    comparison = compare(read_evaluations(pair))
    (verdict,) = comparison.differences
    assert verdict.shown is is_shown
    assert verdict.better == ("ours" if is_shown else None)
    assert verdict.worse == ("plain" if is_shown else None)
    assert (verdicts(comparison)[0] == "ours and plain: no difference shown in MRR.") is not is_shown

    cells = [r for r in record_rows(build_table([tmp_path], metrics=["MRR"])) if r["kind"] == "own"]
    assert [r["best"] for r in cells] == [False, is_shown]

    page = render(read_results(tmp_path / "in"), queries_per_emotion=1, seed=0)
    assert ('<span class="tag">best</span>' in page) is is_shown
    assert ('<span class="tag soft">highest mean</span>' in page) is not is_shown

    rows, choice = swept(BASE, values)
    cells, lines = said(rows, choice)
    assert choice.gain.shown is is_shown
    assert told_choice(choice, "MRR")["gain"]["real"] is is_shown
    assert (choice.alike == ()) is is_shown
    assert (" *" in cells[1][2]) is is_shown
    assert (" *" in " ".join(lines)) is False
    assert lines[0].startswith("Best by MRR" if is_shown else "Chosen by MRR")
    assert lines[1].startswith("The gain is real" if is_shown else "The gain may be chance")
    assert cells[1][-1] == ("best" if is_shown else "chosen")


def test_a_sweep_says_of_the_winner_what_its_table_says():
    """The winner's gain is one of many that the reader may pick: the sentence has the corrected p as the star has."""
    rows, choice = swept(BASE, EDGE, LUCK - 0.05, LUCK - 0.06)
    assert choice.winner.gain.p <= 0.05 < choice.winner.gain.p_holm
    cells, lines = said(rows, choice)
    assert "*" not in cells[1][2]
    assert lines[1].startswith("The gain may be chance")
    assert choice.gain == choice.winner.gain


def test_the_table_tests_what_the_comparison_and_the_page_test(tmp_path: Path):
    """All 7 speakers are better in one metric: p = .0156 is below .05 with three tests, and above it with four."""
    plain = dict.fromkeys(("P@5", "MRR", "nDCG@5", "recall@5"), BASE)
    ours = plain | {"MRR": SHOWN}
    pair = folders(tmp_path, [f"s{n % 7}" for n in range(QUERIES)], plain=plain, ours=ours)
    comparison = compare(read_evaluations(pair))
    assert max(d.p_holm for d in comparison.differences if d.metric == "MRR") == pytest.approx(4 / 64)
    assert comparison.best == set()
    assert not any(record["best"] for record in record_rows(build_table([tmp_path])))
    page = render(read_results(tmp_path), queries_per_emotion=1, seed=0)
    assert '<span class="tag">best</span>' not in page
    alone = compare(read_evaluations(pair), metrics=["MRR"])
    assert alone.best == {("ours", "MRR")}
    (cell,) = [r for r in record_rows(build_table([tmp_path], metrics=["MRR"])) if r["best"]]
    assert cell["metric"] == "MRR"


def test_best_is_not_said_where_some_of_the_task_were_not_tested(tmp_path: Path):
    means = {f"m{n}": BASE + n / 10 for n in range(7)}
    folders(tmp_path, **means)
    page = render(read_results(tmp_path), queries_per_emotion=1, seed=0)
    assert '<span class="tag">best</span>' not in page
    assert page.count('<span class="tag soft">highest mean</span>') == 1
