"""The pipeline on real speech and music over a cluster whose nodes die in the middle of it.

``make test-slow`` runs it where the corpora are.
"""

import json
import re
from pathlib import Path

import pytest
from support.nodes import ROOT, jobs_of, nodes, outcome, pipeline_here, wait_until
from support.pocket import SWEEP

DATA = ROOT.parent / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not (DATA / "ravdess").is_dir(), reason="no ../shared/data/ravdess"),
]
RECIPE = """
out = "{out}"
[manifest.speech]
corpus = "ravdess"
root = "{data}/ravdess"
[manifest.music]
corpus = "vgmidi"
root = "{data}/vgmidi"
[embed.speech]
[embed.music]
[tune.holdout]
speakers = ["17", "18", "19"]
music = 0.2
[evaluate]
split = "valid"
[report]
"""
BY_VALID = 'test_split = "valid"\n'  # there are no speakers for a test split


def recipe_of(folder: Path) -> tuple[Path, Path]:
    """Pipeline file and the folder that it writes to."""
    folder.mkdir()
    file, run = folder / "pipeline.toml", folder / "run"
    file.write_text(RECIPE.format(out=run, data=DATA) + SWEEP + BY_VALID)
    return file, run


def found(run: Path) -> dict:
    """What a run found, and what it tells of it: the report, but for the folder that it lies in and its date."""
    table = (run / "tune" / "table.csv").read_text()
    report = re.sub(r"20\d\d-\d\d-\d\dT[\d:+]+", "DATE", (run / "report.html").read_text().replace(str(run), "RUN"))
    return {**outcome(run), "table": table, "report": report}


def test_nodes_that_die_and_a_stop_leave_the_report_as_it_is(tmp_path):
    alone, at_home = recipe_of(tmp_path / "local")
    pipeline_here(alone)
    recipe, run = recipe_of(tmp_path / "cluster")
    with nodes(tmp_path) as cluster:
        extra = cluster.add_node(2)
        cluster.wait_for_nodes(3)
        first = cluster.submit("pipeline", recipe, "--json", wait=False)
        wait_until(lambda: len(list(run.glob("stores/speech/part-*"))) >= 4, first)
        assert not (run / "stores" / "speech" / "store.json").exists()  # in the middle of it
        cluster.kill_node(extra)
        extra = cluster.add_node(2)
        wait_until(lambda: len(list(run.glob("tune/ledger/[!.]*.parquet"))) >= 2, first, 400)
        assert not (run / "tune" / "tune.json").exists()
        cluster.kill_node(extra)
        before = len(list(run.glob("tune/ledger/[!.]*.parquet")))
        wait_until(lambda: len(list(run.glob("tune/ledger/[!.]*.parquet"))) > before, first, 400)
        assert cluster.s2m("jobs", "stop", jobs_of(cluster)[0]["job"], "--address", cluster.url).returncode == 0
        _, said = first.communicate(timeout=90)
        assert first.returncode == 75, said
        assert not (run / "tune" / "tune.json").exists()
        second = cluster.submit("pipeline", recipe, "--json")
        assert second.returncode == 0, second.err
    steps = json.loads(second.out)["steps"]
    assert steps["embed speech"]["embedded_now"] == steps["embed music"]["embedded_now"] == 0
    assert 0 < steps["tune"]["trained_now"] < 12
    there, here = found(run), found(at_home)
    for part in here:
        assert there[part] == here[part], part
