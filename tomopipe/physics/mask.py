"""Masks in real space."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from tomopipe.physics.fourier import frequencies
from tomopipe.physics.window import soft_edge


def sphere_mask(box: int, radius_pixels: float, edge_pixels: float = 3.0) -> Tensor:
    """`(box, box, box)` sphere of `radius_pixels` with a cosine edge."""
    return soft_edge(frequencies(box, 3), radius_pixels, radius_pixels + edge_pixels)


def soft_mask(volume: Tensor, *, dilate_pixels: float = 3, edge_pixels: float = 10) -> Tensor:
    """Soft mask of a `(n, n, n)` volume as in the tomoDRGN paper.

    Threshold at half the 99th percentile, dilate by `dilate_pixels`, cosine edge of `edge_pixels`.
    In small boxes the edge is shortened to a tenth of the box so that the mask stays a mask.
    """
    values = volume.detach().cpu().numpy()
    inside = values > 0.5 * np.percentile(values, 99)
    if not inside.any():
        return torch.ones_like(volume)
    distance = torch.from_numpy(ndimage.distance_transform_edt(~inside).astype(np.float32))
    edge = min(edge_pixels, 0.1 * volume.shape[-1])
    return soft_edge(distance, dilate_pixels, dilate_pixels + edge).to(volume.device)
