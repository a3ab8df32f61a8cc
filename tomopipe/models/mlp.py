"""Residual multilayer perceptrons, the building block of encoder and decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualLinear(nn.Linear):
    """x <- relu(x + W x + b), computed as one product with W + 1."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., width)` to `(..., width)`."""
        one = torch.eye(self.in_features, device=x.device, dtype=self.weight.dtype)
        return torch.relu(F.linear(x, self.weight + one, self.bias))


class ResidualMLP(nn.Module):
    """Linear, relu, `layers` residual layers, linear (tomoDRGN's and cryoDRGN's ResidLinearMLP)."""

    def __init__(self, inputs: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.body = nn.Sequential(*(ResidualLinear(hidden) for _ in range(layers)))
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., inputs)` to `(..., outputs)`."""
        y: Tensor = self.last(self.body(torch.relu(self.first(x))))
        return y
