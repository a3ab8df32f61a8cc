"""Fixed volumes under the decoder: a mean map, and the directions of a linear model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tomopipe.models.decoder import half_space_sign
from tomopipe.physics.fourier import crop_or_pad, fft3c, frequencies

_PADDING = 2


class FixedVolumes(nn.Module):
    """V(z) = mean + sum_k z_k basis_k at any frequency, and the mean's amplitude against |k|.

    Volumes are in the store's scale and do not change in training. A mean of zeros means that
    there is none; the amplitude is then 1 everywhere.

    Attributes
    ----------
    mean, basis
        `(n, n, n)` and `(K, n, n, n)`; K may be 0.
    envelope
        `(n, n, n)` map whose amplitude the decoder's output is scaled with.
    """

    mean: Tensor
    basis: Tensor
    envelope: Tensor
    grid: Tensor
    corners: Tensor
    strides: Tensor
    steps: Tensor
    amplitude: Tensor

    def __init__(self, mean: Tensor, basis: Tensor, envelope: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("basis", basis.float())
        self.register_buffer("envelope", (mean if envelope is None else envelope).float().clone())
        for name in ("grid", "corners", "strides", "steps", "amplitude"):
            self.register_buffer(name, torch.empty(0), persistent=False)
        self.refresh()

    @classmethod
    def none(cls, box: int, components: int = 0) -> FixedVolumes:
        """Neither mean nor directions (or room for `components` of them, to be loaded)."""
        return cls(torch.zeros(box, box, box), torch.zeros(components, box, box, box))

    def refresh(self) -> None:
        """Compute what follows from the volumes; to be called after loading them."""
        box = self.mean.shape[-1]
        self.known = bool((self.mean != 0).any())
        self.amplitude = _shell_amplitude(fft3c(self.envelope))
        m = _PADDING * box
        rows = m // 2 + 1, m + 1, m + 1
        around = torch.arange(m + 1) % m  # a transform is periodic
        grid = self.mean.new_empty(*rows, 1 + len(self.basis), 2)
        for i, volume in enumerate([self.mean, *self.basis]):
            fine = torch.view_as_real(fft3c(crop_or_pad(volume, m)))
            grid[..., i, :] = fine[around[m // 2 :]][:, around][:, :, around]
        # a row for each voxel, so that a corner's numbers lie together; z < 0 follows from Friedel
        self.grid = grid.view(-1, 2 * (1 + len(self.basis)))
        corners = torch.cartesian_prod(*[torch.arange(2)] * 3)
        strides = torch.tensor([1, rows[2], rows[1] * rows[2]])
        self.corners, self.strides = corners.to(grid.device), strides.to(grid.device)
        self.steps = (corners * strides).sum(-1).to(grid.device)  # from a corner to all eight

    def forward(self, points: Tensor) -> Tensor:
        """`(C, 2)` (Re, Im) of the mean's transform at `(C, 3)` points in cycles per pixel."""
        if not self.known:
            return torch.zeros_like(points[:, :2])
        return self.volumes_at(points)[:, 0]

    def at(self, points: Tensor, particle: Tensor, z: Tensor) -> Tensor:
        """`(C, 2)` of V(z) of each point's particle `(C,)`, with latents `(P, zdim >= K)`."""
        k = len(self.basis)
        if k == 0:
            return self.forward(points)
        value = self.volumes_at(points)
        return value[:, 0] + torch.einsum("ckr,ck->cr", value[:, 1:], z[:, :k][particle])

    def volumes_at(self, points: Tensor) -> Tensor:
        """`(C, 1 + K, 2)` transforms of mean and directions at `(C, 3)` points of any sign."""
        sign = half_space_sign(points)[:, None]
        value = self.sample(points * sign)
        return torch.stack([value[..., 0], value[..., 1] * sign], dim=-1)

    @torch.no_grad()
    def sample(self, points: Tensor) -> Tensor:
        """Trilinear samples `(C, 1 + K, 2)` of mean and directions at points with z >= 0.

        One weighted sum over eight rows of a table for each point, all volumes at once.
        """
        m = _PADDING * self.mean.shape[-1]
        place = points * m
        floor = place.floor()
        part = (place - floor)[:, None]  # (C, 1, 3)
        share = torch.where(self.corners == 1, part, 1 - part).prod(-1)  # (C, 8)
        centre = (m // 2) * (m + 2)  # row of frequency 0
        row = ((floor.long() * self.strides).sum(-1) + centre)[:, None] + self.steps
        value = F.embedding_bag(row, self.grid, per_sample_weights=share, mode="sum")
        return value.view(len(points), -1, 2)

    def scale(self, points: Tensor) -> Tensor:
        """Root-mean-square amplitude of the envelope at the radius of `(C, 3)` points: `(C, 1)`.

        The decoder's output is multiplied by it, so that it is of order 1 at every frequency.
        """
        return self.gain(points.norm(dim=-1) * self.mean.shape[-1])[:, None]

    def gain(self, radius: Tensor) -> Tensor:
        """The same, of any shape, at radii in Fourier pixels."""
        low = radius.floor().long().clamp(max=len(self.amplitude) - 2)
        return torch.lerp(self.amplitude[low], self.amplitude[low + 1], radius - low)


def _shell_amplitude(transform: Tensor) -> Tensor:
    """Root of the mean power in shells 0 … n / 2 + 1 of a `(n, n, n)` transform, never 0.

    A transform of zeros gives ones.
    """
    n = transform.shape[-1]
    shell = frequencies(n, 3, transform.device).round().long().reshape(-1).clamp(max=n // 2 + 1)
    power = transform.abs().square().reshape(-1)
    total = power.new_zeros(n // 2 + 2).index_add_(0, shell, power)
    amplitude = (total / torch.bincount(shell, minlength=n // 2 + 2).clamp(min=1)).sqrt()
    amplitude[0] = amplitude[1]  # DC is never decoded and would dwarf the first shell
    top = float(amplitude.max())
    return amplitude.clamp(min=1e-3 * top) if top > 0 else torch.ones_like(amplitude)
