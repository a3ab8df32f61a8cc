"""Fourier shell correlation, resolution and real-space correlation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tomopipe.physics.fourier import fft3c, frequencies


def fsc(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Fourier shell correlation of two `(n, n, n)` volumes.

    Shells are one voxel wide, 1 to n/2 - 1.

    Returns
    -------
    Tensor
        `(n/2 - 1,)` float64; entry i belongs to shell i + 1.

    Raises
    ------
    ValueError
        If the volumes differ in shape or are not cubes.
    """
    if a.shape != b.shape or len(set(a.shape)) != 1 or a.ndim != 3:
        raise ValueError(
            f"FSC needs two cubes of one size, not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if mask is not None:
        a, b = a * mask, b * mask
    fa, fb = fft3c(a.double()), fft3c(b.double())
    cross = shell_sum((fa * fb.conj()).real)
    power = shell_sum(fa.abs() ** 2) * shell_sum(fb.abs() ** 2)
    return cross / power.sqrt().clamp(min=1e-30)


def shell_sum(values: Tensor) -> Tensor:
    """Sums of a centred `(n, n, n)` array over shells 1 to n/2 - 1: `(n/2 - 1,)`."""
    n = values.shape[-1]
    shell = frequencies(n, 3, values.device).round().long().reshape(-1)
    total = torch.zeros(int(shell.max()) + 1, dtype=values.dtype, device=values.device)
    total.index_add_(0, shell, values.reshape(-1))
    return total[1 : n // 2]


def resolution_at(
    curve: Tensor, pixel_size: float, threshold: float = 0.143, box: int | None = None
) -> float:
    """Resolution in Å where an FSC curve first falls below `threshold`.

    The crossing is interpolated linearly between shells; a curve that never crosses gives the
    resolution of its last shell, one that ends in nan that of the last shell before, and without
    any shell it is infinite. `box` is that of the maps (by default even).
    """
    values = torch.cat([torch.ones(1, dtype=curve.dtype), curve.cpu()])
    box = box or 2 * len(values)
    below = torch.nonzero(~(values >= threshold))
    if len(below) == 0:
        return box * pixel_size / (len(values) - 1)
    i = int(below[0])
    high, low = float(values[i - 1]), float(values[i])
    if math.isnan(low):
        return box * pixel_size / (i - 1) if i > 1 else math.inf
    shell = i - 1 + (high - threshold) / (high - low)
    return box * pixel_size / max(shell, 1e-6)


def correlation(a: Tensor, b: Tensor, mask: Tensor | None = None) -> float:
    """Zero-mean normalised correlation of two volumes inside `mask` (soft masks weigh voxels)."""
    weight = torch.ones_like(a) if mask is None else mask
    total = weight.sum().clamp(min=1e-12)
    da = a - (weight * a).sum() / total
    db = b - (weight * b).sum() / total
    cross = (weight * da * db).sum()
    norm = ((weight * da**2).sum() * (weight * db**2).sum()).sqrt()
    return float(cross / norm.clamp(min=1e-30))
