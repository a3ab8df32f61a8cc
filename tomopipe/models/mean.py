"""A fixed mean volume whose transform the decoder's output is added to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tomopipe.physics.fourier import crop_or_pad, fft3c, frequencies

_PADDING = 2


class MeanVolume(nn.Module):
    """Transform of a `(n, n, n)` volume at any frequency, and its amplitude as a function of |k|.

    `volume` is in the store's scale. A volume of zeros means that there is no mean; the amplitude
    is then 1 everywhere.
    """

    volume: Tensor
    grid: Tensor
    amplitude: Tensor

    def __init__(self, volume: Tensor) -> None:
        super().__init__()
        self.register_buffer("volume", volume.float())
        self.register_buffer("grid", torch.empty(0), persistent=False)
        self.register_buffer("amplitude", torch.empty(0), persistent=False)
        self.refresh()

    def refresh(self) -> None:
        """Compute what follows from `volume`; to be called after loading it."""
        box = self.volume.shape[-1]
        self.known = bool((self.volume != 0).any())
        if not self.known:
            self.grid = self.volume.new_empty(0)
            self.amplitude = self.volume.new_ones(box // 2 + 2)
            return
        fine = fft3c(crop_or_pad(self.volume, _PADDING * box))
        self.grid = torch.view_as_real(fine).movedim(-1, 0)[None].contiguous()
        self.amplitude = _shell_amplitude(fft3c(self.volume))

    def forward(self, points: Tensor) -> Tensor:
        """`(C, 2)` (Re, Im) of the mean's transform at `(C, 3)` points in cycles per pixel."""
        if not self.known:
            return torch.zeros_like(points[:, :2])
        m = self.grid.shape[-1]
        place = 2 * (points * m + m // 2) / (m - 1) - 1
        value = F.grid_sample(self.grid, place[None, None, None], align_corners=True)
        return value[0, :, 0, 0].T

    def scale(self, points: Tensor) -> Tensor:
        """Root-mean-square amplitude of the mean at the radius of `(C, 3)` points: `(C, 1)`.

        The decoder's output is multiplied by it, so that it is of order 1 at every frequency.
        """
        radius = points.norm(dim=-1) * self.volume.shape[-1]
        low = radius.floor().long().clamp(max=len(self.amplitude) - 2)
        part = radius - low
        return torch.lerp(self.amplitude[low], self.amplitude[low + 1], part)[:, None]


def _shell_amplitude(transform: Tensor) -> Tensor:
    """Root of the mean power in shells 0 … n / 2 + 1 of a `(n, n, n)` transform, never 0."""
    n = transform.shape[-1]
    shell = frequencies(n, 3, transform.device).round().long().reshape(-1).clamp(max=n // 2 + 1)
    power = transform.abs().square().reshape(-1)
    total = power.new_zeros(n // 2 + 2).index_add_(0, shell, power)
    amplitude = (total / torch.bincount(shell, minlength=n // 2 + 2).clamp(min=1)).sqrt()
    amplitude[0] = amplitude[1]  # DC is never decoded and would dwarf the first shell
    return amplitude.clamp(min=1e-3 * float(amplitude.max()))
