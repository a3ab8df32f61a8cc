"""Sets larger than what clusters and curves are fitted to: every particle gets its label."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness
from sklearn.metrics import adjusted_rand_score

from tomopipe.analysis import latent, mixtures
from tomopipe.analysis.clusters import graph, kmeans, mixture
from tomopipe.analysis.explore import explore
from tomopipe.analysis.latent import Latents, evenly, isolated
from tomopipe.analysis.traversal import motion_coordinate
from tomopipe.config.analysis import AnalysisSettings

N, FITTED = 1500, 300


@pytest.fixture
def few(monkeypatch):
    """Methods are fitted to 300 particles."""
    monkeypatch.setattr(latent.evenly, "__defaults__", (FITTED,))
    monkeypatch.setattr(mixtures, "FITTED", FITTED)


@pytest.fixture
def states():
    """Two states of six latents, known to .3, in the order of nothing."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, N)
    z = 0.3 * rng.normal(size=(N, 6))
    z[:, 0] += 3.0 * truth
    uids = np.array([f"t/{i:05d}" for i in range(N)], dtype=object)
    width = np.tile(0.09 * np.eye(6), (N, 1, 1))
    return truth, Latents(uids, z, width, np.full(N, np.nan))


def test_rows_are_evenly_taken():
    assert evenly(5, 9).tolist() == [0, 1, 2, 3, 4]
    rows = evenly(1001, 101)
    assert rows.tolist() == list(range(0, 1001, 10))


@pytest.mark.parametrize("method", [kmeans, mixture])
def test_all_particles_get_the_label_of_their_state(few, states, method):
    truth, found = states[0], method(states[1].z, 2, seed=0)
    assert len(found.labels) == N
    assert adjusted_rand_score(truth, found.labels) > 0.98


def test_graph_labels_all_particles(few, states):
    truth, z = states[0], states[1].z
    assert adjusted_rand_score(truth, graph(z, z[:, :2], 2, seed=0).labels) > 0.98


def test_states_are_counted_and_all_particles_get_a_probability(few, states):
    truth, latents = states
    settings = AnalysisSettings(clusters="auto", umap=False, coordinate=False)
    found = explore(latents, settings, others=False)
    assert len(found.chosen.centres) == 2
    assert found.states.probability.shape == (N, 2)
    assert adjusted_rand_score(truth, found.chosen.labels) > 0.98


def test_umap_places_all_particles_among_those_it_learns_from(states, monkeypatch):
    truth, z = states[0], states[1].z
    every = latent.umap_coordinates(z, seed=0)
    monkeypatch.setattr(latent, "EMBEDDED", FITTED)
    points = latent.umap_coordinates(z, seed=0)
    assert not np.array_equal(points, every)
    assert np.array_equal(points, latent.umap_coordinates(z, seed=0))
    assert adjusted_rand_score(truth, graph(z, points, 2, seed=0).labels) > 0.98
    # neighbours in the plot are neighbours in the latents; any plot of two states reaches apart
    trust, whole, apart = (trustworthiness(z, p) for p in (points, every, z[:, :1]))
    assert trust > (whole + apart) / 2


def test_umap_places_particles_by_approximate_neighbours(monkeypatch):
    """From 4,096 particles on neighbours are looked for by other means."""
    rng = np.random.default_rng(10)
    truth = rng.integers(0, 3, 5000)
    z = 0.3 * rng.normal(size=(5000, 3)) + 3 * np.eye(3)[truth]
    monkeypatch.setattr(latent, "EMBEDDED", 4200)
    points = latent.umap_coordinates(z, neighbors=30, seed=0)
    laid = evenly(5000, 4200)
    placed = np.setdiff1d(np.arange(5000), laid)
    centres = np.array([points[laid][truth[laid] == k].mean(axis=0) for k in range(3)])
    nearest = np.linalg.norm(points[placed, None] - centres, axis=2).argmin(1)
    assert (nearest == truth[placed]).mean() > 0.99


@pytest.mark.parametrize("dimensions", [2, 20])
def test_outliers_are_isolated_and_members_of_a_rare_state_are_not(few, dimensions):
    rng = np.random.default_rng(6)
    crowd = rng.normal(size=(N, dimensions))
    rare = 0.3 * rng.normal(size=(100, dimensions)) + 12
    outliers = 60 * np.sign(rng.normal(size=(6, dimensions))) * np.arange(1, 7)[:, None]
    order = rng.permutation(N + 106)
    found = np.empty(N + 106, dtype=bool)
    found[order] = isolated(np.concatenate([crowd, rare, outliers])[order], 0.02)
    assert found[-6:].all()
    assert found.sum() < 6 + 0.01 * N and not found[N:-6].any()


def test_a_coordinate_follows_a_bent_motion_of_all_particles(few):
    rng = np.random.default_rng(7)
    turn = rng.uniform(0, 4, N)
    points = np.c_[np.cos(turn), np.sin(turn)] + 0.05 * rng.normal(size=(N, 2))
    found = motion_coordinate(points)
    assert len(found) == N and found.min() == 0 and found.max() == 1
    assert abs(spearmanr(found, turn)[0]) > 0.99


def test_a_coordinate_of_separate_states_is_found_in_time():
    """Eigenvalues of islands lie next to each other: to tell them apart took hours."""
    rng = np.random.default_rng(8)
    centres = 8 * rng.normal(size=(4, 6))
    points = centres[rng.integers(0, 4, 4000)] + 0.3 * rng.normal(size=(4000, 6))
    assert np.isfinite(motion_coordinate(points)).all()


def test_variances_of_a_network_are_kept_as_such():
    z = np.random.default_rng(9).normal(size=(50, 3))
    uids = np.arange(50).astype(str).astype(object)
    network = Latents(uids, z, np.tile([0.1, 0.2, 0.4], (50, 1)), np.full(50, np.nan))
    assert not network.calibrated
    np.testing.assert_allclose(network.mean_covariance, np.diag([0.1, 0.2, 0.4]))
    assert network.take(np.arange(7)).covariance.shape == (7, 3)
    full = Latents(uids, z, np.tile(np.eye(3), (50, 1, 1)), np.full(50, np.nan))
    assert full.calibrated and full.mean_covariance.shape == (3, 3)
