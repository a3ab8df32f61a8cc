"""Is protein bright or dark in the images? Measured, because files do not say and users err."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tomopipe.dataset.images import column, ctf_parameters, read_images, shifts_pixels
from tomopipe.dataset.sample import sample
from tomopipe.physics.ctf import ctf
from tomopipe.physics.fourier import fft2c, frequencies, full_plane, ifft2c, shift_phase

_SAMPLE = 300
_CLEAR = 5.0  # standard errors
_LARGE = 0.1  # standard deviations of an image: fringes of the CTF reach half of that
_RINGS, _RIM = np.arange(0.0, 0.81, 0.1), (0.85, 1.0)


@dataclass(frozen=True)
class Contrast:
    """Sign of protein, and what it rests on.

    Attributes
    ----------
    sign
        Of protein in the images as they are on disk.
    difference
        Particle minus surroundings, in standard deviations of an image.
    standard_errors
        How many standard errors that is; 0 where nothing was clear.
    """

    sign: Literal["bright", "dark"]
    difference: float
    standard_errors: float


def measure_contrast(images: pd.DataFrame, box: int) -> Contrast:
    """Compare the particle with the rim of its box in the mean of up to 300 images.

    Images are centred and multiplied by their CTF first, which undoes the sign that the CTF gives
    to low frequencies. Of rings around the centre the one that differs most decides, so that hollow
    particles are right too. It must differ by more than its error and by more than the fringes that
    defocus leaves around a particle, of either sign. Where no ring does, as in images of plain
    defocus, whose lowest frequencies the CTF takes away, the answer is bright, as RELION, Warp and
    M write their stacks; the consensus then shows whether that was right.
    """
    some = sample(images, _SAMPLE)
    pictures = _restored(some, box)
    radius = frequencies(box, 2) / (box / 2)
    rim = _ring_mean(pictures, radius, *_RIM)
    rings = [
        _ring_mean(pictures, radius, lo, hi)
        for lo, hi in pairwise(_RINGS)
        if ((radius >= lo) & (radius < hi)).any()
    ]
    differences = torch.stack(rings) - rim  # (rings, images)
    mean = differences.mean(1)
    error = differences.std(1) / max(len(some), 2) ** 0.5
    significance = mean / error.clamp(min=1e-12)
    clear = (significance.abs() > _CLEAR) & (mean.abs() > _LARGE) & torch.isfinite(significance)
    if len(some) < 8 or not clear.any():
        return Contrast("bright", float(torch.nan_to_num(mean[0])), 0.0)
    best = int((mean.abs() * clear).argmax())
    sign: Literal["bright", "dark"] = "bright" if mean[best] > 0 else "dark"
    return Contrast(sign, float(mean[best]), float(significance[best].abs()))


def _ring_mean(pictures: Tensor, radius: Tensor, lo: float, hi: float) -> Tensor:
    return pictures[:, (radius >= lo) & (radius < hi)].mean(1)


def _restored(table: pd.DataFrame, box: int) -> Tensor:
    """Images of `table`, `(n, box, box)`: standardised, centred, positive for bright protein."""
    # values that are not finite count as 0 here; `prepare` refuses them
    pixels = torch.from_numpy(np.nan_to_num(read_images(table, box), posinf=0.0, neginf=0.0))
    spread = pixels.std(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    pixels = (pixels - pixels.mean(dim=(1, 2), keepdim=True)) / spread
    lattice = full_plane(box)
    pixel_size = column(table, "pixel_size_angstrom")
    frequency = lattice / (box * pixel_size[:, None, None])
    contrast = -ctf(frequency, **ctf_parameters(table))
    done = torch.from_numpy(table["premultiplied"].to_numpy(bool, copy=True))[:, None]
    contrast = torch.where(done | torch.isnan(contrast), torch.ones_like(contrast), contrast)
    factor = (shift_phase(lattice, shifts_pixels(table), box) * contrast).reshape(-1, box, box)
    return ifft2c(fft2c(pixels) * factor).real.float()
