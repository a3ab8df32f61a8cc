from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from tomopipe.analysis.explore import explore
from tomopipe.analysis.latent import Latents
from tomopipe.analysis.mixtures import Information, best_mixture, fit_mixtures
from tomopipe.config.analysis import AnalysisSettings


def posteriors(truth, centres, spread, precision, rng):
    """Latents of particles at `centres[truth]`, seen with the precisions `(n, K, K)`."""
    size = centres.shape[1]
    exact = centres[truth] + rng.normal(size=(len(truth), size)) @ np.linalg.cholesky(spread).T
    noise = np.linalg.cholesky(np.linalg.inv(precision)) @ rng.normal(size=(*exact.shape, 1))
    seen = exact + noise[:, :, 0]
    covariance = np.linalg.inv(precision + np.eye(size))
    z = (covariance @ precision @ seen[:, :, None])[:, :, 0]
    uids = np.array([f"p{i:05d}" for i in range(len(z))], dtype=object)
    return Latents(uids, z, covariance, np.ones(len(z))), seen


def uneven_precisions(n, size, rng):
    """Some particles are seen ten times better than others, and each in its own directions."""
    turn = np.linalg.qr(rng.normal(size=(n, size, size)))[0]
    values = rng.uniform(1, 30, size=(n, size))
    return (turn * values[:, None]) @ turn.transpose(0, 2, 1)


@pytest.fixture(scope="module")
def states():
    rng = np.random.default_rng(3)
    centres = np.array([[0.0, 0, 0], [2.2, 0, 0], [0, 2.2, 0.5]])
    truth = rng.choice(3, size=400, p=[0.6, 0.3, 0.1])
    precision = uneven_precisions(400, 3, rng)
    return truth, centres, precision, *posteriors(truth, centres, 0.05 * np.eye(3), precision, rng)


def test_information_is_what_the_images_said(states):
    _, _, precision, latents, seen = states
    found = Information.of(latents)
    assert np.allclose(found.precision, precision, rtol=1e-6, atol=1e-6)
    assert np.allclose(found.vector, (precision @ seen[:, :, None])[:, :, 0], rtol=1e-6, atol=1e-6)


def test_evidence_and_probabilities_are_those_of_gaussians(states):
    """Against scipy: what is seen of a state has the covariance of state plus noise."""
    _, _, precision, latents, seen = states
    (found,) = fit_mixtures(Information.of(latents), [latents.z], 3, ["scaled"], seed=0)
    weights = found.probability.mean(axis=0)
    log = np.empty((len(seen), 3))
    for i, (point, own) in enumerate(zip(seen, precision, strict=True)):
        for k in range(3):
            cov = found.covariances[k] + np.linalg.inv(own)
            log[i, k] = multivariate_normal(found.means[k], cov).logpdf(point)
    log += np.log(weights)
    expected = np.exp(log - np.logaddexp.reduce(log, axis=1, keepdims=True))
    # the fit has settled to within its tolerance, its weights with it
    assert np.abs(found.probability - expected).max() < 0.02


def test_states_number_and_labels_are_found(states):
    truth, centres, _, latents, _ = states
    found = best_mixture(latents, None, seed=0)
    assert len(found.means) == 3
    assert adjusted_rand_score(truth, found.labels) > 0.8
    near = np.linalg.norm(found.means[:, None] - centres, axis=2).min(axis=0)
    assert near.max() < 0.25


def test_vague_particles_are_not_taken_for_a_state_of_their_own():
    """Half of the particles are hardly determined: their posterior means shrink to the middle."""
    rng = np.random.default_rng(5)
    truth = rng.choice(2, size=600)
    precision = np.where(rng.uniform(size=600) < 0.5, 40.0, 1.5)[:, None, None] * np.eye(2)
    centres = np.array([[-1.5, 0.0], [1.5, 0.0]])
    latents, _ = posteriors(truth, centres, 0.02 * np.eye(2), precision, rng)
    found = best_mixture(latents, None, seed=0)
    assert len(found.means) == 2
    assert adjusted_rand_score(truth, found.labels) > 0.8


def test_a_broad_state_beside_compact_ones_is_scaled():
    rng = np.random.default_rng(7)
    truth = np.repeat([0, 1, 2], [200, 150, 150])
    z = np.array([[0.0, 0], [1.2, 0], [0.6, 0.5]])[truth]
    z = z + rng.normal(size=z.shape) * np.array([0.1, 0.1, 1.5])[truth][:, None]
    latents = Latents(np.arange(500).astype(object), z, None, np.ones(500))
    found = best_mixture(latents, 3, seed=0)
    assert found.family == "scaled"
    assert adjusted_rand_score(truth, found.labels) > 0.75


