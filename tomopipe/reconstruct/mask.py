"""The mask of a reconstruction: around its density, a sphere, or from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tomopipe.config.reconstruct import ReconstructSettings
from tomopipe.errors import InputError
from tomopipe.io.mrc import read_volume
from tomopipe.physics.fsc import fsc, resolution_at
from tomopipe.physics.mask import soft_mask, sphere_mask
from tomopipe.physics.project import lowpass

FINEST_ANGSTROM = 15.0


def automatic_mask(
    volume: Tensor,
    pixel_size: float,
    lowpass_angstrom: float,
    *,
    dilate_pixels: float = 3.0,
    edge_pixels: float = 10.0,
) -> Tensor:
    """Soft mask `(n, n, n)` around the density of a map without its fine, noisy part.

    Threshold at half the 99th percentile of the low-passed map, dilated, with a cosine edge; inside
    the sphere that the images' window leaves.
    """
    n = volume.shape[-1]
    radius = min(n * pixel_size / lowpass_angstrom, n / 2 - 1)
    smooth = lowpass(volume, max(radius, 2.0)) * sphere_mask(n, 0.45 * n - 3)
    return soft_mask(smooth, dilate_pixels=dilate_pixels, edge_pixels=edge_pixels)


def mask_lowpass(half1: Tensor, half2: Tensor, pixel_size: float) -> float:
    """Å at which a mask is drawn: where the unmasked FSC falls below 0.5, at the finest 15."""
    return max(resolution_at(fsc(half1, half2), pixel_size, 0.5), FINEST_ANGSTROM)


def reconstruction_mask(
    half1: Tensor, half2: Tensor, pixel_size: float, settings: ReconstructSettings
) -> Tensor:
    """The mask that the settings ask for, `(n, n, n)`.

    Raises
    ------
    InputError
        If a mask file is unreadable, of another box, or not between 0 and 1.
    """
    n = half1.shape[-1]
    if settings.mask == "auto":
        limit = settings.mask_lowpass_angstrom or mask_lowpass(half1, half2, pixel_size)
        return automatic_mask(
            half1 + half2,
            pixel_size,
            limit,
            dilate_pixels=settings.mask_dilate_pixels,
            edge_pixels=settings.mask_edge_pixels,
        )
    if settings.mask == "sphere":
        return sphere_mask(n, min(0.45 * n, n / 2 - 3))
    return _from_file(Path(settings.mask), n)


def _from_file(path: Path, n: int) -> Tensor:
    mask, _ = read_volume(path)
    if mask.shape != (n, n, n):
        raise InputError(
            f"mask: {path} has shape {mask.shape}, the map is a cube of {n}: give a mask of its box"
        )
    # programs that filter a mask leave it a little beyond 0 and 1; nan is in no range
    if not (mask.min() >= -1e-3 and mask.max() <= 1 + 1e-3 and mask.any()):
        raise InputError(
            f"mask: {path} has values from {mask.min():g} to {mask.max():g}: "
            "give a mask between 0 and 1"
        )
    return torch.from_numpy(mask).clamp(0, 1)
