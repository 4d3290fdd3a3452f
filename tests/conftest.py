"""What all tests share: shape checks on the array modules, one Ray session, and a few tiny audio files."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray gives its workers a niceness of 15: beside other work on the machine they would hardly get any time at all.
os.environ.setdefault("RAY_worker_niceness", "0")

from collections.abc import Iterator
from pathlib import Path

import jaxtyping

# Before any of them is imported: from here on every call checks shapes and types against the annotations.
jaxtyping.install_import_hook(
    [
        "s2m_ray.evaluation.metrics",
        "s2m_ray.joint.training.losses",
        "s2m_ray.joint.training.sampling",
        "s2m_ray.joint.heads",
        "s2m_ray.stores.pooling",
        "s2m_ray.audio.decode",
        "s2m_ray.search.order",
        "s2m_ray.evaluation.stats",
        "s2m_ray.emotions.plane",
        "s2m_ray.evaluation.relevance",
        "s2m_ray.evaluation.metrics",
        "s2m_ray.evaluation.writing",
        "s2m_ray.joint.training.objective",
        "s2m_ray.emotions.words",
        "s2m_ray.joint.training.tensors",
        "s2m_ray.joint.training.draws",
        "s2m_ray.emotions.maps",
        "s2m_ray.corpora.published.noise",
    ],
    "beartype.beartype",
)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import soundfile  # noqa: E402


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for the whole run: jobs that ask for a session find this one and leave it up."""
    from jobs.spread.session import ray_session
    from s2m_ray.config.resources import ResourceConfig

    with ray_session(ResourceConfig()):
        yield


@pytest.fixture(scope="session")
def audio_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six good files, ``good-0.wav`` to ``good-5.wav``, each another mixture of tones and noise.

    0.5 to 3 s, three sample rates, one or two channels.
    """
    from support.tones import tone

    folder = tmp_path_factory.mktemp("audio")
    draws = np.random.default_rng(1)
    for number, (seconds, rate, channels) in enumerate(
        [(0.5, 16000, 1), (1.0, 22050, 2), (1.5, 16000, 1), (2.0, 44100, 2), (2.5, 16000, 1), (3.0, 22050, 1)]
    ):
        wave = tone(150 + 70 * number, seconds, rate, 0.3)[:, None]
        wave = wave + 0.02 * draws.standard_normal((len(wave), channels))
        soundfile.write(folder / f"good-{number}.wav", wave, rate, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Numbers are compared bit for bit, and torch rounds otherwise on another number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the stores ``speech`` and ``music``, all three splits in each."""
    from support.toy_stores import whole, write_sealed

    folder = tmp_path_factory.mktemp("stores")
    for modality in ("speech", "music"):
        write_sealed(folder / modality, whole(modality))
    return folder


@pytest.fixture
def levels(tmp_path: Path) -> Path:
    """Files of a constant level at 1 kHz: the level is the number in the name, in hundredths."""
    folder = tmp_path / "levels"
    folder.mkdir()
    for level, seconds in ((10, 1.0), (20, 2.5), (30, 0.5), (40, 1.0)):
        wave = np.full(round(seconds * 1000), level / 100)
        soundfile.write(folder / f"level-{level}.wav", wave, 1000, subtype="FLOAT")
    return folder
