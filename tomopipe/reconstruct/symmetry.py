"""Rotations of the point groups, in RELION's orientation of their axes."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tomopipe.config.reconstruct import SYMMETRY
from tomopipe.errors import ConfigError

Floats = NDArray[np.float64]
Axis = tuple[float, float, float]

_Z: Axis = (0.0, 0.0, 1.0)
_GOLDEN = (1 + math.sqrt(5)) / 2
# Generators (order, axis). T: threefold along z. O: fourfolds along x, y and z. I (I2 in RELION):
# twofolds along x, y and z, a fivefold in the xz plane; I1 is turned by 90 degrees about z.
_GENERATORS: dict[str, tuple[tuple[int, Axis], ...]] = {
    "T": ((3, _Z), (2, (0.0, math.sqrt(2 / 3), math.sqrt(1 / 3)))),
    "O": ((4, _Z), (3, (1.0, 1.0, 1.0))),
    "I": ((2, _Z), (5, (1.0, 0.0, _GOLDEN)), (3, (0.0, 1.0, _GOLDEN**2))),
    "I1": ((2, _Z), (5, (_GOLDEN, 0.0, -1.0)), (3, (_GOLDEN**2, 1.0, 0.0))),
}
_GENERATORS["I2"] = _GENERATORS["I"]


def operators(name: str) -> Floats:
    """Rotations of a point group, the identity first: `(g, 3, 3)`, acting on (x, y, z).

    Cn and Dn turn about z, the twofolds of Dn include x.

    Raises
    ------
    ConfigError
        If there is no such group.
    """
    if not re.fullmatch(SYMMETRY, name):
        raise ConfigError(f"symmetry: {name!r} is no point group; give Cn, Dn, T, O, I, I1 or I2")
    if name[0] in "CD":
        generators: tuple[tuple[int, Axis], ...] = ((int(name[1:]), _Z),)
        if name[0] == "D":
            generators += ((2, (1.0, 0.0, 0.0)),)
    else:
        generators = _GENERATORS[name]
    return _closed([_rotation(order, axis) for order, axis in generators])


def _rotation(order: int, axis: Axis) -> Floats:
    unit = np.array(axis) / np.linalg.norm(axis)
    return np.asarray(Rotation.from_rotvec(2 * math.pi / order * unit).as_matrix())


def _closed(generators: list[Floats]) -> Floats:
    """All products of the generators."""
    found = [np.eye(3)]
    new = found
    while new:
        fresh: list[Floats] = []
        for element in new:
            for generator in generators:
                product = generator @ element
                if all(np.abs(product - known).max() > 1e-6 for known in [*found, *fresh]):
                    fresh.append(product)
        found = [*found, *fresh]
        new = fresh
    return np.stack(found)
