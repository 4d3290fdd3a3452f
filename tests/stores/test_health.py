"""The check of a store's vectors finds what is wrong, and passes what is right."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2m_ray.encoders.spectral.spectral import SpectralEncoder
from s2m_ray.stores import health
from s2m_ray.stores.health import examine, sample

DRAWS = np.random.default_rng(0)
GOOD = DRAWS.standard_normal((200, 16)).astype(np.float32)


def levels(found: dict) -> dict[str, str]:
    return {finding["rule"]: finding["level"] for finding in found["findings"]}


def test_good_vectors_are_ok():
    found = examine(GOOD, network=True)
    assert (found["verdict"], found["findings"], found["sampled"]) == ("ok", [], 200)
    assert found["values"]["duplicates"] == 0
    assert found["values"]["constant"] == 0


def test_values_by_hand(monkeypatch):
    monkeypatch.setattr(health, "LEAST", 2)
    # unit vectors at 0, 90 and 90 degrees of other lengths, one repeated: cosines of the distinct pairs 0, 0, 1
    vectors = np.array([[1, 0, 5], [0, 2, 5], [0, 3, 5], [0, 3, 5]], np.float32)
    flat = examine(vectors[:, :2], network=True)["values"]
    assert flat["cosine"] == pytest.approx(1 / 3)
    assert flat["duplicates"] == 1 / 4
    assert examine(vectors, network=True)["values"]["constant"] == pytest.approx(1 / 3)
    # two dimensions without correlation: two; on a line: one
    assert examine(np.array([[1, 1], [1, -1], [-1, 1], [-1, -1.0]]), network=False)["values"]["rank"] == 2
    assert examine(np.array([[1, 2], [2, 4], [5, 10.0]]), network=False)["values"]["rank"] == pytest.approx(1)


def test_a_collapsed_network_fails():
    found = examine(GOOD * 0.01 + 1, network=True)
    assert levels(found) == {"cosine": "fail"}
    assert found["verdict"] == "fail"
    assert levels(examine(GOOD * 0.2 + 1, network=True)) == {"cosine": "warn"}
    assert "cosine: 0.96" in examine(GOOD * 0.2 + 1, network=True)["findings"][0]["text"]
    assert examine(GOOD * 0.01 + 1, network=False)["verdict"] == "ok"  # units, not a collapse


def test_a_line_a_dead_part_and_repeats():
    line = GOOD[:, :1] * np.ones(16, np.float32) + 1e-3 * GOOD
    assert levels(examine(line, network=False)) == {"rank": "fail"}
    dead = GOOD.copy()
    dead[:, :4] = 3.0
    assert levels(examine(dead, network=True)) == {"constant": "warn"}
    assert levels(examine(np.repeat(GOOD, 2, axis=0)[:300], network=True)) == {"duplicates": "warn"}
    same = examine(np.ones((200, 16), np.float32), network=True)
    assert levels(same) == {"duplicates": "fail"}  # one text for all is no collapse of the network
    assert "constant" not in same["values"]


def test_few_or_no_vectors_give_no_verdict_on_the_space():
    assert examine(np.empty((0, 0), np.float32), network=True)["verdict"] == "ok"
    assert examine(np.ones((1, 3), np.float32), network=True)["verdict"] == "ok"
    assert examine(np.zeros((3, 3), np.float32), network=True)["verdict"] == "fail"  # three times the same


def test_silent_vectors_do_not_divide_by_zero():
    with np.errstate(all="raise"):
        assert examine(np.vstack([GOOD, np.zeros((1, 16), np.float32)]), network=True)["verdict"] == "ok"


def test_spectral_vectors_are_ok_by_nature():
    encoder = SpectralEncoder()
    tones = [
        np.sin(2 * np.pi * (100 + 37 * i) * np.arange(8000) / 16000) * 0.3 + 0.01 * DRAWS.standard_normal(8000)
        for i in range(24)
    ]
    vectors = encoder.encode([tone.astype(np.float32) for tone in tones])
    found = examine(vectors, network=False)
    assert "cosine" not in found["values"]
    assert "rank" not in levels(found)


def test_the_sample_is_limited_and_always_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "SAMPLE", 25)
    shards = []
    for number in range(6):
        rows = np.full((0 if number == 2 else 10, 2), number, np.float32)
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel(), pa.float32()), 2)
        shards.append(tmp_path / f"part-{number}.parquet")
        pq.write_table(pa.table({"embedding": embedding}), shards[-1])
    found = sample(shards)
    assert found.shape == (25, 2)
    assert np.array_equal(found, sample(shards))
    assert len(np.unique(found)) == 3
    assert sample([shards[2]]).shape == (0, 0)
