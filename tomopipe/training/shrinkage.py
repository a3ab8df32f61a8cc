"""Local shrinkage of components: what is no stronger than noise around a place is taken out there.

States differ in a few places, and everywhere else a component holds nothing but noise, which makes
latents noisier and volumes worse. Each round the power of a component around a voxel is compared
with the noise that the M-step leaves there, and the component is multiplied with the square of the
Wiener gain 1 - noise / power: a focus mask that the data find (the idea of focused
classification, here without a mask drawn by hand). Measured in benchmarks/NOTES.md.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from tomopipe.physics.grid import FourierGrid
from tomopipe.training.em import Latents


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
        self.noise = noise_power(grid, power, precision)
        # where the mask fades, so does the noise
        self.inside = _smooth(mask[None] ** 2, self.width)

    def __call__(self, components: Tensor) -> Tensor:
        """Components `(K, box, box, box)`, shrunk."""
        around = _smooth(components**2, self.width)
        gain = 1 - self.noise * self.inside / around.clamp(min=1e-30)
        shrunk: Tensor = components * gain.clamp(min=0) ** 2
        return shrunk


def noise_power(grid: FourierGrid, power: Tensor, precision: Tensor) -> float:
    """Variance per voxel of the noise in a component that the M-step has solved for.

    A component is signal over power plus prior precision, and the noise in the signal has the
    variance `power` in real and imaginary part, if its latents have variance 1. They have less, as
    far as images leave them open, so that this is the most that noise can be.
    """
    spectrum = (power / (power + precision) ** 2).double()
    return float(4 * spectrum.sum()) / grid.size**6


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
