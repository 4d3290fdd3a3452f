"""Write the embedded corpus: audio files in several formats and the manifest rows that describe them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.corpora.synth import music, speech
from s2m_ray.emotions.plane import AUDIOSET_MOOD, RAVDESS
from s2m_ray.errors import ConfigError

VOICES = 12
PIECES = 30  # each is performed once in every mood: 240 clips
PEAK = 0.95  # a louder item is turned down as a whole; measured: none of seeds 0, 1, 2, highest 0.94


class Format(NamedTuple):
    """The container, sample rate in Hz and number of channels of a file."""

    suffix: str
    sample_rate: int
    channels: int


# Ten slots. One mp3 in ten: it takes 20 times as long to write as wav (measured with libsndfile 1.2.2).
SPEECH_FORMATS = (
    Format("wav", 16_000, 1),
    Format("flac", 48_000, 1),
    Format("ogg", 22_050, 1),
    Format("wav", 44_100, 1),
    Format("flac", 16_000, 1),
    Format("mp3", 24_000, 1),
    Format("wav", 16_000, 1),
    Format("flac", 48_000, 1),
    Format("ogg", 44_100, 1),
    Format("wav", 44_100, 1),
)
MUSIC_FORMATS = (
    Format("wav", 16_000, 1),
    Format("flac", 48_000, 2),
    Format("ogg", 22_050, 1),
    Format("wav", 44_100, 1),
    Format("mp3", 44_100, 1),
    Format("wav", 44_100, 2),
    Format("flac", 48_000, 1),
    Format("ogg", 44_100, 1),
    Format("wav", 16_000, 1),
    Format("flac", 24_000, 2),
)


class Item(NamedTuple):
    """A file still to be written: its row without text and duration, and the function that renders its waveform."""

    row: dict[str, Any]
    form: Format
    render: Callable[[], tuple[Float[ndarray, "samples channels"], int, str | None]]


def split_of(index: int, count: int) -> str:
    """Return the split of unit ``index`` when ``count`` units are cut 60 / 20 / 20 in their order.

    Example:
        >>> [split_of(index, 5) for index in range(5)]
        ['train', 'train', 'train', 'valid', 'test']
    """
    train = int(0.6 * count)
    valid = (count - train) // 2
    return "train" if index < train else "valid" if index < train + valid else "test"


def format_of(formats: tuple[Format, ...], unit: int, tag: int) -> Format:
    """Return the format of an item by a Latin square.

    Over ten units each emotion meets every format slot once, so the format tells nothing about the emotion.
    """
    return formats[(unit + tag) % len(formats)]


def row_of(name: str, form: Format, *, modality: str, emotion: str, speaker: str, split: str) -> dict[str, Any]:
    """Return a manifest row without the text and duration, which only the rendering knows."""
    return {
        "item_id": f"synth-{modality}-{name}",
        "uri": f"{modality}/{name}.{form.suffix}",
        "modality": modality,
        "corpus": "synth",
        "split": split,
        "emotion": emotion,
        "valence": None,
        "arousal": None,
        "speaker": speaker,
        "text": None,
        "start_s": None,
        "end_s": None,
    }


def render_speech(
    voice: speech.Voice, *, emotion: str, seed: int, item_id: str
) -> tuple[Float[ndarray, "samples channels"], int, str | None]:
    """Return an utterance's waveform, its sample rate in Hz and its transcript."""
    wave, text = speech.utterance(voice, emotion, seed=seed, item_id=item_id)
    return wave[:, None], speech.SAMPLE_RATE, text


def render_music(
    piece: music.Piece, *, emotion: str, colour: str, form: Format, seed: int, item_id: str
) -> tuple[Float[ndarray, "samples channels"], int, str | None]:
    """Return a clip's waveform and its sample rate in Hz, and None for the transcript.

    Noise is made at the file's own rate, so that it fills the whole band.
    """
    if emotion == "noise":
        wave = music.noise(colour, sample_rate=form.sample_rate, channels=form.channels, seed=seed, item_id=item_id)
        return wave, form.sample_rate, None
    return (
        music.clip(piece, emotion, channels=form.channels, seed=seed, item_id=item_id),
        music.SAMPLE_RATE,
        None,
    )


