"""Fixed volumes under the decoder: a mean map, and the directions of a linear model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    amplitude: Tensor

    def __init__(self, mean: Tensor, basis: Tensor, envelope: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("basis", basis.float())
        self.register_buffer("envelope", (mean if envelope is None else envelope).float().clone())
        self.register_buffer("grid", torch.empty(0), persistent=False)
        self.register_buffer("amplitude", torch.empty(0), persistent=False)
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
        volumes = torch.cat([self.mean[None], self.basis])
        fine = [torch.view_as_real(fft3c(crop_or_pad(v, _PADDING * box))) for v in volumes]
        self.grid = torch.stack(fine).movedim(-1, 1).flatten(0, 1)[None].contiguous()

    def forward(self, points: Tensor) -> Tensor:
        """`(C, 2)` (Re, Im) of the mean's transform at `(C, 3)` points in cycles per pixel."""
        if not self.known:
            return torch.zeros_like(points[:, :2])
        return self._sample(self.grid[:, :2], points).T

    def at(self, points: Tensor, particle: Tensor, z: Tensor) -> Tensor:
        """`(C, 2)` of V(z) of each point's particle `(C,)`, with latents `(P, zdim >= K)`."""
        k = len(self.basis)
        if k == 0:
            return self.forward(points)
        value = self._sample(self.grid, points).view(1 + k, 2, -1)
        return value[0].T + torch.einsum("krc,ck->cr", value[1:], z[:, :k][particle])

    def _sample(self, grid: Tensor, points: Tensor) -> Tensor:
        m = grid.shape[-1]
        place = 2 * (points * m + m // 2) / (m - 1) - 1
        value: Tensor = F.grid_sample(grid, place[None, None, None], align_corners=True)
        return value[0, :, 0, 0]

    def scale(self, points: Tensor) -> Tensor:
        """Root-mean-square amplitude of the envelope at the radius of `(C, 3)` points: `(C, 1)`.

        The decoder's output is multiplied by it, so that it is of order 1 at every frequency.
        """
        radius = points.norm(dim=-1) * self.mean.shape[-1]
        low = radius.floor().long().clamp(max=len(self.amplitude) - 2)
        return torch.lerp(self.amplitude[low], self.amplitude[low + 1], radius - low)[:, None]


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
