"""The analysis of a branch: clusters, coordinates and volumes of its last model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

import tomopipe
from tomopipe.analysis.cluster_maps import write_cluster_maps
from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.explore import Findings, by_uid, cluster_latents, cluster_table, explore
from tomopipe.analysis.latent import read_latents
from tomopipe.analysis.traversal import component_path
from tomopipe.analysis.volumes import write_volumes
from tomopipe.config.analysis import AnalysisSettings
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.atomic import atomic_directory, fingerprint, read_json, write_json, write_parquet
from tomopipe.models import Model, load_model

STEP_FORMAT = 8


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
        write_parquet(folder / "latents.parquet", by_uid(found.coordinates, store.uids))
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
