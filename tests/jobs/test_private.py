"""Ray's private names: the pinned version has all of them, and without one of them the public behaviour remains."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import ray

from jobs.spread import private

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", private.NAMES)
def test_the_pinned_ray_has_every_private_name(name):
    assert private.find(name) is not None, f"ray {ray.__version__} has no {name}"


def test_no_other_module_reaches_for_a_private_name():
    others = [path for path in (ROOT / "jobs").rglob("*.py") if path.name != "private.py"]
    assert len(others) > 20
    for path in others:
        text = path.read_text()
        assert not re.search(r"\bray\._(?!_)|\._internal\b|_create_default_callbacks", text), path


@pytest.fixture
def nothing_private(monkeypatch):
    """A Ray that has none of the private names."""

    def gone(name: str) -> None:
        raise private.PrivateNameGone(f"this version of Ray has no {name}: {private.NAMES[name]}")

    monkeypatch.setattr(private, "find", gone)
    private.warn.cache_clear()
    yield
    private.warn.cache_clear()


@pytest.mark.parametrize(("mode", "sends"), [("token", True), ("disabled", False), (None, False)])
def test_without_private_names_the_variable_tells_of_the_token(nothing_private, monkeypatch, mode, sends):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.warns(RuntimeWarning, match="no ray._private.authentication.*RAY_AUTH_MODE alone tells"):
        assert private.sends_token() is sends


def test_without_private_names_no_header_is_sent_and_nothing_is_read_again(nothing_private):
    with pytest.warns(RuntimeWarning, match="nodes is asked for without a token"):
        assert private.token_headers() == {}
    with pytest.warns(RuntimeWarning, match="is not seen"):
        private.read_token_again()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        private.read_token_again()  # it warns once


def test_without_private_names_the_trainer_is_ray_s_own(nothing_private):
    from ray.train.torch import TorchTrainer

    with pytest.warns(RuntimeWarning, match="ends about 12 s later"):
        assert private.local_trainer() is TorchTrainer


def test_a_name_that_is_gone_says_what_no_longer_works(monkeypatch):
    monkeypatch.setitem(private.NAMES, "ray._private.nowhere:thing", "the moon does not rise")
    with pytest.raises(private.PrivateNameGone, match=r"has no ray\._private\.nowhere:thing: the moon does not rise"):
        private.find("ray._private.nowhere:thing")
    monkeypatch.setitem(private.NAMES, "ray._private.services:thing", "the moon does not rise")
    with pytest.raises(private.PrivateNameGone, match="services:thing"):
        private.find("ray._private.services:thing")


def test_the_variables_stand_before_ray_is_imported():
    """Ray reads this one while it is imported, and never again."""
    program = (
        "import sys, jobs.spread.session; assert 'ray' in sys.modules\n"
        "from ray._private.auto_init_hook import enable_auto_connect; print(enable_auto_connect)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ended.stdout.strip() == "False", ended.stderr
