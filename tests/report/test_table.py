"""The table of a paper: rows, columns, what is bold, what stands beside it."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from support.finished import finished, side

from s2m_ray.errors import ConfigError, EvaluationError
from s2m_ray.report.markup import csv_table, latex, latex_table, markdown_table
from s2m_ray.report.published import read_published
from s2m_ray.report.table import build_table, record_rows, render_table, table_rows

BASE = np.random.default_rng(0).random((5, 24)) * 0.4
TWELVE = [f"s{n % 12}" for n in range(24)]


def method(folder: Path, gain: float, framework: str = "triplet", modality: str = "audio", **changes) -> Path:
    config = {
        "modality": modality,
        "loss": {"framework": framework, "regulariser": changes.pop("regulariser", "emosim")},
    }
    values = {name: BASE + gain for name in ("P@5", "MRR", "nDCG@5")}
    return finished(folder, values, **({"config": config, "speakers": TWELVE} | changes))


def test_rows_columns_and_floor(tmp_path: Path):
    method(tmp_path / "b", 0.2, "triplet_soft")
    method(tmp_path / "a", 0.0)
    table = build_table([tmp_path], published=False)
    header, *rows = table_rows(table)
    assert header == ["method", "modality", "P@5", "MRR", "nDCG@5"]
    assert [row[:2] for row in rows] == [
        ["Triplet", "audio"],
        ["Triplet + EmoSim", "audio"],
        ["random ranking", "–"],
    ]
    assert rows[0][2] == f"{BASE.mean():.3f} ± 0.010"
    assert rows[1][2] == f"**{BASE.mean() + 0.2:.3f} ± 0.010**"  # better in all queries of 12 speakers, in all seeds
    assert rows[2][2] == "0.250"
    assert "ravdess → audioset, test, 24 × 3" in table.caption
    assert "Bold: shown to be better" in table.caption
    assert table.notes == ()


def test_the_highest_mean_is_not_called_best_without_a_test_that_says_so(tmp_path: Path):
    three = [f"s{n % 3}" for n in range(24)]
    method(tmp_path / "a", 0.0, speakers=three)
    method(tmp_path / "b", 0.2, "triplet_soft", speakers=three)
    table = build_table([tmp_path], published=False)
    assert "**" not in render_table(table, "markdown")
    assert "Bold" not in table.caption
    (note,) = table.notes
    assert "no method is shown to be better than all others" in note
    assert "3 speakers" in note
    assert "**" in render_table(build_table([tmp_path], published=False, unit="query"), "markdown")


def test_a_method_that_ties_with_the_best_takes_the_bold_away(tmp_path: Path):
    method(tmp_path / "a", 0.0)
    method(tmp_path / "b", 0.2, "triplet_soft")
    method(tmp_path / "c", 0.2, "triplet_sp")
    table = build_table([tmp_path], published=False)
    assert not any(record["best"] for record in record_rows(table))


def test_published_rows_stand_below_their_own(tmp_path: Path):
    method(tmp_path / "a", 0.0)
    method(tmp_path / "b", 0.1, "triplet_sp_soft")  # nobody published that one
    table = build_table([tmp_path])
    assert [(row.kind, row.method) for row in table.rows] == [
        ("own", "Triplet"),
        ("published", "Triplet, published"),
        ("own", "Triplet + SP + EmoSim"),
        ("floor", "random ranking"),
    ]
    assert table_rows(table)[2] == ["Triplet, published", "audio", "0.65 ± 0.03", "0.72 ± 0.03", "0.85 ± 0.03"]
    (note,) = [note for note in table.notes if note.startswith("Published")]
    assert "arXiv:2303.10539, Table 2" in note
    assert "test split chose the epoch" in note
    method(tmp_path / "other", 0.0, speech=side("mine", "24"))
    assert [row.kind for row in build_table([tmp_path / "other"]).rows] == ["own", "floor"]


def test_several_corpora_are_several_columns(tmp_path: Path):
    method(tmp_path / "a", 0.0)
    method(tmp_path / "b", 0.1, speech=side("hikia", "24"))
    method(tmp_path / "c", 0.1, "triplet_soft", "fusion", speech=side("hikia", "24"))
    header, *rows = table_rows(build_table([tmp_path], metrics=["P@5"]))
    assert header == ["method", "modality", "ravdess → audioset: P@5", "hikia → audioset: P@5"]
    named = {(row[0], row[1]): row[2:] for row in rows}
    assert named["Triplet, published", "audio"] == ["0.65 ± 0.03", "0.73 ± 0.06"]
    assert named["Triplet + EmoSim", "fusion"][0] == "–"
    assert named["Triplet + EmoSim, published", "fusion"] == ["–", "0.73 ± 0.04"]
    assert [row[1] for row in rows] == ["audio", "audio", "fusion", "fusion", "–"]


def test_one_method_twice_is_told_apart_by_its_folder(tmp_path: Path):
    method(tmp_path / "margin=0.2", 0.0)
    method(tmp_path / "margin=0.4", 0.1)
    finished(tmp_path / "raw", {name: BASE[:1] for name in ("P@5", "MRR", "nDCG@5")}, speakers=TWELVE, config={})
    names = [row.method for row in build_table([tmp_path]).rows if row.kind != "published"]
    assert names == ["Triplet (margin=0.2)", "Triplet (margin=0.4)", "no training", "random ranking"]
    row = next(r for r in table_rows(build_table([tmp_path])) if r[0] == "no training")
    assert "±" not in row[2]  # one seed has no deviation


def test_what_was_changed_of_a_method_stands_in_its_name(tmp_path: Path):
    plain = {"framework": "triplet_soft", "regulariser": "emosim", "margin": 0.4, "emo_lambda": 1.0}
    changed = plain | {"margin": 0.2, "emo_lambda": 0.5, "negatives": "music_label"}
    configs = {
        "a": {"modality": "late_fusion", "loss": plain},
        "b": {"modality": "late_fusion", "loss": changed},
        "c": {"modality": "masking_fusion", "loss": plain, "evaluate": {"queries_without": {"text": 24}}},
        "d": {"modality": "fusion", "loss": plain | {"framework": "triplet", "emo_lambda": 3.0}},
        "e": {
            "modality": "audio",
            "loss": plain,
            "parity": {"first_match": True, "raw_input": False},
            "evaluate": {"parity": True},
        },
    }
    for name, config in configs.items():
        method(tmp_path / name, 0.0, config=config)
    rows = table_rows(build_table([tmp_path], published=False))[1:]
    assert [tuple(row[:2]) for row in rows] == [
        ("Triplet + EmoSim (parity first_match, parity metrics)", "audio"),
        ("Triplet", "fusion"),  # emo_lambda has no effect there
        ("Triplet + EmoSim", "late fusion"),
        ("Triplet + EmoSim (margin 0.2, negatives music_label, emo_lambda 0.5)", "late fusion"),
        ("Triplet + EmoSim (24 queries without text)", "masking fusion"),
        ("random ranking", "–"),
    ]


def test_rows_with_built_in_words_say_so(tmp_path: Path):
    method(tmp_path / "a", 0.0, "triplet_sp")
    assert any("built-in vectors" in note for note in build_table([tmp_path]).notes)
    loss = {"framework": "triplet_sp", "regulariser": "emosim"}
    method(tmp_path / "other" / "b", 0.0, config={"modality": "audio", "loss": loss, "words": "glove.txt"})
    assert not any("built-in vectors" in note for note in build_table([tmp_path / "other"]).notes)


def test_evaluations_that_cannot_be_paired_are_shown_and_said_so(tmp_path: Path):
    method(tmp_path / "a", 0.0)
    method(tmp_path / "b", 0.2, "triplet_soft", prefix="other")
    table = build_table([tmp_path], published=False)
    assert len(table.rows) == 3
    assert "not compared." in table.notes[0]


def test_formats(tmp_path: Path):
    method(tmp_path / "a_1", 0.0)
    method(tmp_path / "b", 0.2, "triplet_soft")
    table = build_table([tmp_path])
    text = render_table(table, "markdown")
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    tex = render_table(table, "latex")
    assert r"\textbf{" in tex
    assert r"$\pm$" in tex
    assert tex.count("\\begin{") == tex.count("\\end{") == 2
    assert not set("±→×–−") & set(tex)
    rows = list(csv.DictReader(io.StringIO(render_table(table, "csv"))))
    assert len(rows) == 3 * 5  # own 2, published 2, floor 1
    assert {row["kind"] for row in rows} == {"own", "published", "floor"}
    assert float(rows[0]["mean"]) == pytest.approx(BASE.mean())
    with pytest.raises(ConfigError, match="--format html: expected markdown, latex, csv"):
        render_table(table, "html")
    with pytest.raises(EvaluationError, match=r"no metric 'P@7', found P@5, MRR, nDCG@5"):
        build_table([tmp_path], metrics=["P@7"])


def test_a_synthetic_corpus_is_called_so(tmp_path: Path):
    assert "SYNTHETIC" not in build_table([method(tmp_path / "a", 0.0)]).caption
    assert "SYNTHETIC" in build_table([method(tmp_path / "b", 0.0, synthetic=True)]).caption


def test_published_numbers():
    rows = read_published()
    assert len(rows) == 27 + 10
    found = {(row.speech, row.modality, row.method): row for row in rows}
    assert len(found) == len(rows)
    best = found["iemocap", "fusion", "Triplet + EmoSim"]
    assert dict(best.values) == {"MRR": (0.83, 0.01), "P@5": (0.75, 0.02), "nDCG@5": (0.90, 0.01)}
    assert "test utterances stood in the training split" in best.note
    old = found["iemocap", "masking fusion", "3-branch"]
    assert dict(old.values) == {"P@5": (0.623, None), "MRR": (0.678, None), "nDCG@5": (0.735, None)}
    assert "not comparable" in old.note
    assert "floor by construction" in found["hikia", "text", "Triplet + SP"].note


def test_markup_escapes():
    assert markdown_table([["a|b", "c"], ["x\ny", "zz"]]) == "| a\\|b | c   |\n| ---- | --- |\n| x y  | zz  |\n"
    assert latex("50 % of a_b & {c} \\ #1 ~^$") == (
        r"50 \% of a\_b \& \{c\} \textbackslash{} \#1 \textasciitilde{}\textasciicircum{}\$"
    )
    assert latex("**1.0 ± 0.1**") == r"\textbf{1.0 $\pm$ 0.1}"
    assert r"\caption{a\_b}" in latex_table([["m", "x", "y"], ["1", "2", "3"]], caption="a_b", notes=["n%"])
    assert csv_table([["a", "b"], ['say "x"', None]]) == 'a,b\n"say ""x""",\n'
