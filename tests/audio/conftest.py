"""Audio files that several tests of this folder read."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.tones import tone

RATE = 22050


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    """3 s of 440 Hz with a second tone that grows, in many formats."""
    folder = tmp_path_factory.mktemp("formats")
    wave = tone(440, 3.0, RATE, 0.3) + tone(1000, 3.0, RATE, 0.3) * np.linspace(0, 1, 3 * RATE, dtype=np.float32)
    for suffix in ("wav", "flac", "mp3", "ogg", "aiff", "au"):
        soundfile.write(folder / f"whole.{suffix}", wave, RATE)
    return folder
