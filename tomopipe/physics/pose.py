"""Euler angles and view matrices (RELION's convention)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]


def view_matrix(rot: ArrayLike, tilt: ArrayLike, psi: ArrayLike) -> Floats:
    """View matrices A from RELION's Euler angles in degrees: `(..., 3, 3)`.

    A maps object to view coordinates; equals RELION's `Euler_angles2matrix` to 1e-15.
    """
    parts = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in (rot, tilt, psi)))
    angles = np.stack(parts, -1)
    matrices = Rotation.from_euler("ZYZ", angles.reshape(-1, 3), degrees=True).inv().as_matrix()
    return np.asarray(matrices.reshape(*angles.shape[:-1], 3, 3), dtype=np.float64)


def euler_angles(view: ArrayLike) -> Floats:
    """RELION's (rot, tilt, psi) in degrees `(..., 3)` of view matrices `(..., 3, 3)`."""
    matrices = np.asarray(view, dtype=float)
    flat = Rotation.from_matrix(matrices.reshape(-1, 3, 3)).inv()
    angles = flat.as_euler("ZYZ", degrees=True)
    return np.asarray(angles.reshape(*matrices.shape[:-2], 3), dtype=np.float64)