def test_one_cloud_is_one_state():
    rng = np.random.default_rng(9)
    latents, _ = posteriors(
        np.zeros(300, dtype=int), np.zeros((1, 3)), np.eye(3), uneven_precisions(300, 3, rng), rng
    )
    assert len(best_mixture(latents, None, seed=0).means) == 1


def test_the_result_does_not_depend_on_the_run(states):
    latents = states[3]
    first, second = (best_mixture(latents, 3, seed=1) for _ in range(2))
    assert (first.probability == second.probability).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_states_that_are_no_gaussians_count_once_if_they_lie_apart(seed):
    """Latents without posteriors and with heavy tails: a Gaussian more describes them better."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, size=600, p=[0.5, 0.3, 0.2])
    centres = np.array([[0.0, 0, 0], [8, 0, 0], [0, 8, 0]])
    z = centres[truth] + np.clip(rng.standard_t(3, (600, 3)), -6, 6)
    uids = np.array([f"p{i:05d}" for i in range(600)], dtype=object)
    points = Latents(uids, z, None, np.ones(600))
    found = best_mixture(points, None, seed=0)
    assert len(found.means) == 3
    assert adjusted_rand_score(truth, found.labels) > 0.85  # the tails reach into each other
    assert best_mixture(points, 4, seed=0).bic > found.bic
    assert found.icl <= found.bic


@pytest.mark.parametrize("scale", [1e-3, 50.0])
def test_labels_do_not_depend_on_the_scale_of_a_networks_latents(states, scale):
    latents = replace(states[3], covariance=None)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = replace(latents, z=latents.z @ turn * scale + 3 * scale)
    first, second = (best_mixture(x, 3, seed=0) for x in (latents, turned))
    assert adjusted_rand_score(first.labels, second.labels) > 0.97
    found = np.linalg.norm(first.means @ turn * scale + 3 * scale - second.means[:, None], axis=2)
    assert found.min(axis=0).max() < 0.1 * scale


def test_a_network_gets_as_many_clusters_as_the_linear_model_has_states(states):
    """A network that bends its states: their Gaussians are many, their number is three."""
    truth, *_, latents, _ = states
    bent = np.column_stack([latents.z, latents.z[:, :2] ** 2, latents.z[:, 0] * latents.z[:, 1]])
    network = replace(latents, z=3 * np.tanh(bent), covariance=None)
    settings = AnalysisSettings(umap=False, coordinate=False)
    alone, counted = (
        explore(network, settings, others=False, linear=linear) for linear in (None, latents)
    )
    assert len(alone.chosen.centres) > 3
    assert not alone.counted
    assert len(counted.chosen.centres) == 3
    assert counted.counted
    scores = [adjusted_rand_score(truth, found.chosen.labels) for found in (alone, counted)]
    assert scores[1] > scores[0] + 0.1
    two = settings.model_copy(update={"clusters": 2})
    asked = explore(network, two, others=False, linear=latents)
    assert len(asked.chosen.centres) == 2
    assert not asked.counted


def test_stray_particles_take_no_part_in_the_fit():
    """Four strays among two states of 200: asked for two clusters, the states are the clusters."""
    rng = np.random.default_rng(0)
    states = np.repeat([[1.0, 0, 0], [-1.0, 0, 0]], 200, axis=0)
    strays = 15 * rng.normal(size=(4, 3))
    z = np.concatenate([states, strays]) + 0.3 * rng.normal(size=(404, 3))
    covariance = np.tile(0.04 * np.eye(3) + 1e-4 * (1 - np.eye(3)), (404, 1, 1))
    uids = np.array([f"u{i:04d}" for i in range(404)], object)
    latents = Latents(uids, z, covariance, np.full(404, np.nan))
    settings = AnalysisSettings(clusters=2, umap=False, coordinate=False)
    found = explore(latents, settings, others=False)
    assert found.method == "mixture"
    assert found.coordinates["isolated"].sum() == 4
    assert adjusted_rand_score(states[:, 0], found.chosen.labels[:400]) > 0.95
    assert np.isfinite(found.chosen.probability).all()
