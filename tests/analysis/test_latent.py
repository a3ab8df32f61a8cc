from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from tomopipe.analysis.explore import explore
from tomopipe.analysis.latent import (
    Latents,
    isolated,
    metric_space,
    principal_components,
    read_latents,
    umap_coordinates,
)
from tomopipe.config.analysis import AnalysisSettings
from tomopipe.errors import StateError


def latents(z, covariance=None):
    uids = np.array([f"t/{i:04d}" for i in range(len(z))], dtype=object)
    return Latents(uids, np.asarray(z, float), covariance, np.full(len(z), np.nan))


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def test_components_have_one_sign_whatever_the_order_of_rows():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 4)) * [5, 2, 1, 0.5]
    scores, axes, explained = principal_components(z)
    order = rng.permutation(200)
    shuffled, axes2, _ = principal_components(z[order])
    assert np.allclose(axes, axes2)
    assert np.allclose(scores[order], shuffled)
    assert (axes[np.arange(4), np.abs(axes).argmax(axis=1)] > 0).all()
    assert explained == pytest.approx(np.array([25, 4, 1, 0.25]) / 30.25, abs=0.05)


def test_precision_metric_does_not_depend_on_the_basis_of_the_model():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(300, 3)) * [3, 1, 0.2]
    cov = np.einsum("n,ij->nij", rng.uniform(0.5, 1.5, 300), np.diag([0.3, 0.2, 0.9]))
    cov[:, 0, 1] = cov[:, 1, 0] = 0.05
    turn = rng.normal(size=(3, 3))
    here = metric_space(latents(z, cov), "precision")
    there = metric_space(latents(z @ turn.T, turn @ cov @ turn.T), "precision")
    # outliers are drawn in by a basis-dependent rule, hence not exact
    assert np.corrcoef(distances(here).ravel(), distances(there).ravel())[0, 1] > 0.99


def test_precision_metric_ignores_directions_that_images_do_not_determine():
    rng = np.random.default_rng(2)
    state = np.repeat([-1.0, 1.0], 200)
    z = np.c_[state + 0.3 * rng.normal(size=400), 4 * rng.normal(size=400)]
    cov = np.broadcast_to(np.array([[0.09, 1e-4], [1e-4, 400.0]]), (400, 2, 2)).copy()
    points = metric_space(latents(z, cov), "auto")
    between = np.linalg.norm(points[:200].mean(axis=0) - points[200:].mean(axis=0))
    within = points[:200].std(axis=0).max()
    assert between / within > 4  # in plain latents it is 0.5


def test_what_a_network_leaves_to_noise_does_not_hide_its_states():
    """However wide training makes such a direction: distances do not depend on its scale."""
    rng = np.random.default_rng(3)
    state = np.repeat([0, 1, 2], 100)
    z = np.c_[state + 0.15 * rng.normal(size=300), 0.8 * rng.normal(size=(300, 3))]
    spread = np.array([0.15, 0.6, 0.6, 0.6])
    labels = []
    for scale in (1.0, 5.0):
        wide = np.array([1, scale, scale, scale])
        cov = np.broadcast_to((spread * wide) ** 2, (300, 4))
        found = explore(latents(z * wide, cov), AnalysisSettings(clusters=3, umap=False))
        labels.append(found.clusterings["kmeans"].labels)
    assert adjusted_rand_score(state, labels[0]) > 0.9
    assert adjusted_rand_score(labels[0], labels[1]) > 0.95
    assert metric_space(latents(z), "auto").shape == z.shape  # none known: plain


def test_isolated_finds_outliers_but_not_a_rare_compact_state():
    rng = np.random.default_rng(4)
    crowd = rng.normal(size=(480, 3))
    rare = rng.normal(size=(12, 3)) * 0.5 + [15, 0, 0]
    outliers = np.array([[40.0, 0, 0], [0, -60, 0], [0, 0, 90]])
    found = isolated(np.concatenate([crowd, rare, outliers]), 0.02)
    assert found[-3:].all()
    assert not found[480:492].any()
    assert found.sum() <= 9


def test_umap_is_seeded_and_takes_tiny_sets():
    rng = np.random.default_rng(5)
    points = np.concatenate([rng.normal(size=(20, 3)), rng.normal(size=(20, 3)) + 8])
    first = umap_coordinates(points, seed=3)
    assert np.array_equal(first, umap_coordinates(points, seed=3))
    gap = np.linalg.norm(first[:20].mean(axis=0) - first[20:].mean(axis=0))
    assert gap > 2 * max(first[:20].std(axis=0).max(), first[20:].std(axis=0).max())
    for n in (1, 2, 4, 6, 9):
        assert np.isfinite(umap_coordinates(points[:n], seed=0)).all()
        assert umap_coordinates(points[:n], seed=0).shape == (n, 2)


def test_latents_are_looked_up_by_uid_not_by_row(tmp_path):
    table = pd.DataFrame({"uid": ["a/1", "a/2", "b/1"], "z0": [1.0, 2, 3], "z1": [4.0, 5, 6]})
    table.sample(frac=1, random_state=1).to_parquet(tmp_path / "latents.parquet")
    found = read_latents(tmp_path / "latents.parquet", ["b/1", "a/1"])
    assert list(found.uids) == ["b/1", "a/1"]
    assert found.z.tolist() == [[3, 6], [1, 4]]


def test_latent_columns_go_by_number(tmp_path):
    table = pd.DataFrame({f"z{i}": [float(i)] for i in reversed(range(12))}).assign(uid="a/1")
    table.to_parquet(tmp_path / "l.parquet")
    assert read_latents(tmp_path / "l.parquet").z[0].tolist() == list(range(12))


def test_full_covariances_are_read(tmp_path):
    table = pd.DataFrame(
        {"uid": ["a"], "z0": [0.0], "z1": [0.0], "cov_0_0": [2.0], "cov_0_1": [0.5], "cov_1_1": [3]}
    )
    table.to_parquet(tmp_path / "l.parquet")
    covariance = read_latents(tmp_path / "l.parquet").covariance
    assert covariance is not None
    assert covariance[0].tolist() == [[2, 0.5], [0.5, 3]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"uid": ["a/1", "a/1"]}, "a/1.*twice"),
        ({"z0": [1.0, np.nan]}, "a/2.*not finite"),
    ],
)
def test_damaged_latents_are_refused(tmp_path, change, words):
    table = pd.DataFrame({"uid": ["a/1", "a/2"], "z0": [1.0, 2.0]} | change)
    table.to_parquet(tmp_path / "l.parquet")
    with pytest.raises(StateError, match=words):
        read_latents(tmp_path / "l.parquet")


def test_missing_particles_are_counted_and_the_first_is_named(tmp_path):
    pd.DataFrame({"uid": ["a/1"], "z0": [1.0]}).to_parquet(tmp_path / "l.parquet")
    with pytest.raises(StateError, match=r"lacks 2 of 3 particles, the first is 'a/7'"):
        read_latents(tmp_path / "l.parquet", ["a/1", "a/7", "a/8"])
