"""How far replicates of a branch agree: fits of the same particles that differ in their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from tomopipe import __version__
from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.latent import Array, evenly, latent_columns, rows_of
from tomopipe.errors import ConfigError, StateError
from tomopipe.io.atomic import atomic_directory, read_parquet, write_json, write_parquet

STEP_FORMAT = 3
STABLE = 0.75  # of the mean Jaccard index, Hennig 2007, doi:10.1016/j.csda.2006.11.025
_NEIGHBOURS, _SAMPLED = 10, 2000


def agreement(analyses: Sequence[Path], out: Path) -> dict[str, Any]:
    """Compare the analyses of replicates, the first with each other; returns `agreement.json`.

    - `ari`: matrix of adjusted Rand indices between the clusters of any two.
    - `clusters`: for each cluster of the first, its largest Jaccard index with any cluster of every
      other replicate, and their mean: the cluster is `stable` from 0.75 on (Hennig 2007).
    - `latents`: how well the latents of one are a linear map of the other's (`r2`, mean over both
      directions, of cross-validated predictions), and the share of ten nearest neighbours that are
      the same (`neighbours`, beside what `chance` gives).

    `agreement.parquet` has for every particle its cluster in the first and `share`, that of the
    other replicates which put it into the cluster that matches.

    Parameters
    ----------
    analyses
        Folders of `tomopipe analyze`, the first of the branch itself.
    out
        Folder to write.

    Raises
    ------
    ConfigError
        If there are fewer than two.
    StateError
        If they do not hold the same particles.
    """
    if len(analyses) < 2:
        raise ConfigError("agreement needs two analyses or more: give those of all replicates")
    tables = _cluster_tables(analyses)
    uids = tables[0]["uid"].to_numpy(object)
    labels = [
        rows_of(table, uids, path)["cluster"].to_numpy(int)
        for path, table in zip(analyses, tables, strict=True)
    ]
    jaccards = [jaccard(labels[0], other) for other in labels[1:]]
    record = {
        "step_format": STEP_FORMAT,
        "version": __version__,
        "replicates": [path.parent.name for path in analyses],
        "clusters_fingerprint": clusters_fingerprint(tables[0]),
        "n_particles": len(uids),
        "ari": [[float(adjusted_rand_score(a, b)) for b in labels] for a in labels],
        "clusters": _clusters(labels[0], jaccards),
        "latents": [
            _latents(analyses, i, j, uids) for i, j in combinations(range(len(analyses)), 2)
        ],
    }
    same = [
        matrix.argmax(axis=1)[labels[0]] == other
        for matrix, other in zip(jaccards, labels[1:], strict=True)
    ]
    particles = pd.DataFrame({"uid": uids, "cluster": labels[0], "share": np.mean(same, axis=0)})
    with atomic_directory(out) as folder:
        write_parquet(folder / "agreement.parquet", particles)
        write_json(folder / "agreement.json", record)
    return record


def _cluster_tables(analyses: Sequence[Path]) -> list[pd.DataFrame]:
    """`clusters.parquet` of all; `StateError` unless they hold the same particles."""
    tables = [read_parquet(path / "clusters.parquet") for path in analyses]
    uids = set(tables[0]["uid"])
    for path, table in zip(analyses, tables, strict=True):
        if len(table) != len(uids) or not table["uid"].isin(uids).all():
            raise StateError(
                f"{path} holds other particles than {analyses[0]}: give replicates of one branch"
            )
    return tables


def jaccard(first: NDArray[np.int64], other: NDArray[np.int64]) -> Array:
    """`(k, l)` particles in both of two clusters over those in either, labels from 0 on."""
    both = np.zeros((first.max() + 1, other.max() + 1))
    np.add.at(both, (first, other), 1)
    either = both.sum(axis=1, keepdims=True) + both.sum(axis=0) - both
    found: Array = both / np.maximum(either, 1)
    return found


def _clusters(labels: NDArray[np.int64], jaccards: list[Array]) -> list[dict[str, Any]]:
    rows = []
    for cluster in sorted({int(label) for label in labels}):
        best = [float(matrix[cluster].max()) for matrix in jaccards]
        rows.append(
            {
                "cluster": cluster,
                "count": int((labels == cluster).sum()),
                "matches": [int(matrix[cluster].argmax()) for matrix in jaccards],
                "jaccard": best,
                "mean": float(np.mean(best)),
                "stable": bool(np.mean(best) >= STABLE),
            }
        )
    return rows


def _latents(analyses: Sequence[Path], i: int, j: int, uids: Array) -> dict[str, Any]:
    """How far the latents of two replicates say the same, by an even sample of particles."""
    rows = evenly(len(uids), _SAMPLED)
    a, b = (_z(analyses[k], uids[rows]) for k in (i, j))
    near = min(_NEIGHBOURS, len(rows) - 1)
    return {
        "between": [i, j],
        "r2": 0.5 * (linear_r2(a, b) + linear_r2(b, a)),
        "neighbours": _shared_neighbours(a, b, near),
        "chance": near / (len(rows) - 1),
    }


def _z(analysis: Path, uids: Array) -> Array:
    path = analysis / "latents.parquet"
    table = rows_of(read_parquet(path), uids, path)
    found: Array = table[latent_columns(table)].to_numpy(float)
    return found


def linear_r2(a: Array, b: Array, folds: int = 5) -> float:
    """Share of the variance of `b` that a linear map of `a` predicts, each fold from the others."""
    centre = b.mean(axis=0)
    design = np.column_stack([np.ones(len(a)), a])
    rest = 0.0
    for k in range(folds):
        test = np.arange(len(a)) % folds == k
        weights, *_ = np.linalg.lstsq(design[~test], b[~test], rcond=None)
        rest += float(np.square(b[test] - design[test] @ weights).sum())
    return 1 - rest / max(float(np.square(b - centre).sum()), 1e-30)


def _shared_neighbours(a: Array, b: Array, near: int) -> float:
    trees = [NearestNeighbors(n_neighbors=near).fit(z) for z in (a, b)]
    found = [tree.kneighbors(return_distance=False) for tree in trees]
    shared = [len(set(x) & set(y)) for x, y in zip(*found, strict=True)]
    return float(np.mean(shared)) / near
