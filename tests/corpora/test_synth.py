"""The embedded corpus: repeatable, fair between emotions, and audibly what its tags say."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import find_peaks, welch

from s2m_ray import seeds
from s2m_ray.corpora.synth import music, speech, write_corpus
from s2m_ray.corpora.synth.corpus import MUSIC_FORMATS, SPEECH_FORMATS, format_of, music_items, speech_items, split_of
from s2m_ray.corpora.synth.cues import MUSIC, SPEECH
from s2m_ray.emotions.plane import AUDIOSET_MOOD, RAVDESS, VALENCE_AROUSAL
from s2m_ray.errors import ConfigError

ROW = "item_id uri modality corpus split emotion valence arousal speaker text start_s end_s duration_s"
VOICES, PIECES = 4, 5  # five pieces: every colour of noise


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("synth")
    ticks = []
    rows = write_corpus(root, voices=VOICES, pieces=PIECES, progress=lambda done, all_: ticks.append((done, all_)))
    return root, rows, ticks


@pytest.fixture(scope="session")
def audio(corpus):
    root, rows, _ = corpus
    return {row["item_id"]: soundfile.read(root / row["uri"], always_2d=True) for row in rows}


def of(rows, modality):
    return [row for row in rows if row["modality"] == modality]


def test_rows_have_the_columns_of_a_manifest_and_unique_ids(corpus):
    root, rows, ticks = corpus
    assert all(list(row) == ROW.split() for row in rows)
    assert len({row["item_id"] for row in rows}) == len({row["uri"] for row in rows}) == len(rows)
    assert len(of(rows, "speech")) == 8 * (4 + 3 + 3 + 4)
    assert len(of(rows, "music")) == 8 * PIECES
    assert ticks == [(i + 1, len(rows)) for i in range(len(rows))]
    on_disk = {path.relative_to(root).as_posix() for path in root.rglob("*.*")}
    assert on_disk == {row["uri"] for row in rows}  # and no file under a temporary name


def test_full_size_is_that_of_the_brief():
    assert len(list(speech_items(voices=12, seed=0))) == 320
    assert len(list(music_items(pieces=30, seed=0))) == 240
    assert Counter(split_of(i, 12) for i in range(12)) == {"train": 7, "valid": 2, "test": 3}
    assert Counter(split_of(i, 30) for i in range(30)) == {"train": 18, "valid": 6, "test": 6}


@pytest.mark.parametrize(("modality", "tags"), [("speech", RAVDESS), ("music", AUDIOSET_MOOD)])
def test_splits_share_no_speaker_and_each_has_every_tag(corpus, modality, tags):
    rows = of(corpus[1], modality)
    splits = defaultdict(set)
    for row in rows:
        splits[row["speaker"]].add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    for split in ("train", "valid", "test"):
        assert {row["emotion"] for row in rows if row["split"] == split} == set(tags)


def test_every_file_decodes_with_its_duration_and_does_not_clip(corpus, audio):
    for row in corpus[1]:
        wave, sample_rate = audio[row["item_id"]]
        assert len(wave) / sample_rate == pytest.approx(row["duration_s"], abs=1e-3), row["uri"]
        low, high = (1.2, 2.5) if row["modality"] == "speech" else (4.0, 6.0)
        assert low - 0.01 <= row["duration_s"] <= high + 0.01
        # 0.95 before encoding; a lossy codec may overshoot a little.
        assert 0.001 < np.abs(wave).max() < 0.999, row["uri"]
        assert np.isfinite(wave).all()


def test_there_are_several_formats_rates_and_stereo(corpus, audio):
    rows = corpus[1]
    assert {Path(row["uri"]).suffix for row in rows} == {".wav", ".flac", ".ogg", ".mp3"}
    assert {rate for _, rate in audio.values()} >= {16_000, 22_050, 24_000, 44_100, 48_000}
    assert {audio[row["item_id"]][0].shape[1] for row in of(rows, "music")} == {1, 2}


@pytest.mark.parametrize("formats", [SPEECH_FORMATS, MUSIC_FORMATS])
def test_every_emotion_meets_every_format_equally_often(formats):
    for tag in range(8):  # over ten units; 40 takes and 30 pieces are multiples of ten
        assert Counter(format_of(formats, unit, tag) for unit in range(10)) == Counter(formats)


def test_full_corpus_has_the_same_formats_for_every_emotion():
    for items in (speech_items(voices=12, seed=0), music_items(pieces=30, seed=0)):
        per_emotion = defaultdict(Counter)
        for item in items:
            per_emotion[item.row["emotion"]][item.form] += 1
        assert all(counts == next(iter(per_emotion.values())) for counts in per_emotion.values())


def decoded(root, rows):
    return [soundfile.read(root / row["uri"])[0] for row in rows]


def test_same_seed_same_files(tmp_path, corpus):
    """Also: a corpus of fewer voices and pieces holds the same items, so nothing depends on order."""
    root, rows, _ = corpus
    again = write_corpus(tmp_path, voices=3, pieces=3)
    before = {row["item_id"]: row for row in rows}
    for row in again:
        old = {**before[row["item_id"]], "split": row["split"]}
        assert row == old
        if row["uri"].endswith(".ogg"):  # its stream carries a serial number that libsndfile draws anew
            samples = decoded(tmp_path, [row])[0], decoded(root, [old])[0]
            np.testing.assert_array_equal(*samples)
        else:
            assert (tmp_path / row["uri"]).read_bytes() == (root / old["uri"]).read_bytes(), row["uri"]


def test_other_seed_other_voice_phrase_and_piece():
    a, b = (speech.draw_voice(0, seed=seed, voice_id="voice-01") for seed in (0, 1))
    assert a.f0_hz != b.f0_hz
    one = speech.utterance(a, "sad", seed=0, item_id="x")
    assert one[1] != speech.utterance(a, "sad", seed=1, item_id="x")[1]
    assert one[1] != speech.utterance(a, "sad", seed=0, item_id="y")[1]
    np.testing.assert_array_equal(one[0], speech.utterance(a, "sad", seed=0, item_id="x")[0])
    p, q = (music.draw_piece(seed=seed, piece_id="piece-01") for seed in (0, 1))
    assert not np.array_equal(p.partials, q.partials)


def test_text_and_its_length_tell_nothing_of_the_emotion(corpus):
    rows = corpus[1]
    assert {len(row["text"].split()) for row in of(rows, "speech")} == {speech.PHRASE_WORDS}
    assert {row["text"] for row in of(rows, "music")} == {None}


def f0_hz(wave, sample_rate):
    """Median over the loud frames of the best lag of the autocorrelation, 70 to 500 Hz."""
    size = int(0.05 * sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[:: size // 2]
    frames = frames[(frames**2).mean(axis=1) > 0.3 * (wave**2).mean()]
    spectra = np.fft.rfft(frames * np.hanning(size), 2 * size)
    lags = np.fft.irfft(np.abs(spectra) ** 2)
    low, high = int(sample_rate / 500), int(sample_rate / 70)
    return sample_rate / np.median(low + lags[:, low:high].argmax(axis=1))


def high_share_db(wave, sample_rate):
    """Power above 1 kHz to power below: the alpha ratio of GeMAPS, up to 5 kHz."""
    hz, power = welch(wave, sample_rate, nperseg=1024)
    return 10 * np.log10(power[(hz >= 1000) & (hz < 5000)].sum() / power[hz < 1000].sum())


def level_db(wave, sample_rate):
    return 10 * np.log10(np.mean(wave**2))


def mean_of(measure, rows, audio, emotions):
    return np.mean(
        [measure(audio[r["item_id"]][0].mean(1), audio[r["item_id"]][1]) for r in rows if r["emotion"] in emotions]
    )


@pytest.mark.parametrize("measure", [f0_hz, level_db, high_share_db])
def test_aroused_voices_are_higher_louder_and_brighter(corpus, audio, measure):
    rows = of(corpus[1], "speech")
    high = mean_of(measure, rows, audio, {"angry", "happy", "surprised"})
    low = mean_of(measure, rows, audio, {"calm", "sad"})
    assert high > low + {f0_hz: 30.0, level_db: 5.0, high_share_db: 3.0}[measure]


def test_sad_and_calm_voices_take_longer_over_equal_phrases(corpus):
    seconds = defaultdict(list)
    for row in of(corpus[1], "speech"):
        seconds[row["emotion"]].append(row["duration_s"])
    assert min(map(np.mean, (seconds["sad"], seconds["calm"]))) > 1.15 * np.mean(
        seconds["fearful"] + seconds["angry"]
    )


def onsets_per_s(wave, sample_rate):
    """Peaks of the spectral flux: mean rise in dB over 10 ms, counted where it is above 1.5 dB."""
    size, hop = sample_rate // 20, sample_rate // 100
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop] * np.hanning(size)
    spectra = np.abs(np.fft.rfft(frames))[:, : size * 6000 // sample_rate]
    flux = np.maximum(np.diff(20 * np.log10(spectra + 1e-3 * spectra.max()), axis=0), 0.0).mean(axis=1)
    return len(find_peaks(flux, height=1.5, distance=8)[0]) / (len(wave) / sample_rate)


@pytest.mark.parametrize("measure", [onsets_per_s, level_db, high_share_db])
def test_aroused_music_is_denser_louder_and_brighter(corpus, audio, measure):
    rows = of(corpus[1], "music")
    high = mean_of(measure, rows, audio, {"exciting", "angry", "happy"})
    low = mean_of(measure, rows, audio, {"sad", "tender"})
    assert high > low + {onsets_per_s: 1.0, level_db: 5.0, high_share_db: 3.0}[measure]


@pytest.mark.parametrize(("emotion", "third"), [("happy", 4), ("sad", 3)])
def test_happy_is_major_and_fast_and_sad_is_minor_and_slow(emotion, third):
    """The third of the scale, counted over the notes of the score: degree 2 is 4 or 3 semitones up."""
    piece = music.draw_piece(seed=0, piece_id="piece-01")
    cues = MUSIC.mean(emotion) | {"dissonance": -1.0}
    notes, eighth_s = music.compose(piece, cues=cues, duration_s=30.0, generator=seeds.rng(0, "test"))
    tonic = next(note.pitch for note in notes if note.part == 2)  # every progression starts there
    classes = Counter(round(note.pitch - tonic) % 12 for note in notes)
    assert classes[third] > 0 == classes[7 - third]
    assert (30.0 / eighth_s > 104.0) == (emotion == "happy")


def test_means_follow_the_sources():
    speech_of = {tag: SPEECH.mean(tag) for tag in RAVDESS}
    music_of = {tag: MUSIC.mean(tag) for tag in AUDIOSET_MOOD}
    # Juslin & Laukka 2003: fear high and narrow, anger loud and bright; surprise ends in a rise.
    assert speech_of["fearful"]["pitch"] > 0.5 > 0 > speech_of["fearful"]["range"]
    assert max(RAVDESS, key=lambda tag: speech_of[tag]["level"]) == "angry"
    assert max(RAVDESS, key=lambda tag: speech_of[tag]["contour"]) == "surprised"
    assert min(RAVDESS, key=lambda tag: speech_of[tag]["level"]) == "sad"
    # Gabrielsson & Lindström 2010: major for happy and tender, minor for sad, angry and scary.
    assert {tag for tag in AUDIOSET_MOOD if music_of[tag]["mode"] < 0} == {"sad", "angry", "scary"}
    assert max(AUDIOSET_MOOD, key=lambda tag: music_of[tag]["staccato"]) == "funny"
    assert VALENCE_AROUSAL["neutral"] == (0.5, 0.5)
    assert {cue for cue, mean in speech_of["neutral"].items() if mean} == {"range"}


@pytest.mark.parametrize(
    ("colour", "db_per_octave"), [("white", 0), ("pink", -3), ("brown", -6), ("blue", 3), ("violet", 6)]
)
def test_noise_has_the_slope_of_its_colour_and_a_level_in_range(colour, db_per_octave):
    wave = music.noise(colour, sample_rate=44_100, channels=2, seed=0, item_id="n")
    low, high = music.NOISE_DB
    assert low <= level_db(wave, 44_100) <= high
    hz, power = welch(wave[:, 0], 44_100, nperseg=4096)
    band = (hz > 200) & (hz < 12_000)
    slope = np.polyfit(np.log2(hz[band]), 10 * np.log10(power[band]), 1)[0]
    assert slope == pytest.approx(db_per_octave, abs=0.3)
    assert abs(np.corrcoef(wave.T)[0, 1]) < 0.1  # the channels are independent


def test_written_noise_keeps_its_colours(corpus, audio):
    found = {}
    for row in of(corpus[1], "music"):
        if row["emotion"] == "noise":
            wave, sample_rate = audio[row["item_id"]]
            hz, power = welch(wave[:, 0], sample_rate, nperseg=2048)
            band = (hz > 200) & (hz < 6000)
            colour = row["item_id"].split("-")[-2]
            found[colour] = np.polyfit(np.log2(hz[band]), 10 * np.log10(power[band]), 1)[0]
    assert sorted(found, key=found.get) == ["brown", "pink", "white", "blue", "violet"]


@pytest.mark.parametrize("name", ["voices", "pieces"])
def test_too_few_units_for_three_splits_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=f"{name}=2, expected at least 3"):
        write_corpus(tmp_path, **{name: 2})


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="expected a folder"):
        write_corpus(tmp_path / "taken")
