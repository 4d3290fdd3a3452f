"""Tones that tests listen to."""

import numpy as np


def tone(hertz: float, seconds: float, rate: int = 16000, level: float = 0.5) -> np.ndarray:
    """Mono sine wave with amplitude ``level``."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
