"""What latents alone say: clusters, states and coordinates of particles."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tomopipe.analysis.clusters import Clusters, graph, kmeans, mixture, posterior_mixture
from tomopipe.analysis.latent import (
    Array,
    Latents,
    isolated,
    metric_space,
    principal_components,
    umap_coordinates,
)
from tomopipe.analysis.mixtures import Mixture, best_mixture
from tomopipe.analysis.traversal import motion_coordinate
from tomopipe.config.analysis import AnalysisSettings

_MIXED_DIMENSIONS = 24  # a mixture solves systems of this size for every particle


@dataclass(frozen=True)
class Findings:
    """What the latents alone say; rows are in the order of `latents`.

    Attributes
    ----------
    latents
        The particles.
    points
        `(n, d)` coordinates in which distances were measured.
    space
        `(n, d)` coordinates of k-means and principal components.
    clusterings
        Clusters by method; `chosen`, of `method`, is the one that `cluster` stands for.
    states
        The mixture on posteriors, where it was fitted.
    coordinates
        Table of uid, z…, pc…, umap…, coordinate, isolated, error.
    explained
        Share of the variance of each principal component.
    counted
        Whether the number of clusters is that of the states of a linear model.
    """

    latents: Latents
    points: Array
    space: Array
    clusterings: dict[str, Clusters]
    chosen: Clusters
    method: str
    states: Mixture | None
    coordinates: pd.DataFrame
    explained: Array
    counted: bool = False


def explore(
    latents: Latents,
    settings: AnalysisSettings,
    *,
    others: bool = True,
    linear: Latents | None = None,
) -> Findings:
    """Cluster and order particles by their latents alone; the order of the rows does not matter.

    Without `others` only the clusters of the chosen method are made. With `linear`, a linear
    model's latents of the same particles, `clusters: auto` is the number of their states: a
    network's latents form no Gaussian states, and a mixture that finds its number of states by
    itself cuts them into too many (docs/benchmarks/models.md).
    """
    counted = linear is not None and settings.clusters == "auto"
    if linear is not None and counted:
        settings = settings.model_copy(update={"clusters": _states_of(linear, settings)})
    latents = latents.sorted()
    points = metric_space(latents, settings.metric)
    # in units of volume, as the linear model's are, a well determined motion is not drawn out
    plain = settings.metric == "auto" and latents.calibrated
    space = metric_space(latents, "latent") if plain else points
    method = settings.method
    if method == "auto":
        method = "mixture" if latents.z.shape[1] <= _MIXED_DIMENSIONS else "graph"
    stray = isolated(points, settings.trim)
    embedding = None
    if settings.umap or method == "graph":
        embedding = umap_coordinates(
            points,
            neighbors=settings.umap_neighbors,
            min_distance=settings.umap_min_distance,
            seed=settings.seed,
        )
    states = None
    if method == "mixture" or settings.clusters == "auto":
        count = None if settings.clusters == "auto" else settings.clusters
        mixed = _to_be_mixed(latents, space)
        states = best_mixture(mixed, count, seed=settings.seed, outside=stray)
    wanted: set[str] = {method, "kmeans", "gmm"} if others else {method}
    clusterings = _clusterings(points, space, stray, wanted, embedding, states, settings)
    scores, _, explained = principal_components(space)
    table = pd.DataFrame({"uid": latents.uids})
    table[[f"z{i}" for i in range(latents.z.shape[1])]] = latents.z
    table[[f"pc{i}" for i in range(scores.shape[1])]] = scores
    if embedding is not None:
        table[["umap0", "umap1"]] = embedding
    if settings.coordinate:
        table["coordinate"] = motion_coordinate(points)
    table["isolated"] = stray
    table["error"] = latents.error
    chosen = clusterings[method]
    return Findings(
        latents, points, space, clusterings, chosen, method, states, table, explained, counted
    )


def _states_of(linear: Latents, settings: AnalysisSettings) -> int:
    """Number of states that the mixture finds among a linear model's latents."""
    plain = settings.model_copy(update={"method": "mixture", "umap": False, "coordinate": False})
    return len(explore(linear, plain, others=False).chosen.centres)


def _to_be_mixed(latents: Latents, space: Array) -> Latents:
    """The latents with posteriors that mean what they say, or as points.

    Of many dimensions the leading principal components of `space` are taken alone.
    """
    if latents.z.shape[1] <= _MIXED_DIMENSIONS:
        return latents if latents.calibrated else replace(latents, covariance=None)
    scores = principal_components(space)[0][:, :_MIXED_DIMENSIONS]
    return replace(latents, z=scores, covariance=None)


def _clusterings(
    points: Array,
    space: Array,
    stray: Array,
    wanted: set[str],
    embedding: Array | None,
    states: Mixture | None,
    settings: AnalysisSettings,
) -> dict[str, Clusters]:
    """Clusters by every method of `wanted`."""
    seed = settings.seed
    k = len(states.means) if states is not None else int(settings.clusters)
    found = {}
    if "kmeans" in wanted:
        found["kmeans"] = kmeans(space, k, seed=seed, stray=stray)
    if "gmm" in wanted:
        found["gmm"] = mixture(points, k, seed=seed, stray=stray)
    if "graph" in wanted and embedding is not None:
        found["graph"] = graph(points, embedding, k, seed=seed, stray=stray)
    if "mixture" in wanted and states is not None:
        found["mixture"] = posterior_mixture(points, states)
    return found


def cluster_table(found: Findings, uids: Array) -> pd.DataFrame:
    """Table of `clusters.parquet`, in the order of `uids`."""
    representative = np.zeros(len(found.latents), dtype=bool)
    representative[found.chosen.representatives] = True
    table = pd.DataFrame(
        {
            "uid": found.latents.uids,
            "cluster": found.chosen.labels,
            **{method: one.labels for method, one in found.clusterings.items()},
            "distance": found.chosen.distance,
            "representative": representative,
        }
    )
    if found.chosen.probability is not None:
        table["probability"] = found.chosen.probability
    return by_uid(table, uids)


def by_uid(table: pd.DataFrame, uids: Array) -> pd.DataFrame:
    """Rows in the order of `uids`."""
    return table.set_index("uid").loc[list(uids)].reset_index()


def cluster_latents(found: Findings, at: str) -> Array:
    """Latents `(k, K)` of the clusters: `representative`, or the `mean` without far members."""
    if at == "representative":
        z: Array = found.latents.z[found.chosen.representatives]
        return z
    rows = []
    for cluster in range(len(found.chosen.centres)):
        member = found.chosen.labels == cluster
        near = found.chosen.distance <= 3 * np.median(found.chosen.distance[member]) + 1e-12
        rows.append(found.latents.z[member & near].mean(axis=0))
    return np.stack(rows)
