"""Latents of a model: reading them, and the distances between particles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tomopipe.errors import StateError
from tomopipe.io.atomic import read_parquet

Array = npt.NDArray[Any]

FITTED = 20_000  # particles that clusters and curves are fitted to, at most: more tell no more
EMBEDDED = 100_000  # particles that UMAP lays out, at most, and that it places at a time
_TREE_DIMENSIONS = 15  # beyond, a tree of neighbours is slower than all distances


@dataclass(frozen=True)
class Latents:
    """Latents of n particles in K dimensions.

    Attributes
    ----------
    uids
        `(n,)` particle uids.
    z
        `(n, K)` posterior means.
    covariance
        Posterior covariances `(n, K, K)` of a linear model, variances `(n, K)` of a network,
        or None.
    error
        `(n,)` normalised residual of each particle, NaN unknown.
    """

    uids: Array
    z: Array
    covariance: Array | None
    error: Array

    def __len__(self) -> int:
        """Count the particles."""
        return len(self.uids)

    @property
    def calibrated(self) -> bool:
        """Whether posterior covariances are full: the linear model's, which mean what they say."""
        return self.covariance is not None and self.covariance.ndim == 3

    @property
    def mean_covariance(self) -> Array:
        """`(K, K)` mean posterior covariance; 0 where there is none."""
        if self.covariance is None:
            return np.zeros((self.z.shape[1],) * 2)
        mean: Array = self.covariance.mean(axis=0)
        return mean if self.calibrated else np.diag(mean)

    def take(self, rows: Array) -> Latents:
        """Rows by position."""
        covariance = None if self.covariance is None else self.covariance[rows]
        return Latents(self.uids[rows], self.z[rows], covariance, self.error[rows])

    def sorted(self) -> Latents:
        """Rows by uid, so that nothing that follows depends on the order of the table."""
        return self.take(np.argsort(self.uids.astype(str), kind="stable"))


def read_latents(path: Path, uids: npt.ArrayLike | None = None) -> Latents:
    """Read `latents.parquet` of a model, all rows or those of `uids` in their order.

    Raises
    ------
    StateError
        If the table lacks latents or uids, holds a uid twice or a value that is not finite.
    """
    table = read_parquet(path)
    names = latent_columns(table)
    if "uid" not in table or not names:
        raise StateError(f"{path} has no uid and z0 … columns: run the model's stage again")
    if table["uid"].duplicated().any():
        twice = table.loc[table["uid"].duplicated(), "uid"].iloc[0]
        raise StateError(f"{path} holds particle {twice!r} twice: run the model's stage again")
    if uids is not None:
        table = rows_of(table, np.asarray(uids, dtype=object), path)
    z = table[names].to_numpy(np.float64)
    if not np.isfinite(z).all():
        first = table["uid"][~np.isfinite(z).all(axis=1)].iloc[0]
        raise StateError(f"{path}: latents of particle {first!r} are not finite: train again")
    error = table["error"].to_numpy(np.float64) if "error" in table else np.full(len(z), np.nan)
    return Latents(table["uid"].to_numpy(object), z, _covariances(table, len(names)), error)


def latent_columns(table: pd.DataFrame) -> list[str]:
    """Names `z0`, `z1`, … in numerical order."""
    found = [c for c in map(str, table.columns) if re.fullmatch(r"z\d+", c)]
    return sorted(found, key=lambda c: int(c[1:]))


def rows_of(table: pd.DataFrame, uids: Array, path: Path) -> pd.DataFrame:
    """Rows of `uids` in that order, looked up by uid.

    Raises
    ------
    StateError
        If `table` lacks one of them; `path` is named.
    """
    position = pd.Index(table["uid"]).get_indexer(pd.Index(uids))
    if (position < 0).any():
        missing = uids[position < 0]
        raise StateError(
            f"{path} lacks {len(missing)} of {len(uids)} particles, the first is {missing[0]!r}: "
            "run its stage again with these particles"
        )
    found: pd.DataFrame = table.iloc[position].reset_index(drop=True)
    return found


def _covariances(table: pd.DataFrame, k: int) -> Array | None:
    """`(n, K, K)` from columns `cov_i_j` (i <= j), or `(n, K)` variances from `sd0 …`, or None."""
    if "cov_0_0" in table:
        full = np.empty((len(table), k, k))
        for i in range(k):
            for j in range(i, k):
                full[:, i, j] = full[:, j, i] = table[f"cov_{i}_{j}"].to_numpy(np.float64)
        return full
    if "sd0" in table:
        variance: Array = table[[f"sd{i}" for i in range(k)]].to_numpy(np.float64) ** 2
        return variance
    return None


def principal_components(z: Array) -> tuple[Array, Array, Array]:
    """PCA with a deterministic sign: the loading of largest magnitude is positive.

    Returns
    -------
    tuple
        Scores `(n, K)`, axes `(K, K)` one a row, and the share of variance of each.
    """
    centred = z - z.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / max(len(z) - 1, 1))
    axes = vectors[:, ::-1].T
    lead = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), lead])[:, None]
    variance = np.clip(values[::-1], 0, None)
    return centred @ axes.T, axes, variance / max(variance.sum(), 1e-300)


