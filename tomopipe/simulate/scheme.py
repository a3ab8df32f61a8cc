"""Tilt schemes, errors of poses, and random draws that several simulations share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]


def dose_symmetric(tilts: int, group: int = 1) -> NDArray[np.int64]:
    """`(tilts,)` tilt angles in steps, in the order of acquisition.

    Zero, then `group` positive angles, `group` negative ones, the next positive ones, and so on
    (Hagen et al. 2017): 0, 1, -1, 2, -2 … or in groups of two 0, 1, 2, -1, -2, 3, 4, -3, -4 …
    """
    sides = {1: iter(range(1, tilts // 2 + 1)), -1: iter(range(1, (tilts - 1) // 2 + 1))}
    steps, side = [0], 1
    while len(steps) < tilts:
        steps += [side * step for _, step in zip(range(group), sides[side], strict=False)]
        side = -side
    return np.array(steps)


def random_pose(rng: np.random.Generator) -> Floats:
    """Random rotation `(3, 3)`, uniform over all."""
    return np.asarray(Rotation.random(rng=rng).as_matrix())


def pose_error(degrees: float, rng: np.random.Generator) -> Floats:
    """A rotation `(3, 3)` about a random axis, of N(`degrees`, `degrees`) degrees.

    As poses are perturbed in the tomoDRGN paper (Powell & Davis 2024, Extended Data Fig. 10).
    """
    axis = rng.normal(size=3)
    angle = np.deg2rad(rng.normal(degrees, degrees))
    return np.asarray(Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).as_matrix())


def shift_error(mean_angstrom: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Shifts of `shape` in Å, uniform along each axis with a mean size of `mean_angstrom`."""
    return np.asarray(rng.uniform(-2 * mean_angstrom, 2 * mean_angstrom, size=shape))


def shares_to_counts(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers that sum to `total`, as nearly in the ratio of `shares` as that allows."""
    edges = np.round(np.cumsum(shares / shares.sum()) * total).astype(int)
    return np.diff(np.concatenate([[0], edges]))
