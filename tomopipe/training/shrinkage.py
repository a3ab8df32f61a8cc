"""Local shrinkage of components: what is no stronger than noise around a place is taken out there.

States differ in a few places, and everywhere else a component holds nothing but noise, which makes
latents noisier and volumes worse. Each round every octave of a component's frequencies is looked at
by itself: its power around a voxel is compared with the noise that the M-step leaves there, and it
is multiplied with the square of the Wiener gain 1 - noise / power. That is a focus mask for each
level of detail, which the data find (the idea of focused classification, here without a mask drawn
by hand; octaves as in the denoising of images by wavelets). Fine octaves hold little but noise
where pixels are small, and would hide with it what coarse ones show: without octaves components of
a box of 64 die that a box of 32 keeps. Measured in benchmarks/NOTES.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tomopipe.physics.fourier import frequencies
from tomopipe.physics.grid import FourierGrid
from tomopipe.training.em import Latents

# wavelength at which the coarsest octave ends, in standard deviations of the neighbourhood
_COARSE = 4.0
# power within less of a wavelength than this tells signal from noise too badly
_REACH = 0.4
_AXES = (-3, -2, -1)


@dataclass(frozen=True)
class Octave:
    """A range of frequencies, and what noise amounts to in it.

    Attributes
    ----------
    window, neighbourhood
        `(box, box, box // 2 + 1)` transforms, in the order of `rfftn`, that cut out the octave, and
        that take means around each voxel.
    noise, inside
        Variance of the noise in the octave, and its share at each voxel: where the mask fades, so
        does the noise.
    """

    window: Tensor
    neighbourhood: Tensor
    noise: float
    inside: Tensor

    def shrunk(self, transform: Tensor) -> Tensor:
        """What is left of volumes in this octave, from their transform."""
        part = torch.fft.irfftn(transform * self.window, s=self.inside.shape, dim=_AXES)
        gain = 1 - self.noise * self.inside / _around(part**2, self.neighbourhood)
        left: Tensor = part * gain.clamp(min=0) ** 2
        return left


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
        Standard deviation of the neighbourhood (pixels); coarse octaves take at least .4 of their
        wavelength.
    """

    def __init__(
        self, grid: FourierGrid, power: Tensor, precision: Tensor, mask: Tensor, width: float
    ) -> None:
        width = max(width, 1.0)
        first = grid.box / (_COARSE * width)
        radius = torch.fft.ifftshift(frequencies(grid.box, 3, mask.device))
        radius = radius[..., : grid.box // 2 + 1]  # in the order of `rfftn`
        noise = noise_spectrum(grid, power, precision)
        shells = torch.arange(len(noise), dtype=noise.dtype, device=noise.device)
        variances = octave_windows(shells, first, grid.box / 2) ** 2 @ noise
        self.octaves = []
        for number, window in enumerate(octave_windows(radius, first, grid.box / 2)):
            wavelength = _COARSE * width * 2 ** (0.5 - number)
            sigma = max(width, _REACH * wavelength)
            around = torch.exp(-2 * (math.pi * sigma / grid.box * radius) ** 2)
            inside = _around(mask**2, around)
            self.octaves.append(Octave(window, around, float(variances[number]), inside))

    def __call__(self, components: Tensor) -> Tensor:
        """Components `(K, box, box, box)`, shrunk."""
        transform = torch.fft.rfftn(components, dim=_AXES)
        shrunk = torch.zeros_like(components)
        for octave in self.octaves:
            shrunk += octave.shrunk(transform)
        return shrunk


def octave_windows(radius: Tensor, first: float, last: float) -> Tensor:
    """Windows `(b, ...)` over frequencies `radius` that add up to 1 everywhere.

    The first one holds what lies below the frequency `first`, and each of the others twice as much
    as the one before, up to `last`; they change into each other as squared cosines of log radius.
    """
    count = 1 + max(0, math.ceil(math.log2(last / first) - 1e-6))
    place = torch.log2(radius.clamp(min=1e-6) / first).add(0.5).clamp(0, count - 1)
    away = torch.stack([place - number for number in range(count)])
    return torch.cos(away.clamp(-1, 1) * (math.pi / 2)) ** 2


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


def _around(power: Tensor, neighbourhood: Tensor) -> Tensor:
    """Means `(..., n, n, n)` over the neighbourhood of each voxel, given as its transform; > 0."""
    transform = torch.fft.rfftn(power, dim=_AXES) * neighbourhood
    around: Tensor = torch.fft.irfftn(transform, s=power.shape[-3:], dim=_AXES)
    return around.clamp(min=1e-30)
