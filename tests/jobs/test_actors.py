"""The pool of actors with stages that count, fail, stand still or wait for the sign to stop; no encoder, no audio."""

import errno
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from jobs.spread import actors
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import ConfigError, Interrupted, StoreError
from s2m_ray.files.journal import STOP, Journal, StopSign, journal_path

pytestmark = pytest.mark.usefixtures("ray_cluster", "by_value")

STALL_S = 30.0  # longer than the workers of a loaded machine take to start


@pytest.fixture(scope="module")
def by_value():
    """Send what this module defines as a whole, for workers cannot import it."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


class Stages:
    """Makers of stages."""

    @staticmethod
    def count():
        return lambda number: {"items": number, "share": 1 / 3}

    @staticmethod
    def fail(error: Exception):
        def stage(number: int) -> dict:
            if number == 1:
                raise error
            return {}

        return stage

    @staticmethod
    def refuse():
        raise ConfigError("no weights here")

    @staticmethod
    def wait(folder: Path):
        sign = StopSign(folder)

        def stage(number: int) -> dict:
            (folder / f"begun-{number}").touch()
            while not sign():
                time.sleep(0.05)
            (folder / f"left-{number}").touch()
            return {}

        return stage

    @staticmethod
    def stand_still(folder: Path):
        def stage(number: int) -> dict:
            journal = Journal(journal_path(folder, number))
            with journal.doing("decode", ["slow.mp3"]):
                while not (folder / STOP).exists():
                    time.sleep(0.05)
            journal.close()
            return {}

        return stage


def pool(make, folder: Path, stall_s: float = 60.0) -> actors.Pool:
    resources = ResourceConfig(cpus_per_worker=0.5)
    return actors.Pool(make=make, folder=folder, resources=resources, workers=2, stall_s=stall_s, error=StoreError)


def test_the_counts_of_every_shard_arrive_as_they_were(tmp_path):
    heard = []
    actors.run(pool(Stages.count, tmp_path), range(5), lambda counts, _: heard.append(counts))
    arrived = sorted((counts for counts in heard if counts), key=lambda counts: counts["items"])
    assert arrived == [{"items": number, "share": 1 / 3} for number in range(5)]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (partial(Stages.fail, StoreError("shard 1 cannot be written")), StoreError, "shard 1 cannot be written"),
        (partial(Stages.fail, OSError(errno.ENOSPC, "No space")), OSError, "No space"),
        (Stages.refuse, StoreError, "no weights here"),
    ],
)
def test_an_error_of_a_worker_arrives_with_its_text_and_number(tmp_path, make, error, message):
    with pytest.raises(error, match=message) as caught:
        actors.run(pool(make, tmp_path), range(3), lambda *_: None)
    if isinstance(caught.value, OSError):
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))


def test_a_signal_lets_the_workers_leave_their_shards_and_begins_no_other(tmp_path):
    def interrupt() -> None:
        while len(list(tmp_path.glob("begun-*"))) < 2:
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        actors.run(pool(partial(Stages.wait, tmp_path), tmp_path), range(6), lambda *_: None)
    begun = {path.name.partition("-")[2] for path in tmp_path.glob("begun-*")}
    assert len(begun) == 2
    assert {path.name.partition("-")[2] for path in tmp_path.glob("left-*")} == begun
    assert not (tmp_path / STOP).exists()


def test_workers_that_stand_still_end_the_run_and_are_named(tmp_path):
    with pytest.raises(Interrupted, match=r"nothing moved for 30 s: shard \d at decode of 'slow\.mp3' \(pid"):
        actors.run(pool(partial(Stages.stand_still, tmp_path), tmp_path, STALL_S), range(2), lambda *_: None)
    assert not (tmp_path / STOP).exists()
