"""A small library of audio files, and the call that makes its manifest."""

from pathlib import Path

from support.tiny_audio import tone, written

from jobs.commands import app
from jobs.commands.entry import TYPER_INTERRUPTED, exit_codes
from s2m_ray.config.corpora import ManifestConfig


def s2m(capsys, *arguments):
    """Exit code, stdout, stderr."""
    try:
        with exit_codes():
            code = app([str(a) for a in arguments], standalone_mode=False)
            if code == TYPER_INTERRUPTED:  # as in main()
                raise KeyboardInterrupt
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    return code or 0, said.out, said.err


def library(root: Path, files: int = 12) -> Path:
    """Files of different lengths in two folders of labels and one without."""
    for number in range(files):
        folder = root / ("train/happy", "test/sad", "other")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03d} é.WAV").write_bytes(written(tone(seconds=0.1 + 0.01 * number), 16000, format="WAV"))
    return root


def config(root, out, **values):
    return ManifestConfig(corpus="folder", root=root, out=out, modality="music", **values)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
