"""Every framework and modality as a whole training: seeds stay independent, it learns, and it resumes bit for bit."""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.toy_stores import four, toy, training_data
from test_fit import assert_same_weights, history

from s2m_ray.config.training import FUSED, FitConfig, LossConfig, ModelConfig, ParityConfig
from s2m_ray.emotions.words import Words
from s2m_ray.errors import StoreError
from s2m_ray.evaluation.metrics import precision_at_k
from s2m_ray.joint.checkpoint import Fit
from s2m_ray.joint.heads import JointModel, is_shared
from s2m_ray.joint.training import epochs
from s2m_ray.joint.training.epochs import Method
from s2m_ray.joint.training.fit import Training
from s2m_ray.joint.training.side_by_side import EarlyStop
from s2m_ray.joint.training.snapshot import Keeper, Snapshot, read_snapshots
from s2m_ray.search.order import rank
from s2m_ray.stores.store import Part, Store

SHORT = FitConfig(
    batch_size=16, epochs=8, warmup_epochs=2, lr=1e-2, min_lr=1e-9, weight_decay=0.01, patience=8, valid_triplets=64
)
FRAMEWORKS = ("triplet", "triplet_sp", "triplet_soft", "triplet_sp_soft")
MODALITIES = ("audio", *FUSED)
SEEDS = (0, 1, 2)
WORDS = Words(("angry", "happy", "sad"), np.random.default_rng(8).normal(size=(3, 16)).astype(np.float32), "test")


pytestmark = pytest.mark.usefixtures("one_thread")


def with_words(speech: Store) -> Store:
    """Speech whose words (8 numbers) know the emotion too, behind its audio (8 numbers)."""
    words = toy("speech", speech.column("split")[0] + "-words", len(speech.vectors))
    parts = (Part("a", "audio", 8), Part("t", "text", 8))
    return replace(speech, vectors=np.concatenate([speech.vectors, words.vectors], axis=1), parts=parts)


def stores(modality: str) -> tuple[Store, Store, Store, Store]:
    speech, music, valid_speech, valid_music = four()
    if modality in FUSED:
        speech, valid_speech = with_words(speech), with_words(valid_speech)
    return speech, music, valid_speech, valid_music


def prepared(
    seeds: tuple[int, ...] = SEEDS,
    framework: Any = "triplet_sp_soft",
    modality: Any = "audio",
    optimisation: FitConfig = SHORT,
    *,
    given: Any = None,
    loss: LossConfig | None = None,
    resume: Snapshot | None = None,
    **rest: Any,
) -> Training:
    loss = loss or LossConfig(framework=framework, margin=0.4, emo_lambda=1.0)
    data = training_data(given or stores(modality), WORDS)
    return Training(data, Method(ModelConfig(dim=16), loss, optimisation, modality, **rest), seeds, resume=resume)


def run(*args: Any, **options: Any) -> Fit:
    return prepared(*args, **options).run()


def weights(result: Fit, seed: int) -> dict[str, torch.Tensor]:
    place = result.seeds.index(seed)
    return {name: v if is_shared(name) else v[place] for name, v in result.model.state_dict().items()}


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_seeds_at_once_are_the_seeds_alone_bit_for_bit(framework: str, modality: str) -> None:
    together = run(SEEDS, framework, modality)
    for seed in SEEDS[1:]:
        alone = run((seed,), framework, modality)
        assert_same_weights(weights(together, seed), weights(alone, seed))
        assert history(together, seed) == alone.history


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_settings_at_once_are_the_settings_alone_bit_for_bit(framework: Any) -> None:
    """Two seeds of three settings, of noise: they stop in different epochs, and what stopped is taken out."""
    noise, patient = four(informative=False), replace(SHORT, epochs=12, patience=2)
    settings = [
        (LossConfig(framework=framework, margin=margin, emo_lambda=emo_lambda), replace(patient, lr=lr))
        for margin, emo_lambda, lr in ((0.2, 1.0, 1e-2), (0.4, 0.5, 1e-2), (0.4, 2.0, 3e-3))
    ]
    seeds, variants = (0, 1) * 3, tuple(one for one in settings for _ in range(2))
    training = prepared(seeds, given=noise, loss=settings[0][0], optimisation=patient, variants=variants)
    together = training.run()
    lengths = set()
    for place, (seed, (loss, optimisation)) in enumerate(zip(seeds, variants, strict=True)):
        alone = run((seed,), given=noise, loss=loss, optimisation=optimisation)
        state = {n: v if is_shared(n) else v[place] for n, v in together.model.state_dict().items()}
        assert_same_weights(state, weights(alone, seed))
        own = training.fitted([place]).history
        assert alone.history == own
        assert together.best_epoch[place] == alone.best_epoch[0]
        lengths.add(len(own))
    assert len(lengths) > 1


def test_losses_of_many_valid_batches_do_not_depend_on_the_seeds_beside() -> None:
    """Sums over many batches round by the layout, if they are left to torch: 128 batches showed it, 4 did not."""
    many = replace(SHORT, batch_size=8, valid_triplets=1024)
    together = run(SEEDS, optimisation=many)
    for seed in SEEDS:
        assert history(together, seed) == run((seed,), optimisation=many).history


