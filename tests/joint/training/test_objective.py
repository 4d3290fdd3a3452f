"""The loss of a batch in every framework against nested loops, written from the definitions."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from support.toy_stores import rows, store

from s2m_ray.config.training import LossConfig
from s2m_ray.emotions.maps import max_map
from s2m_ray.emotions.plane import VALENCE_AROUSAL
from s2m_ray.joint.training.draws import Draws
from s2m_ray.joint.training.objective import Joint, batch_loss, look_up
from s2m_ray.joint.training.tensors import Pairs, pairs

SPEECH = ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
MUSIC = ("happy", "sad", "exciting", "angry", "noise")
MAP = max_map(SPEECH, MUSIC)
WORDS = tuple(sorted({*SPEECH, *MUSIC}))
FRAMEWORKS = ("triplet", "triplet_sp", "triplet_soft", "triplet_sp_soft")


def both_sides() -> Pairs:
    """24 speech items of eight emotions, 15 music items of five; vectors are not looked at."""
    speech = store(rows("speech", "train", 24, emotions=SPEECH), np.zeros((24, 2)))
    music = store(rows("music", "train", 15, emotions=MUSIC), np.zeros((15, 2)))
    return pairs(speech, music, MAP, MUSIC, words=WORDS)


DATA = both_sides()


def drawn(seed: int, seeds: int, batch: int) -> tuple[Draws, list[np.ndarray]]:
    """Draws of a batch, and joint vectors of speech, music, speech words and music words."""
    random = np.random.default_rng(seed)
    speech = random.integers(24, size=(seeds, batch))
    tags = np.vectorize(lambda item: MUSIC.index(MAP[SPEECH[item % 8]]))(speech)
    music = tags + 5 * random.integers(3, size=tags.shape)  # an item of the mapped emotion
    uniform = torch.from_numpy(random.random((3, seeds, batch), dtype=np.float32))
    member = torch.from_numpy(random.random((seeds, batch), dtype=np.float32))
    vectors = [random.normal(size=(seeds, batch, 6)) for _ in range(4)]
    return Draws(torch.from_numpy(speech), torch.from_numpy(music), uniform, member), vectors


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))


def looped_triplet(anchors: Any, positives: Any, labels: list[str], uniform: Any, margin: float) -> float:
    """C3 and C4 of the sheet: a negative by weight (cos + 1) / 2 among the other labels, then the hinge."""
    total = 0.0
    for i, anchor in enumerate(anchors):
        weights = [
            (cosine(anchor, p) + 1) / 2 if label != labels[i] else 0.0
            for p, label in zip(positives, labels, strict=True)
        ]
        running = 0.0
        for j, weight in enumerate(weights):
            running += weight
            if running > uniform[i] * sum(weights):
                total += max(0.0, margin - cosine(anchor, positives[i]) + cosine(anchor, positives[j]))
                break
    return total / len(anchors)


def looped_soft(speech: Any, music: Any, speech_tags: list[str], columns: list[list[int]], ranked: bool) -> float:
    """Mean over rows and columns of the squared difference, of values or of descending ranks."""
    squares = []
    for i, chosen in enumerate(columns):
        found = [cosine(speech[i], music[j][0]) for j in chosen]
        wanted = [1 - math.dist(VALENCE_AROUSAL[speech_tags[i]], VALENCE_AROUSAL[music[j][1]]) for j in chosen]
        if ranked:
            found, wanted = (
                [(1 + sum(other > value for other in row)) / len(row) for value in row] for row in (found, wanted)
            )
        squares += [(f - w) ** 2 for f, w in zip(found, wanted, strict=True)]
    return sum(squares) / len(squares)


def looped(draws: Draws, vectors: list[np.ndarray], place: int, loss: LossConfig, first_match: bool) -> float:
    speech, music, speech_word, music_word = (v[place] for v in vectors)
    speech_tags = [SPEECH[item % 8] for item in draws.speech[place].tolist()]
    music_tags = [MUSIC[item % 5] for item in draws.music[place].tolist()]
    uniform = draws.negative[:, place].tolist()
    labels = music_tags if loss.negatives == "music_label" else speech_tags
    value = looped_triplet(speech, music, labels, uniform[0], loss.margin)
    if "sp" in loss.framework:
        to_speech = looped_triplet(speech_word, speech, speech_tags, uniform[1], loss.margin)
        to_music = looped_triplet(music_word, music, music_tags, uniform[2], loss.margin)
        value = 0.4 * value + 0.3 * to_speech + 0.3 * to_music
    if "soft" in loss.framework:
        batch = range(len(speech))
        if first_match:  # the first item of each emotion; no two emotions here are equally far from any other
            members = [min(j for j in batch if music_tags[j] == tag) for tag in sorted(set(music_tags))]
        else:
            member = draws.member[place].tolist()
            members = [
                max((j for j in batch if music_tags[j] == tag), key=member.__getitem__)
                for tag in sorted(set(music_tags))
            ]
        value += loss.emo_lambda * looped_soft(
            speech,
            list(zip(music, music_tags, strict=True)),
            speech_tags,
            [members for _ in batch],
            loss.regulariser == "ranksim",
        )
    return value


def computed(draws: Draws, vectors: list[np.ndarray], loss: LossConfig, *, first_match: bool = False) -> torch.Tensor:
    given_vectors = [torch.from_numpy(v.astype(np.float32)) for v in vectors[: 4 if loss.has_tags else 2]]
    ways = Draws(draws.speech, draws.music, draws.negative[: 3 if loss.has_tags else 1], draws.member)
    return batch_loss(Joint(*given_vectors), look_up(DATA, ways, loss, first_match=first_match), loss)


def test_no_two_music_emotions_are_equally_far_from_a_speech_emotion() -> None:
    """Else the loop below would have to collapse them."""
    for tag in SPEECH:
        far = [math.dist(VALENCE_AROUSAL[tag], VALENCE_AROUSAL[other]) for other in MUSIC]
        assert len(set(far)) == len(far)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("negatives", ["speech_label", "music_label"])
@pytest.mark.parametrize(("regulariser", "first_match"), [("emosim", False), ("emosim", True), ("ranksim", False)])
@given(
    seed=st.integers(0, 2**20), seeds=st.integers(1, 2), batch=st.integers(2, 9), margin=st.sampled_from([0.2, 0.4])
)
@settings(max_examples=15, deadline=None)
def test_every_framework_is_the_loop(
    framework: Any,
    negatives: Any,
    regulariser: Any,
    first_match: bool,
    seed: int,
    seeds: int,
    batch: int,
    margin: float,
) -> None:
    loss = LossConfig(
        framework=framework, negatives=negatives, regulariser=regulariser, margin=margin, emo_lambda=0.7
    )
    draws, vectors = drawn(seed, seeds, batch)
    found = computed(draws, vectors, loss, first_match=first_match)
    for place in range(seeds):
        expected = looped(draws, vectors, place, loss, first_match)
        assert found[place].item() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("way", "anchors", "positives", "weight", "allowed"),
    [
        ("speech to music", 0, 1, 0.4, [1, 2, 3]),  # speech labels: all others, even those of the same music label
        ("tag to speech", 2, 0, 0.3, [1, 2, 3]),
        ("tag to music", 3, 1, 0.3, [2, 3]),  # music labels: row 1 has that of row 0
    ],
)
def test_negatives_of_each_way_are_drawn_by_their_weights_among_the_labels_of_the_sheet(
    way: str, anchors: int, positives: int, weight: float, allowed: list[int]
) -> None:
    """Positives are the axes; all anchors lie on their own, but for row 0's, whose hinge tells what was drawn."""
    n = 30_000
    speech_tags, music_tags = ["calm", "neutral", "angry", "disgust"], ["noise", "noise", "angry", "angry"]
    draws = Draws(
        torch.tensor([SPEECH.index(tag) for tag in speech_tags]).expand(n, 4),
        torch.tensor([MUSIC.index(tag) for tag in music_tags]).expand(n, 4),
        torch.rand(3, n, 4, generator=torch.Generator().manual_seed(0)),
        torch.zeros(n, 4),
    )
    towards = torch.tensor([0.1, 0.5, 0.3, 0.8])
    towards = towards / towards.norm()
    vectors = [torch.eye(4).expand(n, 4, 4) for _ in range(4)]
    vectors[anchors] = torch.eye(4).index_copy(0, torch.tensor([0]), towards[None]).expand(n, 4, 4)
    if anchors == 0:  # speech is the positive of tag -> speech too: let its tags lie where the speech lies
        vectors[2] = vectors[0]
    assert positives != anchors
    sp = LossConfig(framework="triplet_sp", margin=0.1)
    loss = batch_loss(Joint(*vectors), look_up(DATA, draws, sp), sp)
    hinge = loss * 4 / weight - 0.1 + towards[0]  # the cosine with the negative
    drawn_column = (hinge[:, None] - towards).abs().argmin(dim=1)
    assert (hinge - towards[drawn_column]).abs().max() < 1e-5
    counts = np.bincount(drawn_column.numpy(), minlength=4)
    chances = (towards[allowed].numpy() + 1) / 2
    assert counts[allowed].sum() == n
    assert chisquare(counts[allowed], chances / chances.sum() * n).pvalue > 1e-4


@pytest.mark.parametrize("framework", ["triplet_sp", "triplet_sp_soft"])
def test_gradients_reach_every_head(framework: Any) -> None:
    draws, vectors = drawn(3, 1, 8)
    leaves = [torch.from_numpy(v.astype(np.float32)).requires_grad_() for v in vectors]
    loss = LossConfig(framework=framework)
    batch_loss(Joint(*leaves), look_up(DATA, draws, loss), loss).sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.abs().sum() > 0
