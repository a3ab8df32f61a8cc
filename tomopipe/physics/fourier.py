"""Centred transforms, the half plane of frequencies, and shifts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


def fft2c(image: Tensor) -> Tensor:
    """Centred, unnormalised 2-D transform of `(..., n, n)`; DC at `[n // 2, n // 2]`."""
    return _shifted(torch.fft.fft2, image, (-2, -1))


def ifft2c(transform: Tensor) -> Tensor:
    """Inverse of `fft2c`; complex `(..., n, n)`."""
    return _shifted(torch.fft.ifft2, transform, (-2, -1))


def fft3c(volume: Tensor) -> Tensor:
    """Centred, unnormalised 3-D transform of `(..., n, n, n)`; DC at `n // 2` on each axis."""
    return _shifted(torch.fft.fftn, volume, (-3, -2, -1))


def ifft3c(transform: Tensor) -> Tensor:
    """Inverse of `fft3c`; complex `(..., n, n, n)`."""
    return _shifted(torch.fft.ifftn, transform, (-3, -2, -1))


def _shifted(transform: Callable[..., Tensor], array: Tensor, dim: tuple[int, ...]) -> Tensor:
    result: Tensor = torch.fft.fftshift(
        transform(torch.fft.ifftshift(array, dim=dim), dim=dim), dim=dim
    )
    return result


@dataclass(frozen=True)
class HalfPlane:
    """Lattice points of half of a Fourier plane, ordered by radius.

    The transform of a real image obeys F(-k) = F(k)*, so half of the plane carries everything.
    Ordered by radius, the points inside any disc are a prefix of the list: that is what makes the
    dose mask of an image a single number.

    Attributes
    ----------
    points
        `(n, 2)` int64, (kx, ky) with |k| < box / 2 and kx > 0, or kx = 0 and ky > 0; no DC.
    radius
        `(n,)` float32, |k| in lattice units.
    """

    box: int
    points: Tensor
    radius: Tensor

    def count_within(self, radius: Tensor) -> Tensor:
        """How many points have |k| <= `radius` (lattice units); same shape as `radius`."""
        return torch.searchsorted(self.radius, radius.to(self.radius.dtype), right=True)

    def gather(self, transform: Tensor) -> Tensor:
        """Values of a centred transform `(..., box, box)` at the points: `(..., n)`."""
        c = self.box // 2
        return transform[..., self.points[:, 1] + c, self.points[:, 0] + c]


@lru_cache(maxsize=8)
def half_plane(box: int) -> HalfPlane:
    """The half plane of a `box` x `box` image.

    Raises
    ------
    ValueError
        If `box` is odd or smaller than 4.
    """
    if box < 4 or box % 2:
        raise ValueError(f"box must be an even number of at least 4 pixels, not {box}")
    k = torch.arange(-(box // 2) + 1, box // 2)
    ky, kx = torch.meshgrid(k, k, indexing="ij")
    kx, ky = kx.reshape(-1), ky.reshape(-1)
    squared = kx**2 + ky**2
    keep = ((kx > 0) | ((kx == 0) & (ky > 0))) & (squared < (box // 2) ** 2)
    kx, ky, squared = kx[keep], ky[keep], squared[keep]
    # exact integer key: radius first, then a fixed order within a ring
    order = torch.argsort(squared * (4 * box * box) + (ky + box) * (2 * box) + kx)
    points = torch.stack([kx[order], ky[order]], dim=-1)
    return HalfPlane(box, points, squared[order].float().sqrt())


def full_plane(box: int) -> Tensor:
    """Lattice points (kx, ky) of a whole centred transform, `(box * box, 2)`, row by row."""
    k = torch.arange(box) - box // 2
    return torch.stack(torch.meshgrid(k, k, indexing="xy"), -1).reshape(-1, 2)


def shift_phase(points: Tensor, shift_pixels: Tensor, box: int) -> Tensor:
    """Phase that moves an image by `shift_pixels`.

    Parameters
    ----------
    points
        `(n, 2)` lattice points (kx, ky).
    shift_pixels
        `(..., 2)` (x, y); content moves by +shift. To centre a particle give RELION's origin,
        which is the shift that centres it.
    box
        Box in pixels.

    Returns
    -------
    Tensor
        `(..., n)` complex, exp(-2 pi i k . shift / box).
    """
    angle = -2 * math.pi / box * (shift_pixels @ points.to(shift_pixels.dtype).T)
    return torch.polar(torch.ones_like(angle), angle)


def frequencies(box: int, ndim: int, device: torch.device | str = "cpu") -> Tensor:
    """Radius |k| of every point of a centred `ndim`-D grid, in lattice units: `(box,) * ndim`."""
    k = torch.arange(box, device=device, dtype=torch.float32) - box // 2
    grids = torch.meshgrid(*([k] * ndim), indexing="ij")
    return torch.sqrt(sum(g**2 for g in grids))  # type: ignore[arg-type]


def crop_or_pad(transform: Tensor, box: int) -> Tensor:
    """Centred transform `(..., n, n, n)` cropped or zero-padded to `(..., box, box, box)`."""
    n = transform.shape[-1]
    if box <= n:
        lo = n // 2 - box // 2
        s = slice(lo, lo + box)
        return transform[..., s, s, s]
    out = transform.new_zeros(*transform.shape[:-3], box, box, box)
    lo = box // 2 - n // 2
    s = slice(lo, lo + n)
    out[..., s, s, s] = transform
    return out


def resample(volume: Tensor, box: int) -> Tensor:
    """Volume `(n, n, n)` on a grid of `box` voxels a side, cropped or padded in Fourier space.

    It keeps its size in Å and its density.
    """
    n = volume.shape[-1]
    return ifft3c(crop_or_pad(fft3c(volume), box)).real * (box / n) ** 3


def gridding_envelope(box: int, size: int, order: int) -> Tensor:
    """What gridding on a Fourier grid of `size` does to a `(box, box, box)` map: sinc^order.

    Order 1 is nearest-voxel gridding, order 2 trilinear.
    """
    line = torch.sinc((torch.arange(box, dtype=torch.float64) - box // 2) / size) ** order
    return (line[:, None, None] * line[None, :, None] * line[None, None, :]).float()
