"""The decoder: the transform of a particle's volume at any frequency, given its latent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tomopipe.models.mlp import ResidualLinear


class FourierDecoder(nn.Module):
    """Residual network from Gaussian features of a frequency, and z, to (Re, Im).

    Features are sin(B k) and cos(B k) with B ~ N(0, 1) · sigma · box / 2, fixed and saved, without
    2π (SCIENCE: "The reference model"). The volume is real by construction: a frequency in the
    lower half of space is evaluated at its opposite and conjugated.
    """

    features: Tensor

    def __init__(self, box: int, zdim: int, hidden: int, layers: int, sigma: float = 0.5) -> None:
        super().__init__()
        rows = 3 * (box // 2)
        self.zdim = zdim
        self.register_buffer("features", torch.randn(rows, 3) * sigma * (box / 2))
        self.first = nn.Linear(2 * rows + zdim, hidden)
        self.body = nn.Sequential(*(ResidualLinear(hidden) for _ in range(layers)))
        self.last = nn.Linear(hidden, 2)

    def forward(self, points: Tensor, particle: Tensor, z: Tensor) -> Tensor:
        """Transform of each particle's volume at its points.

        Parameters
        ----------
        points
            `(C, 3)` (x, y, z) in cycles per pixel.
        particle
            `(C,)` row of `z` that each point belongs to.
        z
            `(P, zdim)` latents; zdim may be 0.

        Returns
        -------
        Tensor
            `(C, 2)` (Re, Im).
        """
        sign = half_space_sign(points)
        phase = (points * sign[:, None]) @ self.features.T
        known = torch.cat([phase.sin(), phase.cos()], dim=-1)
        hidden = torch.relu(self._first(known, particle, z))
        value = self.last(self.body(hidden)).float()
        return torch.stack([value[:, 0], value[:, 1] * sign], dim=-1)

    def _first(self, known: Tensor, particle: Tensor, z: Tensor) -> Tensor:
        """The first layer, with z multiplied once per particle instead of once per point.

        W_z z + b of each particle is handed to its points as a product with their one-hot particle,
        joined to the product with the features: one matrix product forward, one backward, and no
        scatter, which would be slow on a CPU and not reproducible on a GPU.
        """
        width = known.shape[1]
        from_z = F.linear(z, self.first.weight[:, width:], self.first.bias)  # (P, hidden)
        owner = F.one_hot(particle, len(z)).to(known.dtype)
        weight = torch.cat(
            [self.first.weight[:, :width], from_z.to(self.first.weight.dtype).T], dim=1
        )
        return F.linear(torch.cat([known, owner], dim=1), weight)


def half_space_sign(points: Tensor) -> Tensor:
    """+1 or -1 `(C,)` such that sign · k lies in z > 0 (or z = 0, y > 0, or z = y = 0, x >= 0)."""
    x, y, z = points.unbind(-1)
    lower = (z < 0) | ((z == 0) & ((y < 0) | ((y == 0) & (x < 0))))
    return torch.where(lower, -1.0, 1.0).to(points.dtype)
