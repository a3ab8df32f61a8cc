"""The real-space window that keeps the particle and drops its surroundings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tomopipe.physics.fourier import frequencies


def cosine_window(box: int, inner: float = 0.8, outer: float = 0.9, ndim: int = 2) -> Tensor:
    """`(box,) * ndim`: 1 inside `inner`, cosine to 0 at `outer` (fractions of half the box)."""
    return soft_edge(frequencies(box, ndim), inner * box / 2, outer * box / 2)


def disc_overlap(distance: Tensor) -> Tensor:
    """Share of a disc's area that it has in common with itself moved by `distance` radii."""
    half = (distance / 2).clamp(max=1)
    return (torch.acos(half) - half * torch.sqrt(1 - half**2)) * (2 / math.pi)


def soft_edge(radius: Tensor, inner: float, outer: float) -> Tensor:
    """1 for `radius` <= `inner`, 0 beyond `outer`, half a cosine between."""
    t = ((radius - inner) / max(outer - inner, 1e-9)).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(math.pi * t)
