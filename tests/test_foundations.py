"""Errors that survive the way from a worker, and random streams that belong to their use."""

import pickle

import numpy as np
import pytest

from s2m_ray import errors
from s2m_ray.errors import DecodeError, S2MError
from s2m_ray.seeds import rng

CLASSES = [value for value in vars(errors).values() if isinstance(value, type)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_travels_between_processes(kind):
    error = pickle.loads(pickle.dumps(kind("missing: no such file")))
    assert type(error) is kind
    assert str(error) == "missing: no such file"
    assert isinstance(error, S2MError)


def test_there_is_an_error_for_each_part_of_the_path():
    assert {kind.__name__ for kind in CLASSES} == {
        "S2MError",
        "ConfigError",
        "ManifestError",
        "DecodeError",
        "StoreError",
        "CheckpointError",
        "EvaluationError",
        "Interrupted",
    }


def test_reason_and_detail_of_a_decode_error():
    error = DecodeError("truncated: the header claims 3 s: decoded 1 s")
    assert (error.reason, error.detail) == ("truncated", "the header claims 3 s: decoded 1 s")


def test_equal_uses_give_equal_draws_and_do_not_disturb_each_other():
    first = rng(7, "negatives", 3).random(5)
    rng(7, "other").random(1000)
    np.random.seed(0)  # noqa: NPY002 - the global generator has no say
    assert rng(7, "negatives", 3).random(5).tolist() == first.tolist()


def test_other_uses_give_other_streams():
    uses = [(7,), (8,), (7, "a"), (7, "b"), (7, "a", 1), (7, "a", 2), (7, 1, "a"), (7, "a", "1", 0), (8, "a")]
    draws = np.array([rng(*use).random(2000) for use in uses])
    off_diagonal = np.corrcoef(draws)[~np.eye(len(uses), dtype=bool)]
    assert np.abs(off_diagonal).max() < 0.12  # 5 deviations of the correlation of 2000 independent pairs
