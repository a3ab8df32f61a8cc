"""The decoder: the transform of a particle's volume at any frequency, given its latent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tomopipe.models.mlp import ResidualLinear

_PIECE = 1 << 11  # points that are worked on at once: their hidden layers stay in a CPU's cache


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

    def forward(
        self, points: Tensor, particle: Tensor, z: Tensor, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Transform of each particle's volume at its points.

        Parameters
        ----------
        points
            `(C, 3)` (x, y, z) in cycles per pixel.
        particle
            `(C,)` row of `z` that each point belongs to.
        z
            `(P, zdim)` latents; zdim may be 0.
        dtype
            Of the matrix products.

        Returns
        -------
        Tensor
            `(C, 2)` (Re, Im) float32.
        """
        sign = half_space_sign(points)
        weights = self.weights(z, dtype)
        pieces = zip(
            torch.split(points * sign[:, None], _PIECE), torch.split(particle, _PIECE), strict=True
        )
        parts = [
            self._outputs(joined_inputs(p, o, len(z), self.features).to(dtype), weights)
            for p, o in pieces
        ]
        value = torch.cat(parts) if parts else points[:, :2]
        return torch.stack([value[:, 0], value[:, 1] * sign], dim=-1)

    def residual_layers(self) -> list[ResidualLinear]:
        """The layers between the first and the last."""
        return [layer for layer in self.body if isinstance(layer, ResidualLinear)]

    def weights(self, z: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """First matrix (W_z z + b of each particle joined to it), then those of the other layers.

        z is multiplied once per particle instead of once per point. What it gives is handed to the
        points as a product with their one-hot particle, joined to the product with the features:
        one matrix product forward, one backward, and no scatter, which would be slow on a CPU and
        not reproducible on a GPU. The residual layers' x + W x is a product with W + 1.
        """
        width = 2 * len(self.features)
        from_z = F.linear(z, self.first.weight[:, width:], self.first.bias)  # (P, hidden)
        one = torch.eye(len(from_z.T), device=z.device)
        layers = [torch.cat([self.first.weight[:, :width], from_z.T], dim=1)]
        layers += [self.last.weight, self.last.bias]
        for layer in self.residual_layers():
            layers += [layer.weight + one, layer.bias]
        return [w.to(dtype) for w in layers]

    def _outputs(self, inputs: Tensor, weights: list[Tensor]) -> Tensor:
        first, *rest = weights
        return _later_layers(torch.relu_(inputs @ first.T), rest)

    @torch.no_grad()
    def many(self, points: Tensor, z: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Transforms `(P, C, 2)` of all volumes at the same `(C, 3)` points with z >= 0.

        What the first layer makes of the points is shared by all volumes.
        """
        first, *rest = self.weights(z, dtype)
        width = 2 * len(self.features)
        found = []
        for piece in torch.split(points, _PIECE):
            phase = piece @ self.features.T
            shared = torch.cat([phase.sin(), phase.cos()], dim=1).to(dtype) @ first[:, :width].T
            each = [_later_layers(torch.relu_(shared + own), rest) for own in first[:, width:].T]
            found.append(torch.stack(each))
        return torch.cat(found, dim=1)


def _later_layers(hidden: Tensor, weights: list[Tensor]) -> Tensor:
    """Residual and last layers on `(C, hidden)`: `(C, 2)` float32."""
    last, last_bias, *body = weights
    for weight, bias in zip(body[::2], body[1::2], strict=True):
        hidden = torch.relu_(F.linear(hidden, weight, bias))
    return F.linear(hidden, last, last_bias).float()


def joined_inputs(points: Tensor, particle: Tensor, particles: int, features: Tensor) -> Tensor:
    """Features of `(C, 3)` points in the upper half and one-hot particle: `(C, features + P)`."""
    phase = points @ features.T
    owner = F.one_hot(particle, particles).to(phase.dtype)
    return torch.cat([phase.sin(), phase.cos(), owner], dim=1)


def half_space_sign(points: Tensor) -> Tensor:
    """+1 or -1 `(C,)` such that sign · k lies in z > 0 (or z = 0, y > 0, or z = y = 0, x >= 0)."""
    x, y, z = points.unbind(-1)
    lower = (z < 0) | ((z == 0) & ((y < 0) | ((y == 0) & (x < 0))))
    return torch.where(lower, -1.0, 1.0).to(points.dtype)
