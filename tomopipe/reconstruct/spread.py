"""Coefficients spread over the voxels of a Fourier grid."""

from __future__ import annotations

import itertools

from torch import Tensor


def spread(points: Tensor, values: Tensor, m: int) -> Tensor:
    """Trilinear spreading: every coefficient goes to its 8 neighbours, `(m^3, 3)`.

    Parameters
    ----------
    points
        `(C, 3)` (x, y, z) in cycles per pixel.
    values
        `(C, 3)` data (real, imaginary) and weight. Friedel mates are not spread: see `mates`.
    m
        Voxels of the grid along each axis.
    """
    position = points * m + m // 2
    base = position.floor()
    rest = position - base
    # per axis x, y, z: the two neighbours and their shares
    shares = [(1 - r, r) for r in rest.unbind(1)]
    # beyond the last voxel, outside the kept sphere, they come round
    places = [(c % m, (c + 1) % m) for c in base.long().unbind(1)]
    total = values.new_zeros(m**3, values.shape[1])
    for dx, dy, dz in itertools.product((0, 1), repeat=3):
        share = shares[0][dx] * shares[1][dy] * shares[2][dz]
        index = (places[2][dz] * m + places[1][dy]) * m + places[0][dx]
        total.index_add_(0, index, values * share[:, None])
    return total


def mates(total: Tensor) -> Tensor:
    """`total` `(m, m, m, 3)` at the opposite frequencies: index i goes to m - i, 0 stays.

    Spreading a coefficient's Friedel mate gives the mirror image of spreading the coefficient, so
    that the sums are mirrored once instead of spreading everything twice.
    """
    return total.flip(0, 1, 2).roll((1, 1, 1), (0, 1, 2))
