from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from tomopipe.analysis.traversal import component_path, graph_path, motion_coordinate


def bent_curve(n=300, noise=0.15, seed=0):
    rng = np.random.default_rng(seed)
    t = rng.random(n)
    angle = 1.3 * np.pi * t
    curve = np.c_[np.cos(angle), np.sin(angle), 0.3 * np.cos(2 * angle)]
    return t, curve + noise * rng.normal(size=curve.shape)


@pytest.mark.parametrize("seed", range(4))
def test_coordinate_follows_a_bent_motion_past_outliers(seed):
    t, points = bent_curve(seed=seed)
    far = 4 * np.random.default_rng(seed).normal(size=(6, 3))
    coordinate = motion_coordinate(np.concatenate([points, far]))
    assert abs(spearmanr(coordinate[:300], t).statistic) > 0.98
    assert coordinate.min() == 0
    assert coordinate.max() == 1
    # a straight line through latent space does not do it
    assert abs(spearmanr(points[:, 0], t).statistic) < 0.95


def test_coordinate_is_deterministic_and_takes_tiny_sets():
    _, points = bent_curve(60)
    assert np.array_equal(motion_coordinate(points), motion_coordinate(points))
    for n in (1, 2, 7, 9, 21):
        assert np.isfinite(motion_coordinate(points[:n])).all()


def test_component_path_goes_through_the_mean_between_percentiles():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(2000, 3)) * [4, 1, 0.1] + [10, 0, 0]
    path = component_path(z, z, 0, 11)
    assert path[5] == pytest.approx([10, 0, 0], abs=0.4)
    assert abs(path[-1] - path[0])[0] == pytest.approx(2 * 1.645 * 4, rel=0.08)
    assert np.linalg.matrix_rank(path - path[0], tol=1e-9) == 1


def test_component_path_of_a_space_leads_along_what_the_space_shows():
    """Though noise has more of the variance: another scale of the model changes nothing."""
    rng = np.random.default_rng(2)
    turn = rng.normal(size=2000)
    z = np.c_[turn, turn + 0.1 * rng.normal(size=2000), 5 * rng.normal(size=2000)]
    path = component_path(z, z * [1, 1, 0.01], 0, 11)
    assert path[-1] - path[0] == pytest.approx([3.29, 3.29, 0], abs=0.6)
    assert np.allclose(component_path(z * [1, 1, 3], z * [1, 1, 0.01], 0, 11), path * [1, 1, 3])


def test_graph_path_keeps_to_the_particles():
    t, points = bent_curve(400, noise=0.02)
    path = graph_path(points, np.array([t.argmin(), t.argmax()]))
    assert path[0] == t.argmin()
    assert path[-1] == t.argmax()
    assert (np.diff(t[path]) > -0.02).all()  # no short cut across the bend
    assert np.abs(np.diff(t[path])).max() < 0.1


def test_graph_path_crosses_islands_and_passes_all_anchors():
    rng = np.random.default_rng(2)
    islands = [rng.normal(size=(30, 2)) + np.array([20 * i, 0]) for i in range(3)]
    path = graph_path(np.concatenate(islands), np.array([0, 70, 40]), neighbors=5)
    assert (path[0], path[-1]) == (0, 40)
    assert 70 in path
    assert (np.diff(path) != 0).all()
    with pytest.raises(ValueError, match="anchors within 0 … 89"):
        graph_path(np.concatenate(islands), np.array([0, 90]))
