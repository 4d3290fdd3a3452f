"""Make or read word vectors of the names of emotions, for the structure preserving frameworks."""

import gzip
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.emotions.plane import NO_POINTS, Points, coordinates
from s2m_ray.errors import ConfigError
from s2m_ray.seeds import rng

BUILT_IN = "built-in valence-arousal features, 1"  # raise the number when the vectors change
DIM = 300  # the width of GloVe, so that the tag head has the size of the paper
REACH = 0.4  # over this distance in the plane, which happy and tender have, built-in words lose their likeness
OWN = 0.3  # deviation of the part that belongs to one word alone; the part from the plane has 1
WORDS_SEED = 0
LINE_BYTES = 1 << 20  # no vector is as long; a binary file may have no line end at all


@dataclass(frozen=True)
class Words:
    """Hold one vector for each name."""

    names: tuple[str, ...]
    vectors: Float[ndarray, "words dim"]
    source: str

    def describe(self) -> dict[str, Any]:
        """Describe the vectors for the header of a checkpoint.

        The digest covers the names and numbers that are used, not the whole file that they come from.
        """
        content = hashlib.sha256("\n".join(self.names).encode() + self.vectors.astype("<f4").tobytes())
        return {
            "source": self.source,
            "dim": self.vectors.shape[1],
            "names": list(self.names),
            "content_sha256": content.hexdigest(),
        }


def built_in(names: Iterable[str], own: Points = NO_POINTS) -> Words:
    """Make word vectors from the valence and arousal of emotions alone.

    The vectors are no language model and were not trained on text. They are random Fourier features of the two
    coordinates, whose inner products fall with the distance as ``exp(-distance^2 / (2 * REACH^2))``. Each word also
    has a part of its own, so that two words on the same point differ. They let the structure preserving frameworks
    run without a download. For the figures of the paper, pass its GloVe vectors (``--words``). The header of a
    checkpoint names the source of its vectors.

    Args:
        names: Names of emotions. Repeated names count once.
        own: Points of a user's own labels.

    Raises:
        ManifestError: A name has no coordinates.

    Source: Rahimi & Recht, NeurIPS 2007.

    Example:
        >>> words = built_in(["sad", "happy"])
        >>> words.names, words.vectors.shape
        (('happy', 'sad'), (2, 300))
    """
    ordered = tuple(sorted(set(names)))
    plane = rng(WORDS_SEED, "words", "plane")
    directions, phases = plane.normal(0, 1 / REACH, (2, DIM)), plane.uniform(0, 2 * math.pi, DIM)
    apart = np.stack([rng(WORDS_SEED, "words", name).normal(0, OWN, DIM) for name in ordered])
    shared = math.sqrt(2) * np.cos(coordinates(ordered, own) @ directions + phases)
    return Words(ordered, (shared + apart).astype(np.float32), BUILT_IN)


def read_words(path: Path, names: Iterable[str]) -> Words:
    """Read the vectors of some words from a file in the text format of GloVe, which may be gzipped.

    Each line holds a word and its numbers: ``word 0.1 -0.2 ...``. The file is read line by line, and only until every
    name is found. A first line of two whole numbers, the header of word2vec, is skipped.

    Raises:
        ConfigError: The file cannot be read or has another format, or a name has no vector.

    Example:
        >>> _ = Path("glove.txt").write_text("happy 1 2\\nsad 3 4\\n")
        >>> read_words(Path("glove.txt"), ["sad"]).vectors.tolist()
        [[3.0, 4.0]]
    """
    ordered = tuple(sorted(set(names)))
    vectors: dict[str, Float[ndarray, " dim"]] = {}
    try:
        with _opened(path) as file:
            _scan(path, file, {name.encode(): name for name in ordered}, vectors)
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"words: {path}: cannot be read: {why}") from None
    missing = [name for name in ordered if name not in vectors]
    if missing:
        raise ConfigError(
            f"words: {path}: no vector for {', '.join(missing)} among its words, expected one for each emotion; is "
            "it in GloVe's text format, with words in lower case?"
        )
    return Words(ordered, np.stack([vectors[name] for name in ordered]), path.name)


def _opened(path: Path) -> BufferedIOBase:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _scan(
    path: Path, file: BufferedIOBase, wanted: dict[bytes, str], vectors: dict[str, Float[ndarray, " dim"]]
) -> None:
    """Fill ``vectors``. Every vector must be as long as the vector in the first line."""
    dim = None
    for number, line in enumerate(iter(partial(file.readline, LINE_BYTES), b""), start=1):
        if len(line) == LINE_BYTES:
            raise ConfigError(
                f"words: {path}:{number}: a line of {LINE_BYTES} bytes, expected text with one word per line"
            )
        if dim is None:
            fields = line.split()
            if number == 1 and _is_header(fields):
                continue
            dim = len(fields) - 1
        name = wanted.get(line.partition(b" ")[0].rstrip())
        if name is None or name in vectors:
            continue
        vectors[name] = _vector(path, number, name, line.split()[1:], dim)
        if len(vectors) == len(wanted):
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
