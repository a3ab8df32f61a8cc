"""Local resolution: the half-maps' FSC in a window that moves over the map."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tomopipe.io.progress import Progress
from tomopipe.physics.fourier import crop_or_pad, fft3c, frequencies, ifft3c

_FWHM = 2.3548  # of a Gaussian, in standard deviations
_REACH = 2.5  # standard deviations of a band that are kept


def local_resolution(
    half1: Tensor,
    half2: Tensor,
    pixel_size: float,
    *,
    window_pixels: float = 24.0,
    stride: int = 3,
    threshold: float = 0.5,
) -> Tensor:
    """Resolution in Å around every voxel of two half-maps `(n, n, n)`: `(n, n, n)`.

    The maps are split into Gaussian bands as narrow as the window can tell apart; the window
    average of their products, by convolution, is the FSC of each band around each voxel. The
    first band below `threshold` counts, interpolated linearly (after Cardone et al. 2013).

    Parameters
    ----------
    half1, half2
        Unfiltered half-maps.
    pixel_size
        Å per voxel.
    window_pixels
        Width at half height of the Gaussian window.
    stride
        Voxels between places where it is computed; between them it is interpolated.
    threshold
        FSC that counts as resolved.
    """
    n = half1.shape[-1]
    window_pixels = min(window_pixels, n / 2)
    transforms = (fft3c(half1), fft3c(half2))
    sigma = max(0.5 * n / window_pixels, 0.7)
    step = max(1, round(sigma))
    # the window's transform, beyond which nothing of an average is left
    spread = n * _FWHM / (2 * math.pi * window_pixels)
    limit = math.ceil(3 * spread)
    size = max(_even(n / stride), min(2 * limit, n))
    found = torch.zeros(size, size, size)
    before, before_at = torch.ones_like(found), 0.0
    open_ = torch.ones_like(found, dtype=torch.bool)
    centres = range(step, n // 2, step)
    with Progress(len(centres), "local resolution") as progress:
        for centre in centres:
            value = _band(transforms, float(centre), sigma, spread, limit, size)
            crossing = open_ & (value < threshold)
            share = ((before - threshold) / (before - value).clamp(min=1e-6)).clamp(0, 1)
            at = before_at + (centre - before_at) * share
            reached = torch.where(open_, torch.full_like(at, centre), found)
            found = torch.where(crossing, at, reached)
            open_ = open_ & ~crossing
            before, before_at = value, float(centre)
            progress.advance()
            if not bool(open_.any()):
                break
    return n * pixel_size / _enlarged(found.clamp(min=1.0), n)


def _band(
    transforms: tuple[Tensor, Tensor],
    centre: float,
    sigma: float,
    spread: float,
    limit: int,
    size: int,
) -> Tensor:
    """Window-averaged correlation of one band: `(size, size, size)`."""
    n = transforms[0].shape[-1]
    reach = min(n // 2, math.ceil(centre + _REACH * sigma))
    # a grid on which products alias only where the window averages them away
    grid = _even(2 * reach + limit + 2)
    radius = frequencies(grid, 3)
    band = torch.exp(-0.5 * ((radius - centre) / sigma) ** 2) * (radius <= reach)
    a, b = (ifft3c(crop_or_pad(t, grid) * band).real for t in transforms)
    window = torch.exp(-0.5 * (frequencies(size, 3) / spread) ** 2)
    cross, first, second = (
        ifft3c(crop_or_pad(fft3c(product), size) * window).real for product in (a * b, a * a, b * b)
    )
    # far from the particle there is nothing, where rounding could leave a negative power
    power = (first.clamp(min=0) * second.clamp(min=0)).sqrt()
    return cross / power.clamp(min=1e-12 * float(power.max()) + 1e-30)


def _even(value: float) -> int:
    return max(2 * math.ceil(value / 2), 4)


def _enlarged(coarse: Tensor, n: int) -> Tensor:
    """`coarse` `(m, m, m)`, centre at m // 2, interpolated to `(n, n, n)`."""
    m = coarse.shape[-1]
    line = (torch.arange(n) - n // 2) * (m / n) + m // 2
    line = 2 * line / (m - 1) - 1
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    grid = torch.stack([x, y, z], -1)[None].to(coarse)
    fine = F.grid_sample(
        coarse[None, None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return fine[0, 0]