def metric_space(latents: Latents, metric: str) -> Array:
    """Coordinates `(n, d)` in which Euclidean distance is the distance between particles.

    `latent` takes z as it is. `precision` finds the directions v with
    Cov(z) v = r S v, S = Cov(z) + mean posterior covariance (law of total variance); r is the
    share of a direction's variance that the images determine, its reliability. With t the scores
    normalised by S, their noise has variance r (1 - r); t sqrt(r / (1 - r)) are scores of unit
    noise times r, so noise weighs the same in all directions and undetermined ones vanish. The
    result does not depend on the basis or scale in which the model keeps its latents. `auto` is
    precision where there are covariances. A network's are no calibrated posteriors, but they tell
    the directions that it leaves to noise, which training may make as wide as it likes.
    """
    plain: Array = latents.z - latents.z.mean(axis=0)
    if metric == "latent" or latents.covariance is None or len(latents) < 3:
        return plain
    centred: Array = latents.z - np.median(latents.z, axis=0)
    signal = np.cov(_winsorised(centred).T).reshape(centred.shape[1], -1)
    total = signal + latents.mean_covariance
    values, vectors = np.linalg.eigh(total)
    floor = max(values[-1], 1e-300) * 1e-12
    whiten = vectors / np.sqrt(np.clip(values, floor, None))
    reliability, axes = np.linalg.eigh(whiten.T @ signal @ whiten)
    reliability = np.clip(reliability, 0.0, 0.99)[::-1]
    axes = (whiten @ axes)[:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    scores: Array = centred @ axes * np.sqrt(reliability / (1 - reliability))
    return scores[:, reliability > 1e-3] if (reliability > 1e-3).any() else scores


def _winsorised(centred: Array) -> Array:
    """Rows beyond 4 times the median norm are drawn in, so that outliers do not set the scale."""
    scale = np.median(np.abs(centred), axis=0)
    scale = np.where(scale > 0, scale, centred.std(axis=0) + 1e-300)
    norm = np.sqrt(((centred / scale) ** 2).mean(axis=1))
    limit = 4 * np.median(norm)
    drawn: Array = centred * np.minimum(1, limit / np.clip(norm, 1e-300, None))[:, None]
    return drawn


def evenly(n: int, most: int = FITTED) -> Array:
    """Positions of at most `most` of n rows, evenly spaced."""
    if n <= most:
        return np.arange(n)
    return np.linspace(0, n - 1, most).round().astype(np.int64)


def isolated(points: Array, most: float) -> Array:
    """Mask `(n,)` of particles without neighbours, at most the share `most` of all.

    A particle is isolated when the distance to its fifth neighbour is more than six spreads
    (scaled median deviation of the logarithm) above the median; a rare but compact state has
    neighbours and is never isolated. In large sets neighbours are looked for among `FITTED` ones.
    """
    n = len(points)
    if n < 20 or most <= 0:
        return np.zeros(n, dtype=bool)
    log = np.log(np.clip(_fifth_neighbour(points), 1e-300, None))
    spread = 1.4826 * np.median(np.abs(log - np.median(log)))
    excess = log - np.median(log)
    limit = max(6 * spread, np.log(2.0))
    chosen = np.argsort(-excess, kind="stable")[: int(most * n)]
    result = np.zeros(n, dtype=bool)
    result[chosen[excess[chosen] > limit]] = True
    return result


def _fifth_neighbour(points: Array) -> Array:
    """Distance `(n,)` to the fifth neighbour among an even sample of the points."""
    rows = evenly(len(points))
    if points.shape[1] > _TREE_DIMENSIONS and len(points) > len(rows):
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(points[rows])
        distance = search.kneighbors(points)[0]
    else:
        from scipy.spatial import cKDTree

        distance = cKDTree(points[rows]).query(points, k=6)[0]
    # a particle of the sample is its own first neighbour
    own = np.zeros(len(points), dtype=bool)
    own[rows] = True
    fifth: Array = np.where(own, distance[:, 5], distance[:, 4])
    return fifth


def umap_coordinates(
    points: Array, *, dimensions: int = 2, neighbors: int = 15, min_distance: float = 0.1, seed: int
) -> Array:
    """Seeded UMAP of `(n, d)` points: `(n, dimensions)` float32.

    Of large sets `EMBEDDED` particles, evenly taken, are laid out and the others placed among
    them, which is faster. Sets of fewer than `dimensions + 3` particles have no neighbourhoods to
    speak of; they get their first principal components instead.
    """
    n = len(points)
    if n < dimensions + 3:
        scores = principal_components(points)[0][:, :dimensions]
        return np.pad(scores, [(0, 0), (0, dimensions - scores.shape[1])]).astype(np.float32)
    import warnings

    from umap import UMAP

    from tomopipe.analysis.compiled import keep_compiled

    keep_compiled("umap", "pynndescent")
    with warnings.catch_warnings():
        # UMAP says on every seeded run that it uses one thread; that is what we want
        warnings.simplefilter("ignore")
        model = UMAP(
            n_components=dimensions,
            n_neighbors=min(neighbors, n - 1),
            min_dist=min_distance,
            random_state=seed,
            n_jobs=1,
            init="spectral" if n > 4 * dimensions + 8 else "random",
        )
        rows = evenly(n, EMBEDDED)
        result = np.empty((n, dimensions), dtype=np.float32)
        result[rows] = model.fit_transform(points[rows])
        others = np.setdiff1d(np.arange(n), rows)
        if len(others):  # in equal parts: UMAP places few particles by other rules than many
            for part in np.array_split(others, -(-len(others) // EMBEDDED)):
                result[part] = model.transform(points[part])
        return result
