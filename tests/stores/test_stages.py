"""Each stage processes one item or a batch of items."""

import numpy as np
import pytest
from support.fakes import RATE, FakeEncoder

from s2m_ray.config.embedding import AudioConfig
from s2m_ray.errors import DecodeError
from s2m_ray.stores.stages import DecodeAudio, EncodeSegments


def test_decode_audio_cuts_the_window_of_the_row(levels):
    decode = DecodeAudio(AudioConfig(segment_s=1.0), RATE)
    uri = str(levels / "level-20.wav")
    decoder, segments = decode({"uri": uri, "start_s": None, "end_s": None})
    assert decoder == "soundfile"
    assert [len(s) for s in segments] == [1000, 1000, 500]
    assert [len(s) for s in decode({"uri": uri, "start_s": 0.3, "end_s": 1.5})[1]] == [1000, 200]
    with pytest.raises(DecodeError, match=r"^too_short: 0\.040 s"):
        decode({"uri": uri, "start_s": 0.0, "end_s": 0.04})


def test_encode_segments_weighs_by_samples():
    encode = EncodeSegments(encoder := FakeEncoder())
    ones, twos = np.ones(30, np.float32), np.full(10, 2, np.float32)
    found = encode([[ones, twos], [twos], [twos, twos, ones]])
    # means over all samples: (30 * 1 + 10 * 2) / 40, 2, (20 * 2 + 30 * 1) / 50; mean lengths: 25, 10, 22
    assert found == pytest.approx(np.array([[1.25, 25], [2, 10], [1.4, 22]]))
    assert encoder.calls == [6]
