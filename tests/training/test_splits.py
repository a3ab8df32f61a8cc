from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tomopipe.config.training import HeterogeneousSettings
from tomopipe.dataset.reader import Reader
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.objective import HeterogeneousObjective, concatenated_tilts
from tomopipe.training.schedule import learning_rate
from tomopipe.training.splits import even_tilts, hold_out, numpy_rng, split_tilts


def test_held_out_tilts_are_fixed_per_particle_whatever_the_subset():
    uids, counts = [f"t/{i}" for i in range(50)], np.arange(50) % 30 + 1
    whole = hold_out(uids, counts, 0.1, seed=3)
    part = hold_out(uids[20:30], counts[20:30], 0.1, seed=3)
    for i in range(10):
        np.testing.assert_array_equal(part.held_out[i], whole.held_out[20 + i])
    for n, train, out in zip(counts, whole.training, whole.held_out, strict=True):
        np.testing.assert_array_equal(np.sort(np.concatenate([train, out])), np.arange(n))
        assert len(out) == (0 if n < 4 else max(1, round(0.1 * n)))
    other = hold_out(uids, counts, 0.1, seed=4)
    assert any((a != b).any() for a, b in zip(whole.held_out, other.held_out, strict=True))


@pytest.mark.parametrize("n", [2, 3, 5, 11, 41])
def test_encoded_tilts_are_never_predicted(n):
    tilts = np.arange(n) * 3
    for seed in range(50):
        encode, predict = split_tilts(tilts, 0.5, numpy_rng(seed))
        assert len(encode) and len(predict)
        np.testing.assert_array_equal(np.sort(np.concatenate([encode, predict])), tilts)


@pytest.mark.parametrize("pooling", ["mean", "concatenate"])
def test_objective_keeps_encoded_predicted_and_held_out_tilts_apart(make_store, pooling):
    store = make_store(["body"] * 6, [5, 6, 9, 4, 8, 7], noise=5.0)
    settings = HeterogeneousSettings(
        zdim=2, hidden=16, encoder="tilts", pooling=pooling, encoder_hidden=16
    )
    split = hold_out(list(store.uids), store.images_per_particle, 0.1, 0)
    tilts = concatenated_tilts(settings, split)
    assert tilts == (0 if pooling == "mean" else 1)
    model = HeterogeneousModel(settings, box=16, pixel_size=10.0, scale=1.0, tilts=tilts)
    objective = HeterogeneousObjective(model, Reader(store), split)
    for seed in range(20):
        encode, predict = objective.draw(np.arange(6), [numpy_rng(seed)] * 6)
        for p in range(6):
            assert not set(encode[p]) & set(predict[p])
            assert not (set(encode[p]) | set(predict[p])) & set(split.held_out[p])


def test_reference_predicts_what_it_encodes(make_store):
    store = make_store(["body"] * 3, [5, 6, 9])
    settings = HeterogeneousSettings.reference(zdim=2, hidden=16, encoder_hidden=16, batch=3)
    split = hold_out(list(store.uids), store.images_per_particle, 0.1, 0)
    tilts = concatenated_tilts(settings, split)
    assert tilts == 4
    model = HeterogeneousModel(settings, box=16, pixel_size=10.0, scale=1.0, tilts=tilts)
    objective = HeterogeneousObjective(model, Reader(store), split)
    encode, predict = objective.draw(np.arange(3), [numpy_rng(0)] * 3)
    assert encode is predict
    assert [len(e) for e in encode] == [4, 4, 4]
    terms = objective(objective.prepare(np.arange(3), (0, 1, 0, 0, 0)))
    assert torch.isfinite(terms.error)
    assert objective.beta == pytest.approx(0.5)


def test_a_single_image_is_encoded_and_predicted():
    encode, predict = split_tilts(np.array([0]), 0.5, numpy_rng(0))
    assert encode.tolist() == predict.tolist() == [0]


def test_even_tilts_are_deterministic_and_in_order():
    tilts = np.arange(10) * 2
    assert even_tilts(tilts, 0).tolist() == tilts.tolist()
    assert even_tilts(tilts, 4).tolist() == [0, 6, 12, 18]


def test_draws_depend_on_their_place_only():
    first = numpy_rng(0, 1, 2).random(3)
    np.random.default_rng().random(100)
    assert np.array_equal(first, numpy_rng(0, 1, 2).random(3))
    assert not np.array_equal(first, numpy_rng(0, 2, 1).random(3))


def test_learning_rate_rises_then_falls():
    rates = [learning_rate(s, 100, peak=1e-3, warmup=0.1, schedule="cosine") for s in range(100)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[10] == pytest.approx(1e-3)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] < 2e-5
    assert learning_rate(99, 100, peak=1e-3, warmup=0, schedule="constant") == 1e-3
