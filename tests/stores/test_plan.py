"""Compare predictions with numbers that were worked by hand."""

import pytest

from s2m_ray.errors import ConfigError
from s2m_ray.files.whole import write_json
from s2m_ray.stores.plan import compare, predict, read_plan, rows, summary, to_dict

SAMPLE = {
    "items": 9,
    "rejected": 1,
    "audio_s": 100.0,
    "decode_s": 2.0,
    "encode_s": 6.0,
    "write_s": 0.0,
    "busy_s": 8.0,
    "worker_bytes": 500e6,
    "workers": 2,
    "startup_s": 5.0,
    "wall_s": 9.0,
}


def test_a_plan_by_hand():
    plan = predict(SAMPLE, items=1000, audio_s=None, workers=4, price_per_hour=7.2, bytes_per_item=3000)
    # a hundred times the sample: 800 s of work for four workers, and 5 s to start
    assert plan.total_s == 205
    assert plan.audio_s == 10_000
    assert plan.audio_hours_per_s == pytest.approx(10_000 / 3600 / 205)
    assert plan.cost == pytest.approx(7.2 * 205 / 3600)
    assert (plan.store_bytes, plan.memory_bytes, plan.gpu_hours) == (3_000_000, 2_000_000_000, 0)
    assert (plan.bottleneck, plan.shares) == ("encoder", {"decode": 0.25, "encoder": 0.75, "write": 0.0})


def test_a_known_length_counts_instead_of_the_number_of_items():
    plan = predict(SAMPLE, items=1000, audio_s=5000.0, workers=4, gpus_per_worker=0.5, bytes_per_item=1, fetch_s=1.8)
    assert plan.total_s == 5 + 50 * 8 / 4
    assert plan.gpu_hours == pytest.approx(105 / 3600 * 2)
    assert plan.cpus_per_worker == 2  # 6 s of encoding, in which one CPU decodes for 2 s
    assert dict(rows(plan))["CPUs a worker"] == "2, so that no GPU waits for decoding"
    assert plan.cost is None
    assert plan.shares == {"decode": 0.025, "encoder": 0.75, "write": 0.0, "network": 0.225}


def test_a_run_is_held_against_its_part_of_the_plan():
    plan = predict(SAMPLE, items=1000, audio_s=None, workers=4, bytes_per_item=1)
    run = SAMPLE | {"items": 500, "rejected": 0, "workers": 2, "wall_s": 246.0}
    # half of 800 s for two workers, and 5 s
    assert compare(plan, run) == {"expected_s": 205.0, "error": 0.2}


def test_what_people_read():
    plan = predict(SAMPLE, items=1000, audio_s=None, workers=4, price_per_hour=7.2, bytes_per_item=3000)
    lines = dict(rows(plan))
    assert lines["time"] == "3 min 25 s with 4 workers, 5 s of it start-up"
    assert lines["cost"] == "0.41"
    assert "CPUs a worker" not in lines
    text = summary(SAMPLE | {"plan": {"expected_s": 7400.0, "error": -0.25}})
    assert text == (
        "9 s, 5 s of it start-up, 25 times real time after it; bottleneck: encoder (decode 25%, encoder 75%, "
        "write 0%); planned 2 h 03 min (-25%)"
    )


def test_a_plan_is_read_back_and_nothing_else_is(tmp_path):
    plan = predict(SAMPLE, items=10, audio_s=None, workers=1, bytes_per_item=1)
    write_json(tmp_path / "plan.json", to_dict(plan))
    assert read_plan(tmp_path / "plan.json") == plan
    write_json(tmp_path / "other.json", {"items": 3})
    with pytest.raises(ConfigError, match=r"other\.json: no plan, expected a file written by `s2m plan --out`"):
        read_plan(tmp_path / "other.json")
