"""Local shrinkage of components: what is no stronger than noise around a place is taken out there.

States differ in a few places, and everywhere else a component holds nothing but noise, which makes
latents noisier and volumes worse. Each round the power of a component around a voxel is compared
with the noise that the M-step leaves there, and the component is multiplied with the square of the
Wiener gain 1 - noise / power: a focus mask that the data find (the idea of focused
classification, here without a mask drawn by hand). Before that, shells that hold no more than noise
are left out. Measured in benchmarks/NOTES.md.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from tomopipe.physics.fourier import fft3c, frequencies, ifft3c
from tomopipe.physics.grid import FourierGrid
from tomopipe.training.em import Latents

_LEFT_OUT, _KEPT = 2.0, 4.0  # standard errors by which a shell's power must exceed its noise's


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
        self.width = max(width, 1.0)
        self.noise = noise_spectrum(grid, power, precision)
        # where the mask fades, so does the noise
        self.inside = _smooth(mask[None] ** 2, self.width)
        self.voxels = float((mask**2).sum())
        last = len(self.noise) - 1
        self.shell = frequencies(grid.box, 3, mask.device).round().long().clamp(max=last)
        # noise inside the mask has as many independent values as the mask has voxels
        free = torch.bincount(self.shell.reshape(-1)) * self.voxels / self.shell.numel()
        self.spread = (2 / free.clamp(min=1)).sqrt()

    def __call__(self, components: Tensor) -> Tensor:
        """Components `(K, box, box, box)`, shrunk."""
        components, noise = self._band_limited(components)
        around = _smooth(components**2, self.width)
        gain = 1 - noise[:, None, None, None] * self.inside / around.clamp(min=1e-30)
        shrunk: Tensor = components * gain.clamp(min=0) ** 2
        return shrunk

    def _band_limited(self, components: Tensor) -> tuple[Tensor, Tensor]:
        """Components freed from shells that hold no more than noise, and the noise `(K,)` left.

        The finer the pixels, the more shells hold nothing, and their noise would hide what is there
        at low frequency: without this, components of a box of 64 die that a box of 32 keeps.
        """
        transform = fft3c(components)
        power = components.new_zeros(len(components), len(self.noise))
        flat = transform.abs().square().flatten(1)
        power.index_add_(1, self.shell.reshape(-1), flat)
        # Parseval: of the noise's variance in each shell, over the voxels of the support
        expected = (self.noise * self.voxels * self.shell.numel()).to(power)
        # shells that no image reaches have neither power nor noise
        errors = (power / expected.clamp(min=1e-30) - 1) / self.spread
        gain = ((errors - _LEFT_OUT) / (_KEPT - _LEFT_OUT)).clamp(0, 1)
        filtered = ifft3c(transform * gain[:, self.shell]).real
        return filtered, (gain**2 * self.noise.to(gain)).sum(1)


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


def _smooth(volumes: Tensor, width: float) -> Tensor:
    """`(k, n, n, n)` volumes convolved with a Gaussian of standard deviation `width` (pixels)."""
    reach = int(3 * width + 0.5)
    x = torch.arange(-reach, reach + 1, device=volumes.device, dtype=volumes.dtype)
    kernel = torch.exp(-(x**2) / (2 * width**2))
    kernel = (kernel / kernel.sum())[None, None]
    for _ in range(3):
        lines = volumes.reshape(-1, 1, volumes.shape[-1])
        volumes = conv1d(lines, kernel, padding=reach).reshape(volumes.shape).movedim(-1, 1)
    return volumes
