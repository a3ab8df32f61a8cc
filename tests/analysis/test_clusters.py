from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from tomopipe.analysis.clusters import (
    clusters_fingerprint,
    graph,
    kmeans,
    mixture,
    similarity_order,
)
from tomopipe.analysis.latent import umap_coordinates

CENTRES = np.array([[0.0, 0, 0], [6, 0, 0], [0, 6, 0], [6, 6, 3]])


def planted(seed=0, n=60, outliers=6):
    rng = np.random.default_rng(seed)
    points = np.concatenate([c + rng.normal(size=(n, 3)) for c in CENTRES])
    truth = np.repeat(np.arange(4), n)
    far = rng.normal(size=(outliers, 3))
    far *= rng.uniform(60, 150, size=(outliers, 1)) / np.linalg.norm(far, axis=1, keepdims=True)
    return np.concatenate([points, far]), truth


@pytest.mark.parametrize("method", [kmeans, mixture])
def test_a_few_outliers_do_not_ruin_the_clusters(method):
    for seed in range(4):
        points, truth = planted(seed, outliers=4)
        found = method(points, 4, seed=0)
        assert adjusted_rand_score(truth, found.labels[: len(truth)]) > 0.95
        assert len(found.labels) == len(points)  # outliers have a label too


def test_mixture_tells_elongated_clusters_apart_where_kmeans_cannot():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(150, 2)) * [8, 0.4]
    b = rng.normal(size=(150, 2)) * [8, 0.4] + [0, 4]
    points, truth = np.concatenate([a, b]), np.repeat([0, 1], 150)
    assert adjusted_rand_score(truth, mixture(points, 2, seed=0).labels) > 0.95
    assert adjusted_rand_score(truth, kmeans(points, 2, seed=0).labels) < 0.2


@pytest.mark.parametrize("method", [kmeans, mixture])
def test_neighbouring_labels_are_similar(method):
    rng = np.random.default_rng(2)
    t = rng.permutation(np.repeat(np.arange(6), 50))
    points = np.c_[5.0 * t, np.zeros(300)] + rng.normal(size=(300, 2)) * 0.5
    found = method(points, 6, seed=0)
    along = found.centres[:, 0]
    assert (np.diff(along) > 0).all() or (np.diff(along) < 0).all()


def test_order_begins_near_the_largest_cluster():
    centres = np.arange(5.0)[:, None]
    assert similarity_order(centres, np.array([9, 1, 1, 1, 1])).tolist() == [0, 1, 2, 3, 4]
    assert similarity_order(centres, np.array([1, 1, 1, 1, 9])).tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("method", [kmeans, mixture])
def test_seeded_runs_are_identical(method):
    points, _ = planted()
    first, second = method(points, 5, seed=7), method(points, 5, seed=7)
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.representatives, second.representatives)


@pytest.mark.parametrize("method", [kmeans, mixture])
def test_representatives_are_particles_of_their_cluster_near_its_centre(method):
    points, _ = planted()
    found = method(points, 4, seed=0)
    for cluster, particle in enumerate(found.representatives):
        assert found.labels[particle] == cluster
        members = np.linalg.norm(points[found.labels == cluster] - found.centres[cluster], axis=1)
        assert found.distance[particle] == pytest.approx(members.min())


@pytest.mark.parametrize("method", [kmeans, mixture])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_particles_than_clusters(method, n):
    found = method(np.arange(2.0 * n).reshape(n, 2) ** 2, 10, seed=0)
    assert len(found.centres) <= n
    assert set(found.labels) == set(range(len(found.centres)))


def test_identical_latents_are_one_cluster():
    assert len(kmeans(np.ones((30, 2)), 4, seed=0).centres) == 1
    assert len(mixture(np.ones((30, 2)), 4, seed=0).centres) == 1


def test_fingerprint_knows_members_not_rows():
    table = pd.DataFrame({"uid": ["a/1", "a/2", "b/1"], "cluster": [0, 1, 1]})
    same = table.iloc[[2, 0, 1]].assign(distance=0.5)
    other = table.assign(cluster=[0, 1, 0])
    assert clusters_fingerprint(table) == clusters_fingerprint(same)
    assert clusters_fingerprint(table) != clusters_fingerprint(other)
    assert clusters_fingerprint(table).startswith("sha256:")


def test_graph_clusters_follow_a_bent_state_past_outliers():
    rng = np.random.default_rng(3)
    angle = np.pi * rng.random(200)
    bent = np.c_[6 * np.cos(angle), 6 * np.sin(angle)] + 0.5 * rng.normal(size=(200, 2))
    inside = 0.7 * rng.normal(size=(100, 2)) + [0, 1.5]
    far = np.array([[60.0, 0], [-70, 30], [0, 90]])
    points, truth = np.concatenate([bent, inside, far]), np.repeat([0, 1], [200, 100])
    embedding = umap_coordinates(points, neighbors=30, seed=0)
    found = graph(points, embedding, 2, seed=0)
    assert adjusted_rand_score(truth, found.labels[:300]) > 0.95
    assert adjusted_rand_score(truth, kmeans(points, 2, seed=0).labels[:300]) < 0.7
    again = graph(points, embedding, 2, seed=0)
    assert np.array_equal(found.labels, again.labels)
    assert len(graph(points[:20], embedding[:20], 2, seed=0).centres) == 2
