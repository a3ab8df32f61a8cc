"""Coefficients spread over the voxels of a Fourier grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# coefficients at a time: what is worked on then stays in a processor's cache
_BLOCK = 1 << 15


def empty_grid(m: int, channels: int, device: torch.device | str = "cpu") -> Tensor:
    """Zeros `(channels, m^3 + margin)`; neighbours beyond the last voxel fall into the margin."""
    return torch.zeros(channels, m**3 + m * m + m + 1, device=device)


def spread(points: Tensor, values: Sequence[Tensor], grid: Tensor, m: int) -> None:
    """Trilinear spreading: every coefficient is added to its 8 neighbours.

    Parameters
    ----------
    points
        `(C, 3)` (x, y, z) in cycles per pixel, less than half a cycle from the origin.
    values
        Of each channel `(C,)`. Friedel mates are not spread: see `mates`.
    grid
        From `empty_grid`; changed in place. Its voxels of index 0, which lie outside the kept
        sphere, are not to be used: neighbours past the end of a row come there.
    m
        Voxels of the grid along each axis.
    """
    block = _BLOCK if points.device.type == "cpu" else max(len(points), 1)
    for first in range(0, len(points), block):
        part = slice(first, first + block)
        _spread_block(points[part], [value[part] for value in values], grid, m)


def _spread_block(points: Tensor, values: Sequence[Tensor], grid: Tensor, m: int) -> None:
    position = points * m + m // 2
    base = position.floor()
    x, y, z = (position - base).unbind(1)
    column, row, plane = base.long().unbind(1)
    place = (plane * m + row) * m + column
    for dz, share_z in enumerate((1 - z, z)):
        for dy, share_y in enumerate((1 - y, y)):
            both = share_z * share_y
            parts = [value * both for value in values]
            for dx, share_x in enumerate((1 - x, x)):
                index = place + (dz * m + dy) * m + dx
                for channel, part in zip(grid, parts, strict=True):
                    channel.scatter_add_(0, index, part * share_x)


def mates(grid: Tensor) -> Tensor:
    """`grid` `(channels, m, m, m)` at the opposite frequencies: index i goes to m - i, 0 stays.

    Spreading a coefficient's Friedel mate gives the mirror image of spreading the coefficient, so
    that the sums are mirrored once instead of spreading everything twice.
    """
    return grid.flip(1, 2, 3).roll((1, 1, 1), (1, 2, 3))
