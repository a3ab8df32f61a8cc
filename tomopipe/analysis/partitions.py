"""Partitions of particles that a mixture is begun from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial.distance import cdist

from tomopipe.analysis.latent import Array


def partitions(
    frames: Sequence[Array], k: int, count: int, rng: np.random.Generator
) -> Iterator[Array]:
    """Labels `(n,)` of k states: k-means, run to its end and stopped at once.

    K-means at its end never has long states that lie side by side; distant seeds find states that
    are rare, random ones are not spent on outliers. What is near depends on how the axes are
    scaled: every fourth partition is made in the last frame, the others in the first.

    Parameters
    ----------
    frames
        `(n, K)` points, scaled in one way or more.
    k, count
        States, and partitions to make (one is all where k is 1).
    rng
        Draws the seeds.
    """
    if k == 1:
        yield np.zeros(len(frames[0]), dtype=int)
        return
    for number in range(count):
        z = frames[-1 if number % 4 == 2 else 0]
        centres = z[_seeds(z, k, rng, distant=number % 2 == 1)]
        yield _k_means(z, centres, 2 if number % 3 else 50)


def _k_means(z: Array, centres: Array, rounds: int) -> Array:
    """Labels `(n,)` after so many rounds, or when they settle."""
    labels = np.zeros(0)
    for _ in range(rounds):
        last, labels = labels, cdist(z, centres, "sqeuclidean").argmin(axis=1)
        if np.array_equal(last, labels):
            break
        member = np.eye(len(centres))[:, labels]
        centres = member @ z / np.maximum(member.sum(axis=1, keepdims=True), 1)
    return labels


def _seeds(z: Array, k: int, rng: np.random.Generator, *, distant: bool) -> Array:
    """Rows `(k,)` at random, or distant from each other.

    The latter as in k-means++ (Arthur & Vassilvitskii, 2007): some are drawn by squared distance
    from those there are, and the one that leaves least is taken.
    """
    if not distant:
        return rng.choice(len(z), k, replace=False)
    seeds = [int(rng.integers(len(z)))]
    nearest = cdist(z[seeds], z, "sqeuclidean")[0]
    for _ in range(k - 1):
        total = nearest.cumsum()
        drawn = np.searchsorted(total, rng.random(2 + int(np.log(k))) * total[-1])
        drawn = np.minimum(drawn, len(z) - 1)
        after = np.minimum(nearest, cdist(z[drawn], z, "sqeuclidean"))
        chosen = int(after.sum(axis=1).argmin())
        seeds.append(int(drawn[chosen]))
        nearest = after[chosen]
    return np.array(seeds)


def splits(z: Array, labels: Array) -> list[Array]:
    """Partitions `(n,)` with one state more: each state in turn, cut across its longest axis."""
    found = []
    for state in np.unique(labels):
        member = np.flatnonzero(labels == state)
        rest = z[member] - z[member].mean(axis=0)
        axis = np.linalg.svd(rest, full_matrices=False)[2][0]
        cut = labels.copy()
        cut[member[rest @ axis > 0]] = labels.max() + 1
        found.append(np.unique(cut, return_inverse=True)[1])
    return found
