"""Local shrinkage of components: what is no stronger than noise around a place is taken out there.

States differ in a few places, and everywhere else a component holds nothing but noise, which makes
latents noisier and volumes worse. Each round every octave of a component's frequencies is looked at
by itself: its power around a voxel is compared with the noise that the M-step leaves there, and it
is multiplied with the cube of the Wiener gain 1 - noise / power. That is a focus mask for each
level of detail, which the data find (the idea of focused classification, here without a mask drawn
by hand; octaves as in the denoising of images by wavelets). Fine octaves hold little but noise
where pixels are small, and would hide with it what coarse ones show: without octaves components of
a box of 64 die that a box of 32 keeps. Measured in benchmarks/NOTES.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tomopipe.physics.grid import FourierGrid
from tomopipe.training.em import Latents

_COARSE = 4.0  # the coarsest octave ends at this many standard deviations of the neighbourhood


class LocalShrinkage:
    """Shrinks real components of one data set.

    Parameters
    ----------
    grid
        The voxels of the model.
    power, precision
        `(n,)` sum of all particles' power on the voxels, and prior precision of a component.
    mask
        `(box, box, box)` support, for which the noise is scaled.
    width
        Standard deviation of the neighbourhood (pixels).
    """

    def __init__(
        self, grid: FourierGrid, power: Tensor, precision: Tensor, mask: Tensor, width: float
    ) -> None:
        width = max(width, 1.0)
        radius = _half_radius(grid.box).to(mask)
        self.neighbourhood = torch.exp(-2 * (math.pi * width / grid.box * radius) ** 2)
        # where the mask fades, so does the noise
        self.inside = self._around(mask**2)
        first = grid.box / (_COARSE * width)
        self.octaves = octaves(radius, first, grid.box / 2)
        noise = noise_spectrum(grid, power, precision)
        shells = torch.arange(len(noise), dtype=noise.dtype, device=noise.device)
        self.noise = (octaves(shells, first, grid.box / 2) ** 2 @ noise).tolist()

    def __call__(self, components: Tensor) -> Tensor:
        """Components `(K, box, box, box)`, shrunk."""
        transform = torch.fft.rfftn(components, dim=(1, 2, 3))
        shrunk = torch.zeros_like(components)
        for window, noise in zip(self.octaves, self.noise, strict=True):
            part = torch.fft.irfftn(transform * window, s=components.shape[1:])
            gain = 1 - noise * self.inside / self._around(part**2)
            shrunk += part * gain.clamp(min=0) ** 3
        return shrunk

    def _around(self, power: Tensor) -> Tensor:
        """Means `(..., box, box, box)` over the Gaussian neighbourhood of each voxel, above 0."""
        dim = (-3, -2, -1)
        transform = torch.fft.rfftn(power, dim=dim) * self.neighbourhood
        around: Tensor = torch.fft.irfftn(transform, s=power.shape[-3:], dim=dim)
        return around.clamp(min=1e-30)


def octaves(radius: Tensor, first: float, last: float) -> Tensor:
    """Windows `(b, ...)` over frequencies `radius` that add up to 1 everywhere.

    The first one holds what lies below the frequency `first`, and each of the others twice as much
    as the one before, up to `last`; they change into each other as squared cosines of log radius.
    """
    count = 1 + max(0, math.ceil(math.log2(last / first) - 1e-6))
    place = torch.log2(radius.clamp(min=1e-6) / first).add(0.5).clamp(0, count - 1)
    away = torch.stack([place - number for number in range(count)])
    return torch.cos(away.clamp(-1, 1) * (math.pi / 2)) ** 2


def _half_radius(box: int) -> Tensor:
    """Distance from DC `(box, box, box // 2 + 1)` (lattice units), in the order of `rfftn`."""
    whole, half = torch.fft.fftfreq(box, 1 / box), torch.fft.rfftfreq(box, 1 / box)
    axes = torch.meshgrid(whole, whole, half, indexing="ij")
    return torch.stack(axes).square().sum(0).sqrt()


def noise_spectrum(grid: FourierGrid, power: Tensor, precision: Tensor) -> Tensor:
    """Variance per voxel of the noise in a component, as shares of shells 0 … box / 2, float64.

    A component is signal over power plus prior precision, and the noise in the signal has the
    variance `power` in real and imaginary part, if its latents have variance 1. They have less, as
    far as images leave them open, so that this is the most that noise can be.
    """
    variance = 4 * (power / (power + precision) ** 2).double() / grid.size**6
    shell = grid.shell.clamp(max=grid.box // 2)
    return variance.new_zeros(grid.box // 2 + 1).index_add_(0, shell, variance)


def principal_axes(model: Tensor, latents: Latents) -> Latents:
    """Latents along the orthogonal components of `model` `(n, K + 1)`, the strongest first.

    Weak components can be shrunk without the strong ones only when they are apart.
    """
    u = model[:, 1:]
    axes = torch.linalg.eigh((u.conj().T @ u).real.double())[1]
    turn = axes.flip(1).to(latents.mean)
    return Latents(latents.mean @ turn, turn.T @ latents.covariance @ turn, latents.error)
