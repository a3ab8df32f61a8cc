from __future__ import annotations

import numpy as np
import pytest

from tomopipe.training.stopping import should_stop
from tomopipe.training.verdict import latent_shift, verdict

FALLING = [1 - 0.5 * (1 - 0.9**e) for e in range(8)]
SETTLED = [1 - 0.5 * (1 - 0.4**e) for e in range(14)]


def test_falling_loss_is_not_yet_converged():
    found = verdict(FALLING, [np.nan] + [0.05] * 7)
    assert found.status == "not yet"
    assert "not yet" in found.sentence


def test_settled_loss_and_latents_are_converged_when_both_settled():
    shift = [np.nan, 0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1] + [0.05] * 6
    found = verdict(SETTLED, shift)
    assert found.status == "converged"
    assert found.epoch == 8  # the loss settled before, the latents here
    assert found.shift_last == pytest.approx(0.05)


def test_moving_latents_are_not_converged():
    assert verdict(SETTLED, [np.nan] + [0.4] * 13).status == "not yet"


def test_rising_loss_is_overfitting_since_its_minimum():
    loss = [1.0, 0.8, 0.7, 0.65, 0.64, 0.66, 0.69, 0.72, 0.75, 0.78]
    found = verdict(loss, [np.nan] + [0.01] * 9)
    assert found.status == "overfitting"
    assert found.epoch == found.best_epoch == 5
    assert found.rise_last > 0.2


def test_one_odd_epoch_decides_nothing():
    loss = SETTLED.copy()
    loss[10] += 0.3
    assert verdict(loss, [np.nan] + [0.05] * 13).status == "converged"


def test_nothing_and_little_are_not_converged():
    assert verdict([], []).status == "not yet"
    assert verdict([1.0], [np.nan]).status == "not yet"
    assert verdict([1.0, 0.5], [np.nan, 0.0]).status == "not yet"


def test_without_held_out_loss_latents_decide():
    nan = [np.nan] * 6
    found = verdict(nan, [np.nan, 0.5, 0.4, 0.1, 0.1, 0.1])
    assert found.epoch == 4
    assert "no tilts were held out" in found.sentence
    assert "nan" not in found.sentence
    assert verdict(nan, [np.nan, 0.5, 0.4, 0.3, 0.3, 0.3]).status == "not yet"


def test_without_anything_measured_nothing_has_converged():
    nan = [np.nan] * 6
    found = verdict(nan, nan)
    assert found.status == "not yet"
    assert "no tilts were held out" in found.sentence
    assert "nan" not in found.sentence


def test_the_first_epoch_never_counts_as_settled():
    assert verdict([0.5] * 3, [0.0] * 3, baseline=1.0).status == "not yet"
    assert verdict([0.5] * 4, [0.0] * 4, baseline=1.0).epoch == 2


def test_a_run_that_explains_nothing_has_not_converged():
    rising = [1.01, 1.03, 1.06, 1.10, 1.15, 1.2]
    for baseline in (1.0, None):
        found = verdict(rising, [0.1] * 6, baseline=baseline)
        assert found.status == "not yet"
        assert "no lower than" in found.sentence
    assert verdict(rising, [0.1] * 6, baseline=1.02).status == "overfitting"


@pytest.mark.parametrize("n", [12, 40, 200, 2000])
def test_a_movement_reads_the_same_in_few_and_many_particles(n):
    rng = np.random.default_rng(n)
    read = []
    for _ in range(20 if n < 100 else 3):
        z = rng.normal(size=(n, 8))
        read.append(latent_shift(z, z + 0.25 * rng.normal(size=z.shape)))
    assert np.mean(read) == pytest.approx(0.24, abs=0.03)


def test_a_turned_and_stretched_latent_space_has_not_moved():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 3))
    mixed = z @ rng.normal(size=(3, 3)) * 2 + 5
    assert latent_shift(z, mixed) < 1e-10
    noise = rng.normal(size=z.shape)
    assert latent_shift(z, z + 0.1 * noise) == pytest.approx(0.09, abs=0.02)
    assert latent_shift(z, noise) > 0.7


def test_stopping_obeys_the_setting():
    rows = [
        {"validation": v, "latent_shift": None if i == 0 else 0.01} for i, v in enumerate(SETTLED)
    ]
    assert should_stop(rows, "converged")
    assert not should_stop(rows, "never")
    assert not should_stop(rows[:2], "converged")
