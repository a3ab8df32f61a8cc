"""Paths through latent space: along components, over the graph of particles, along a motion."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.sparse.linalg import ArpackError, eigsh
from scipy.spatial import cKDTree

from tomopipe.analysis.latent import Array, evenly, isolated, principal_components


def component_path(z: Array, space: Array, component: int, steps: int) -> Array:
    """Latents `(steps, K)` along a principal component of `space`, through the particles' mean.

    The ends are the 5th and 95th percentile of the scores, as in tomoDRGN. At a score lie the
    latents that particles of that score have on average (least squares), which in plain latents is
    the straight line along the component's axis.

    Parameters
    ----------
    z, space
        `(n, K)` latents, and the `(n, d)` coordinates in which components are found.
    """
    score = principal_components(space)[0][:, component]
    centre = z.mean(axis=0)
    slope = score @ (z - centre) / max(score @ score, 1e-300)
    low, high = np.percentile(score, [5, 95])
    path: Array = centre + np.linspace(low, high, steps)[:, None] * slope
    return path


def graph_path(z: Array, anchors: Array, *, neighbors: int = 10) -> Array:
    """Positions of the particles on the shortest way past `anchors`, in order.

    The way leads over nearest neighbours, with squared distances as lengths so that it keeps to
    where the particles are; separate islands are joined where they come closest.

    Parameters
    ----------
    z
        `(n, K)` latents.
    anchors
        Positions of two or more particles.
    neighbors
        Neighbours of each particle in the graph.

    Raises
    ------
    ValueError
        If there are fewer than two anchors or one is not a particle.
    """
    anchors = np.asarray(anchors, dtype=np.int64)
    if len(anchors) < 2 or anchors.min() < 0 or anchors.max() >= len(z):
        raise ValueError(f"a graph path needs two or more anchors within 0 … {len(z) - 1}")
    graph = _join(_neighbor_graph(z, neighbors, squared=True), z)
    path = [int(anchors[0])]
    for start, end in pairwise(anchors.tolist()):
        _, previous = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
        leg = [int(end)]
        while leg[-1] != start:
            leg.append(int(previous[leg[-1]]))
        path.extend(leg[-2::-1] if len(leg) > 1 else [])
    return np.array(path)


def motion_coordinate(points: Array) -> Array:
    """One coordinate in 0 … 1 for each of `(n, d)` points, for continuous motion: `(n,)`.

    The slowest diffusion process on the neighbour graph (Coifman & Lafon 2006) follows a curve
    however it bends; a principal curve (Hastie & Stuetzle 1989) begun there takes the noise off.
    Isolated particles do not shape the curve, nor do more than `latent.FITTED`. Values are ranks
    along it, evenly spread; the direction is that of the first principal component. On bent noisy
    curves this agrees with the truth better than one-dimensional UMAP, which tears curves.
    """
    first = principal_components(points)[0][:, 0]
    inside = np.flatnonzero(~isolated(points, 0.05))
    shaping = points[inside[evenly(len(inside))]]
    value = _along(points, _principal_curve(shaping)) if len(shaping) >= 8 else first
    rank = _ranks(value)
    return rank if (rank - rank.mean()) @ first >= 0 else 1 - rank


def _ranks(value: Array) -> Array:
    """Ranks scaled to 0 … 1."""
    rank = np.empty(len(value))
    rank[np.argsort(value, kind="stable")] = np.arange(len(value))
    return rank / max(len(value) - 1, 1)


def _principal_curve(points: Array, rounds: int = 10) -> Array:
    """Polygon `(m, d)` through the points, begun in the order of their diffusion."""
    nodes = np.linspace(0, 1, 101)
    curve = _smooth_curve(points, _ranks(_diffusion(points)), nodes)
    for _ in range(rounds - 1):
        curve = _smooth_curve(points, _ranks(_along(points, curve)), nodes)
    return curve


def _along(points: Array, curve: Array) -> Array:
    """Position `(n,)` of each point on a polygon."""
    parts = np.array_split(points, len(points) // 2000 + 1)
    return np.concatenate([_project(part, curve) for part in parts])


def _smooth_curve(points: Array, order: Array, nodes: Array, width: float = 0.08) -> Array:
    """Local straight-line fit of the points along their order, at `nodes`: `(m, d)`."""
    weight = np.exp(-0.5 * ((nodes[:, None] - order) / width) ** 2)
    weight /= weight.sum(axis=1, keepdims=True)
    mean = weight @ order
    spread = weight @ order**2 - mean**2
    slope = (weight @ (order[:, None] * points) - mean[:, None] * (weight @ points)) / np.clip(
        spread, 1e-12, None
    )[:, None]
    curve: Array = weight @ points + (nodes - mean)[:, None] * slope
    return curve


def _project(points: Array, curve: Array) -> Array:
    """Arc length `(n,)` of the nearest place on the polygon `curve` `(m, d)`."""
    step = np.diff(curve, axis=0)
    length = np.linalg.norm(step, axis=1)
    along = np.einsum("nmd,md->nm", points[:, None] - curve[:-1], step)
    along = np.clip(along / np.clip(length, 1e-12, None) ** 2, 0, 1)
    gap = np.linalg.norm(points[:, None] - curve[:-1] - along[..., None] * step, axis=2)
    best = gap.argmin(axis=1)
    start = np.concatenate([[0], np.cumsum(length)])
    position: Array = start[best] + along[np.arange(len(points)), best] * length[best]
    return position


def _diffusion(points: Array) -> Array:
    """First non-trivial eigenvector of a density-corrected, self-tuned diffusion: `(n,)`."""
    n = len(points)
    k = int(np.clip(n // 10, 7, 50))
    distance, index = cKDTree(points).query(points, k=min(k + 1, n))
    scale = np.clip(distance[:, -1], 1e-12, None)
    rows = np.repeat(np.arange(n), index.shape[1] - 1)
    columns = index[:, 1:].ravel()
    kernel = np.exp(-2 * distance[:, 1:].ravel() ** 2 / (scale[rows] * scale[columns]))
    graph = csr_matrix((kernel, (rows, columns)), shape=(n, n))
    graph = _join(graph.maximum(graph.T), points, weight=1e-3)
    density = np.asarray(graph.sum(axis=1)).ravel()
    graph = diags(1 / density) @ graph @ diags(1 / density)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    half = diags(1 / np.sqrt(degree))
    start = np.sqrt(degree) + np.linspace(-1, 1, n) * np.sqrt(degree).mean()
    try:
        # separate states have eigenvalues next to each other, which no order of theirs is worth
        _, vectors = eigsh(half @ graph @ half, k=2, which="LA", v0=start, tol=1e-6)
    except ArpackError:
        return principal_components(points)[0][:, 0]
    vector: Array = vectors[:, 0] / np.sqrt(degree)
    return vector


def _neighbor_graph(z: Array, neighbors: int, *, squared: bool) -> Any:
    """Symmetric sparse graph of the nearest neighbours; entries are (squared) distances."""
    distance, index = cKDTree(z).query(z, k=min(neighbors + 1, len(z)))
    rows = np.repeat(np.arange(len(z)), index.shape[1])
    # zero lengths would be taken for missing edges
    length = np.clip(distance.ravel() ** (2 if squared else 1), 1e-12, None)
    graph = csr_matrix((length, (rows, index.ravel())), shape=(len(z), len(z)))
    return graph.maximum(graph.T)


def _join(graph: Any, points: Array, weight: float | None = None) -> Any:
    """Add the shortest edge between each island of the graph and the rest, until it is one.

    `weight` is the new edge's value; by default its squared length.
    """
    while True:
        count, label = connected_components(graph, directed=False)
        if count == 1:
            return graph
        smallest = np.bincount(label).argmin()
        island, rest = np.flatnonzero(label == smallest), np.flatnonzero(label != smallest)
        distance, nearest = cKDTree(points[rest]).query(points[island])
        a = int(distance.argmin())
        i, j = island[a], rest[nearest[a]]
        value = max(float(distance[a]) ** 2, 1e-12) if weight is None else weight
        edge = csr_matrix(([value, value], ([i, j], [j, i])), shape=graph.shape)
        graph = graph.maximum(edge)
