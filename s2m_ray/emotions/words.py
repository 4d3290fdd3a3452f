"""Word vectors of the emotions' names, for the structure preserving frameworks."""

import gzip
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.emotions.plane import NO_POINTS, Points, coordinates
from s2m_ray.errors import ConfigError, ManifestError
from s2m_ray.files.place import Place, Remote
from s2m_ray.seeds import rng

BUILT_IN = "built-in valence-arousal features, 1"  # the number changes with the vectors
DIM = 300  # that of GloVe, so that the tag head has the size of the paper's
REACH = 0.4  # valence-arousal distance over which built-in words lose their likeness: that of happy and tender
OWN = 0.3  # deviation of what a built-in word has for itself, beside 1 of what its place in the plane gives it
WORDS_SEED = 0
LINE_BYTES = 1 << 20  # far above any vector's; a binary file may have no line at all


@dataclass(frozen=True)
class Words:
    """A vector for each name."""

    names: tuple[str, ...]
    vectors: Float[ndarray, "words dim"]
    source: str

    def describe(self) -> dict[str, Any]:
        """What a checkpoint's header says of them; the digest is of names and numbers, not of the whole file."""
        content = hashlib.sha256("\n".join(self.names).encode() + self.vectors.astype("<f4").tobytes())
        return {
            "source": self.source,
            "dim": self.vectors.shape[1],
            "names": list(self.names),
            "content_sha256": content.hexdigest(),
        }


def built_in(names: Iterable[str], own: Points = NO_POINTS) -> Words:
    """Vectors that know an emotion's valence and arousal and nothing else of language.

    Not a language model and not trained on any text: random Fourier features of the two coordinates, whose inner
    products fall with the distance as ``exp(-distance^2 / (2 * REACH^2))``, and a part of each word's own, so that
    two words of one place differ. They make the structure preserving frameworks run without a download; for the
    figures of the paper give its GloVe vectors (``--words``). The checkpoint names them as their ``source``.

    Args:
        own: Of users' own labels.

    Raises:
        ManifestError: a name has no coordinates.

    Source: Rahimi & Recht, NeurIPS 2007.
    """
    ordered = tuple(sorted(set(names)))
    plane = rng(WORDS_SEED, "words", "plane")
    directions, phases = plane.normal(0, 1 / REACH, (2, DIM)), plane.uniform(0, 2 * math.pi, DIM)
    apart = np.stack([rng(WORDS_SEED, "words", name).normal(0, OWN, DIM) for name in ordered])
    shared = math.sqrt(2) * np.cos(coordinates(ordered, own) @ directions + phases)
    return Words(ordered, (shared + apart).astype(np.float32), BUILT_IN)


def read_words(path: Path, names: Iterable[str]) -> Words:
    """The vectors of ``names`` from a file in GloVe's text format (``word 0.1 -0.2 ...`` a line), also gzipped.

    The file is read line by line and only until every name is found; a first line of two whole numbers (word2vec's
    header) is skipped.

    Raises:
        ConfigError: the file cannot be read or is of another format, or a name has no vector.
    """
    ordered = tuple(sorted(set(names)))
    found: dict[str, Float[ndarray, " dim"]] = {}
    try:
        with _opened(path) as file:
            _scan(path, file, {name.encode(): name for name in ordered}, found)
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"words: {path}: cannot be read: {why}") from None
    missing = [name for name in ordered if name not in found]
    if missing:
        raise ConfigError(
            f"words: {path}: no vector for {', '.join(missing)} among its words, expected one for each emotion; is "
            "it in GloVe's text format, with words in lower case?"
        )
    return Words(ordered, np.stack([found[name] for name in ordered]), path.name)


def _opened(path: Path) -> BufferedIOBase:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _scan(
    path: Path, file: BufferedIOBase, wanted: dict[bytes, str], found: dict[str, Float[ndarray, " dim"]]
) -> None:
    """Fill ``found``; the vectors all have the length of the first line's."""
    dim = None
    for number, line in enumerate(iter(partial(file.readline, LINE_BYTES), b""), start=1):
        if len(line) == LINE_BYTES:
            raise ConfigError(f"words: {path}:{number}: a line of {LINE_BYTES} bytes, expected text: a word a line")
        if dim is None:
            fields = line.split()
            if number == 1 and _is_header(fields):
                continue
            dim = len(fields) - 1
        name = wanted.get(line.partition(b" ")[0].rstrip())
        if name is None or name in found:
            continue
        found[name] = _vector(path, number, name, line.split()[1:], dim)
        if len(found) == len(wanted):
            return


def _is_header(fields: Sequence[bytes]) -> bool:
    return len(fields) == 2 and all(part.isdigit() for part in fields)


def _vector(path: Path, number: int, name: str, fields: Sequence[bytes], dim: int) -> Float[ndarray, " dim"]:
    if len(fields) != dim:
        raise ConfigError(
            f"words: {path}:{number}: '{name}' has {len(fields)} numbers, expected {dim} as in the first line; is "
            "the file cut off?"
        )
    try:
        vector = np.array(fields, dtype=np.float32)
    except ValueError as error:
        raise ConfigError(f"words: {path}:{number}: '{name}': {error}, expected numbers") from None
    if dim == 0 or not np.isfinite(vector).all():
        raise ConfigError(f"words: {path}:{number}: '{name}' has no finite numbers, expected a vector")
    return vector


def read_word_vectors(path: Place, words: Iterable[str]) -> dict[str, Float[ndarray, " dim"]]:
    """Vectors of some words from a text file in GloVe's or word2vec's form: ``word number number ...`` a line.

    Raises:
        ManifestError: no such file, a word is not in it, or a line of one is not numbers.
    """
    wanted, found = set(words), {}
    try:
        with StringIO(path.read_text()) if isinstance(path, Remote) else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                word, _, numbers = line.rstrip("\n").partition(" ")
                if word in wanted and word not in found:
                    try:
                        found[word] = np.array([float(value) for value in numbers.split()])
                    except ValueError:
                        raise ManifestError(f"{path}:{number}: '{word}' is not followed by numbers") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    if missing := sorted(wanted - set(found)):
        raise ManifestError(f"{path}: no vector of '{missing[0]}' ({len(missing)} words are missing)")
    return found