def speech_items(*, voices: int, seed: int) -> Iterator[Item]:
    """Yield three utterances for each voice and emotion, and four for every third voice."""
    takes = [(voice, take) for voice in range(voices) for take in range(4 if voice % 3 == 0 else 3)]
    for unit, (index, take) in enumerate(takes):
        voice_id = f"voice-{index + 1:02d}"
        voice = speech.draw_voice(index, seed=seed, voice_id=voice_id)
        for tag, emotion in enumerate(RAVDESS):
            form = format_of(SPEECH_FORMATS, unit, tag)
            row = row_of(
                f"{voice_id}-{emotion}-{take + 1}",
                form,
                modality="speech",
                emotion=emotion,
                speaker=voice_id,
                split=split_of(index, voices),
            )
            yield Item(row, form, partial(render_speech, voice, emotion=emotion, seed=seed, item_id=row["item_id"]))


def music_items(*, pieces: int, seed: int) -> Iterator[Item]:
    """Yield one clip for each piece and mood; the colours of noise take turns."""
    colours = tuple(music.COLOURS)
    for index in range(pieces):
        piece_id = f"piece-{index + 1:02d}"
        piece = music.draw_piece(seed=seed, piece_id=piece_id)
        colour = colours[index % len(colours)]
        for tag, emotion in enumerate(AUDIOSET_MOOD):
            form = format_of(MUSIC_FORMATS, index, tag)
            row = row_of(
                f"{piece_id}-{colour}-noise" if emotion == "noise" else f"{piece_id}-{emotion}",
                form,
                modality="music",
                emotion=emotion,
                speaker=piece_id,
                split=split_of(index, pieces),
            )
            render = partial(
                render_music,
                piece,
                emotion=emotion,
                colour=colour,
                form=form,
                seed=seed,
                item_id=row["item_id"],
            )
            yield Item(row, form, render)


def write_audio(path: Path, wave: Float[ndarray, "samples channels"], *, sample_rate: int) -> None:
    """Write 16-bit (wav, flac) or compressed audio under a temporary name, then rename the file.

    Equal samples give equal bytes, except for ogg, because libsndfile gives every stream its own serial number.
    """
    partial_path = path.with_name(f".partial-{path.name}")
    soundfile.write(partial_path, wave, sample_rate)
    partial_path.replace(path)


def write_corpus(
    root: Path,
    *,
    seed: int = 0,
    voices: int = VOICES,
    pieces: int = PIECES,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Write audio under ``root/speech`` and ``root/music`` and return the manifest rows of both.

    Args:
        root: Folder, made if missing; files of the same name are replaced.
        seed: Equal seeds give equal samples, whatever the other arguments.
        voices: Speakers, at least 3: a split needs one.
        pieces: Pieces of music, at least 3.
        progress: Called with the items written so far and their number in all.

    Raises:
        ConfigError: too few voices or pieces, or ``root`` is a file.
    """
    for name, count in (("voices", voices), ("pieces", pieces)):
        if count < 3:
            raise ConfigError(f"synth: {name}={count}, expected at least 3, one for each split")
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root}: is a file, expected a folder to write the embedded corpus into")
    for folder in ("speech", "music"):
        (root / folder).mkdir(parents=True, exist_ok=True)

    items = [*speech_items(voices=voices, seed=seed), *music_items(pieces=pieces, seed=seed)]
    rows = []
    for done, item in enumerate(items, start=1):
        wave, sample_rate, text = item.render()
        if sample_rate != item.form.sample_rate:
            wave = soxr.resample(wave, sample_rate, item.form.sample_rate)
        wave = wave * min(1.0, PEAK / float(np.abs(wave).max()))
        write_audio(root / item.row["uri"], wave, sample_rate=item.form.sample_rate)
        rows.append({**item.row, "text": text, "duration_s": len(wave) / item.form.sample_rate})
        if progress is not None:
            progress(done, len(items))
    return rows