def test_how_many_batches_are_handled_at_once_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    many = replace(SHORT, batch_size=8, valid_triplets=256)
    at_once = run((0, 1), "triplet_sp_soft", optimisation=many)
    monkeypatch.setattr("s2m_ray.joint.training.epochs.CELLS", 2 * 8**2)  # one batch of each seed
    one_by_one = run((0, 1), "triplet_sp_soft", optimisation=many)
    assert at_once.history == one_by_one.history


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("framework", ["triplet_sp", "triplet_sp_soft"])
def test_separable_clusters_are_learnt(framework: str, modality: str) -> None:
    longer = replace(SHORT, epochs=20, patience=20)
    result = run((0, 1), framework, modality, longer)
    queries, gallery = toy("speech", "test", 60), toy("music", "test", 30)
    if modality in FUSED:
        queries = with_words(queries)
    found = precision(result, queries.vectors, queries, gallery)
    assert found.min() > 0.9  # a third by chance
    words = result.model.project("tag", WORDS.vectors)
    for place in range(2):  # and the words lie by the music of their emotion
        music = result.model.project("music", gallery.vectors)[place]
        nearest = [gallery.column("emotion")[i] for i in (words[place] @ music.T).argmax(axis=1)]
        assert nearest == list(WORDS.names)


def precision(result: Fit, vectors: np.ndarray, queries: Store, gallery: Store) -> np.ndarray:
    wanted, there = np.array(queries.column("emotion")), np.array(gallery.column("emotion"))
    speech, music = result.model.project("speech", vectors), result.model.project("music", gallery.vectors)
    orders = [rank(speech[s], music[s], gallery.column("item_id"))[0] for s in range(len(result.seeds))]
    return np.array([precision_at_k(there[order] == wanted[:, None], 5).mean() for order in orders])


def test_masking_fusion_serves_speech_that_lacks_a_half() -> None:
    result = run((0, 1), "triplet", "masking_fusion", replace(SHORT, epochs=20, patience=20))
    queries, gallery = with_words(toy("speech", "test", 60)), toy("music", "test", 30)
    for missing in (slice(0, 8), slice(8, 16)):
        vectors = queries.vectors.copy()
        vectors[:, missing] = np.nan
        found = precision(result, vectors, queries, gallery)
        assert found.mean() > 0.8  # a third by chance
        assert found.min() > 0.6


def test_the_modalities_are_different_models_and_masking_draws_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    early, late, masking = (run((0,), "triplet", modality) for modality in FUSED)
    assert early.model.speech.linear1.shape == (1, 16, 16)
    assert late.model.speech.text.linear2.shape == (1, 8, 8)
    assert late.history != masking.history
    always_both = torch.ones(2, 1, 1, 2)  # as late fusion is: 40 items are 2 batches
    monkeypatch.setattr(epochs, "draw_shown", lambda *_: always_both)
    assert run((0,), "triplet", "masking_fusion").history == late.history


def test_late_fusion_of_vectors_in_one_piece_is_refused() -> None:
    with pytest.raises(StoreError, match="speech: vectors of 0 parts, expected audio and words for late_fusion"):
        run(given=stores("audio"), modality="late_fusion")


def test_built_in_words_stand_in_where_none_are_given() -> None:
    method = Method(ModelConfig(dim=8), LossConfig(framework="triplet_sp"), replace(SHORT, epochs=2, warmup_epochs=1))
    result = Training(training_data(), method, (0,)).run()
    assert result.model.words.shape == (3, 300)


@pytest.mark.parametrize("quirk", [f.name for f in fields(ParityConfig)])
def test_each_quirk_is_off_and_changes_something_when_it_is_on(quirk: str) -> None:
    given = list(stores("audio"))
    if quirk == "label_coordinates":  # only where items have coordinates of their own
        items = given[0].items.append_column("valence", [[0.3] * 40]).append_column("arousal", [[0.4] * 40])
        given[0] = replace(given[0], items=items)
    longer = replace(SHORT, epochs=12, patience=3)
    if quirk == "cumulative_patience":
        given = list(four(informative=False))
    plain, quirky = (run(given=given, optimisation=longer, parity=parity) for parity in (ParityConfig(), on(quirk)))
    assert plain.history == run(given=given, optimisation=longer).history
    if quirk == "valid_on_test_music":
        assert plain.history == quirky.history  # the job's affair: it chooses the stores
    else:
        assert plain.history != quirky.history


def on(*quirks: str) -> ParityConfig:
    return ParityConfig(**dict.fromkeys(quirks, True))


def test_all_quirks_together_keep_the_seeds_independent() -> None:
    every = on(*(f.name for f in fields(ParityConfig)))
    together = run(SEEDS, parity=every)
    alone = run((2,), parity=every)
    assert_same_weights(weights(together, 2), weights(alone, 2))
    assert history(together, 2) == alone.history


