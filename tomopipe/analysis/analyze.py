"""The analysis of a branch: clusters, coordinates and volumes of its last model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

import tomopipe
from tomopipe.analysis.cluster_maps import write_cluster_maps
from tomopipe.analysis.clusters import (
    Clusters,
    clusters_fingerprint,
    graph,
    kmeans,
    mixture,
    posterior_mixture,
)
from tomopipe.analysis.latent import (
    Array,
    Latents,
    isolated,
    metric_space,
    principal_components,
    read_latents,
    umap_coordinates,
)
from tomopipe.analysis.mixtures import Mixture, best_mixture
from tomopipe.analysis.traversal import component_path, motion_coordinate
from tomopipe.analysis.volumes import write_volumes
from tomopipe.config.analysis import AnalysisSettings
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.atomic import atomic_directory, fingerprint, read_json, write_json, write_parquet
from tomopipe.models import Model, load_model

STEP_FORMAT = 6
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


def analyze(
    store_path: Path,
    model_dir: Path,
    out: Path,
    settings: AnalysisSettings,
    uids: npt.ArrayLike | None = None,
    linear: Path | None = None,
) -> dict[str, Any]:
    """Analyse a model: write latents, clusters, volumes and `analysis.json` to `out`.

    Volumes: `cluster_NN.mrc` (the model at the cluster), `pcK_i.mrc` (along component K = 1 …, from
    the 5th to the 95th percentile) and `backprojection_NN.mrc` with `fsc_NN.csv` (the cluster's own
    particles, no model).

    Parameters
    ----------
    store_path
        The data set's store.
    model_dir
        Folder of the linear or heterogeneous model.
    out
        Folder that is replaced as a whole.
    settings
        See `AnalysisSettings`.
    uids
        The branch's particles; all of the model's by default.
    linear
        Folder of a linear model of the same particles, which tells a network's number of clusters
        where settings leave it open; by default the one that `fit` leaves beside its network.

    Raises
    ------
    StateError
        If model, latents, linear model and store do not hold the same particles.
    """
    latents = read_latents(model_dir / "latents.parquet", uids)
    store = Store.open(store_path, list(latents.uids))
    model = load_model(model_dir)
    if model.zdim != latents.z.shape[1]:
        raise StateError(
            f"{model_dir}/latents.parquet has {latents.z.shape[1]} latents, its model "
            f"{model.zdim}: run the model's stage again"
        )
    linear = linear or linear_beside(model_dir)
    counted_by = read_latents(linear / "latents.parquet", latents.uids) if linear else None
    found = explore(latents, settings, linear=counted_by)
    clusters = cluster_table(found, store.uids)
    with atomic_directory(out) as folder:
        write_parquet(folder / "latents.parquet", _by_uid(found.coordinates, store.uids))
        write_parquet(folder / "clusters.parquet", clusters)
        decoded_at = _write_model_volumes(model, found, folder / "volumes", settings, model_dir)
        summary = _summary(found, clusters, store, model_dir, settings) | decoded_at
        if settings.backprojection:
            labels = clusters.set_index("uid")["cluster"]
            summary["resolutions_angstrom"] = write_cluster_maps(store, labels, folder / "volumes")
        write_json(folder / "analysis.json", summary)
    return summary


def linear_beside(model_dir: Path) -> Path | None:
    """Folder of the linear model that `fit` left beside its network; None without one."""
    beside = model_dir / "linear"
    config = model_dir / "config.json"
    if not beside.is_dir() or not config.is_file() or read_json(config).get("kind") == "linear":
        return None
    return beside


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
    itself cuts them into too many (docs/benchmarks.md, `ari_auto`).
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
    clusterings = _clusterings(points, space, wanted, embedding, states, settings)
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
    wanted: set[str],
    embedding: Array | None,
    states: Mixture | None,
    settings: AnalysisSettings,
) -> dict[str, Clusters]:
    """Clusters by every method of `wanted`."""
    seed, trim = settings.seed, settings.trim
    k = len(states.means) if states is not None else int(settings.clusters)
    found = {}
    if "kmeans" in wanted:
        found["kmeans"] = kmeans(space, k, seed=seed, trim=trim)
    if "gmm" in wanted:
        found["gmm"] = mixture(points, k, seed=seed, trim=trim)
    if "graph" in wanted and embedding is not None:
        found["graph"] = graph(points, embedding, k, seed=seed, trim=trim)
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
    return _by_uid(table, uids)


def _by_uid(table: pd.DataFrame, uids: Array) -> pd.DataFrame:
    return table.set_index("uid").loc[list(uids)].reset_index()


def _write_model_volumes(
    model: Model, found: Findings, out: Path, settings: AnalysisSettings, model_dir: Path
) -> dict[str, Any]:
    """Volumes at the clusters and along components; returns where they were decoded."""
    kind = read_json(model_dir / "config.json").get("kind", "")
    at = settings.volumes_at
    if at == "auto":
        # a flat subspace is as good anywhere, and a mean carries no single particle's noise; a
        # network has only learned where particles are
        at = "mean" if kind == "linear" else "representative"
    z = cluster_latents(found, at)
    paths = [out / f"cluster_{c:02d}.mrc" for c in range(len(z))]
    write_volumes(model, z, paths, settings.volumes_box)
    components = min(settings.traversal_components, found.space.shape[1])
    for component in range(components):
        path = component_path(found.latents.z, found.space, component, settings.traversal)
        names = [out / f"pc{component + 1}_{i}.mrc" for i in range(len(path))]
        write_volumes(model, path, names, settings.volumes_box)
    return {"kind": kind, "volumes_at": at, "cluster_latents": z, "traversals": components}


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


def _summary(
    found: Findings,
    clusters: pd.DataFrame,
    store: Store,
    model_dir: Path,
    settings: AnalysisSettings,
) -> dict[str, Any]:
    k = len(found.chosen.centres)
    return {
        "step_format": STEP_FORMAT,
        "version": tomopipe.__version__,
        "model": str(model_dir),
        "model_fingerprint": fingerprint(model_dir / "latents.parquet"),
        "k": k,
        "k_requested": settings.clusters,
        "k_of_linear_model": found.counted,
        "method": found.method,
        "family": found.states.family if found.states is not None else None,
        "order": list(range(k)),
        "representatives": list(found.latents.uids[found.chosen.representatives]),
        "counts": found.chosen.counts,
        "n_particles": len(found.latents),
        "pixel_size_angstrom": store.pixel_size,
        "box": store.box,
        "explained_variance": found.explained,
        "fingerprint": clusters_fingerprint(clusters),
        "settings": settings.model_dump(mode="json"),
    }
