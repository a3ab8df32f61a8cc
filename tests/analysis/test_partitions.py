"""What a mixture is begun from: labels of k states, whatever the points look like."""

from __future__ import annotations

import numpy as np
import pytest

from tomopipe.analysis.partitions import partitions, splits

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_every_particle_gets_one_of_k_labels(k):
    z = RNG.normal(size=(40, 3))
    made = list(partitions([z, 3 * z], k, 12, np.random.default_rng(0)))
    assert len(made) == (1 if k == 1 else 12)
    for labels in made:
        assert labels.shape == (40,)
        assert set(labels) <= set(range(k))


def test_distant_seeds_find_a_rare_state_that_random_ones_miss():
    centres = 100.0 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    state = np.repeat(np.arange(4), [200, 60, 30, 3])  # the last one is seldom met by chance
    z = centres[state] + RNG.normal(size=(len(state), 2))
    made = list(partitions([z], 4, 24, np.random.default_rng(0)))
    found = [len(set(zip(labels, state, strict=True))) == 4 for labels in made]
    assert all(found[1::2])
    assert not all(found[::2])  # else distant seeds would not be needed


@pytest.mark.filterwarnings("error")
def test_equal_points_are_no_error():
    made = list(partitions([np.zeros((30, 2))], 3, 8, np.random.default_rng(0)))
    assert all(labels.max() < 3 for labels in made)


def test_a_long_state_is_cut_across_its_length():
    z = RNG.normal(size=(100, 2)) * [10.0, 1.0]
    z[80:] = np.array([0.0, 50.0]) + RNG.normal(size=(20, 2))
    labels = np.repeat([0, 1], [80, 20])
    first, second = splits(z, labels)
    assert len(set(first)) == len(set(second)) == 3
    ends = z[:80, 0] > z[:80, 0].mean()
    assert np.mean((first[:80] == first[0]) == (ends == ends[0])) > 0.95
    assert len(set(first[80:])) == 1