def test_raw_input_and_label_coordinates_do_what_they_say() -> None:
    assert not run((0,), parity=on("raw_input")).model.speech.input_mean.any()
    assert run((0,)).model.speech.input_mean.any()
    given = list(stores("audio"))
    plain = run((0,), given=given)
    items = given[0].items.append_column("valence", [[0.3] * 40]).append_column("arousal", [[0.4] * 40])
    given[0] = replace(given[0], items=items)
    assert run((0,), given=given, parity=on("label_coordinates")).history == plain.history


def test_random_validation_draws_other_triplets_in_each_epoch() -> None:
    frozen = replace(SHORT, lr=1e-30, min_lr=1e-30, epochs=4, warmup_epochs=0)
    loss = LossConfig(framework="triplet")

    def curve(*quirks: str) -> list[float]:
        # running statistics of the norms still move: the batches are seen, only the weights stand still
        result = run((0,), optimisation=frozen, loss=loss, parity=on(*quirks))
        return [row["valid_loss"] for row in result.history]

    fixed, random = curve(), curve("random_validation")
    assert np.std(random) > 2 * np.std(fixed)


def stopping_by_hand(losses: list[float], patience: int) -> tuple[int, int]:
    """Q7: best epoch and number of epochs, if the epochs without a better loss are counted in total."""
    best, best_epoch, worse = math.inf, 0, 0
    for epoch, loss in enumerate(losses):
        if loss < best:
            best, best_epoch = loss, epoch
        else:
            worse += 1
        if worse == patience:
            return best_epoch, epoch + 1
    return best_epoch, len(losses)


def test_cumulative_patience_counts_in_total_and_inside_the_warm_up() -> None:
    losses = np.random.default_rng(3).normal(size=(2, 30)) - np.arange(30) / 8  # better and worse in turn
    net = JointModel((0, 1), 4, 4, 4)
    stop = EarlyStop(net, 2, patience=4, warmup_epochs=20, cumulative=True)
    lengths = [0, 0]
    for epoch in range(30):
        for place, running in enumerate(stop.running):
            lengths[place] += running
        if stop.after(epoch, torch.tensor(losses[:, epoch])):
            break
    for place in range(2):
        expected = stopping_by_hand(losses[place].tolist(), 4)
        assert (stop.best_epoch[place], lengths[place]) == expected
        assert expected[1] < 20


def run_with_snapshots(training: Training, folder: Path, epochs: int) -> None:
    """Train until so many epochs have left a snapshot."""
    keeper = Keeper(folder, every_s=0)
    for epoch in training.epochs():
        if epoch.number == epochs:
            return
        if not epoch.is_last:
            keeper.write(training.snapshot())


@pytest.mark.parametrize("modality", ["audio", "masking_fusion"])
@pytest.mark.parametrize("parity", [ParityConfig(), on(*(f.name for f in fields(ParityConfig)))])
def test_training_that_was_stopped_goes_on_as_if_nothing_had_been(
    tmp_path: Path, modality: str, parity: ParityConfig
) -> None:
    noise = list(four(informative=False))  # so that seeds stop early, each by its own patience
    if modality in FUSED:
        noise[0], noise[2] = with_words(noise[0]), with_words(noise[2])
    optimisation = replace(SHORT, epochs=14, patience=4)
    options = {"modality": modality, "given": noise, "optimisation": optimisation, "parity": parity}
    whole = run(SEEDS, **options)
    length = max(row["epoch"] for row in whole.history) + 1
    for stop_at in range(1, int(length)):
        folder = tmp_path / f"{stop_at}"
        run_with_snapshots(prepared(SEEDS, **options), folder, stop_at)
        # another grouping than the one that was killed: each seed goes on, alone or beside others
        groups = [SEEDS] if stop_at % 2 else [SEEDS[1:], SEEDS[:1]]
        for group in groups:
            (snapshot,), fresh = read_snapshots(folder, group)
            assert (snapshot.epoch, fresh) == (stop_at - 1, ())
            result = run(snapshot.seeds, resume=snapshot, **options)
            for place, seed in enumerate(group):
                assert_same_weights(weights(result, seed), weights(whole, seed))
                assert history(result, seed) == history(whole, seed)
                assert result.best_epoch[place] == whole.best_epoch[SEEDS.index(seed)]


def test_a_snapshot_of_seeds_that_have_all_stopped_is_only_finished(tmp_path: Path) -> None:
    """Those of a worker that trained others beside them."""
    noise = four(informative=False)
    optimisation = replace(SHORT, epochs=30, patience=2)
    training = prepared(SEEDS, given=noise, optimisation=optimisation)
    run_with_snapshots(training, tmp_path, optimisation.epochs)
    whole = training.fitted()
    last = {seed: history(whole, seed)[-1]["epoch"] for seed in SEEDS}
    first = min(SEEDS, key=last.__getitem__)
    assert last[first] + 1 < max(last.values())  # it stood still while another went on
    (snapshot,), _ = read_snapshots(tmp_path, (first,))
    result = run((first,), given=noise, optimisation=optimisation, resume=snapshot)
    assert_same_weights(weights(result, first), weights(whole, first))
    assert result.history == history(whole, first)
