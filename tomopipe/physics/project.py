"""Slices of volumes in Fourier space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tomopipe.physics.fourier import crop_or_pad, fft3c, frequencies, ifft3c
from tomopipe.physics.window import soft_edge


def slice_points(lattice: Tensor, view: Tensor, box: int) -> Tensor:
    """Rotated frequencies of image lattice points: `[kx, ky, 0] @ A / box`.

    Parameters
    ----------
    lattice
        `(..., 2)` integer (kx, ky).
    view
        `(..., 3, 3)` view matrices, broadcast against `lattice`.
    box
        Box in pixels.

    Returns
    -------
    Tensor
        `(..., 3)` (x, y, z) in cycles per pixel.
    """
    k = lattice.to(view.dtype) / box
    return k[..., :1] * view[..., 0, :] + k[..., 1:2] * view[..., 1, :]


def padded_transform(volume: Tensor, padding: int = 2) -> Tensor:
    """Transform of a `(n, n, n)` volume on a grid `padding` times finer, `(padding n,) * 3`.

    Zero-padding in real space is what makes linear interpolation between Fourier voxels accurate.
    """
    return fft3c(crop_or_pad(volume, volume.shape[-1] * padding))


def sample(transform: Tensor, points: Tensor) -> Tensor:
    """Trilinear samples of a centred transform at `points`.

    Parameters
    ----------
    transform
        `(m, m, m)` complex, from `padded_transform`.
    points
        `(n, 3)` (x, y, z) in cycles per pixel.

    Returns
    -------
    Tensor
        `(n,)` complex.
    """
    m = transform.shape[-1]
    # grid_sample wants (x, y, z) in [-1, 1] with align_corners: index 0 -> -1, m - 1 -> 1
    index = points * m + m // 2
    grid = (2 * index / (m - 1) - 1)[None, None, None]
    stacked = torch.view_as_real(transform).movedim(-1, 0)[None].to(points.dtype)
    values = F.grid_sample(stacked, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return torch.complex(values[0, 0, 0, 0], values[0, 1, 0, 0])


def lowpass(volume: Tensor, radius: float) -> Tensor:
    """Volume `(n, n, n)` without frequencies beyond `radius` (lattice units), soft edge of 2."""
    keep = soft_edge(frequencies(volume.shape[-1], 3, volume.device), radius - 1, radius + 1)
    return ifft3c(fft3c(volume) * keep).real
