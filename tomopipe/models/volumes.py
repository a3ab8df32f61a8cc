"""From a decoder to volumes in real space."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tomopipe.models.decoder import FourierDecoder
from tomopipe.models.mean import FixedVolumes

Decode = Callable[[Tensor, Tensor], Tensor]  # (C, 3) cycles per pixel, (P, K) -> (P, C, 2)

_POINTS = 1 << 14
_VOXELS = 1 << 24  # of the volumes that are made at once


@torch.no_grad()
def decode_volumes(decode: Decode, z: Tensor, box: int, size: int) -> Tensor:
    """Volumes of a decoder at latents `(P, K)`: real `(P, size, size, size)`, decoder's scale, CPU.

    Only the half z >= 0 of frequencies below the Nyquist of `size` is decoded; the other half
    follows from Friedel's law. DC is left 0.

    Parameters
    ----------
    decode
        Gives the transforms of all volumes at points with z >= 0, in cycles per pixel of the
        model's box.
    z
        Latents, on the device where `decode` works.
    box
        Box of the model.
    size
        Box of the volumes, at most `box`: they are Fourier-cropped.

    Raises
    ------
    ValueError
        If `size` is odd or larger than `box`.
    """
    if size > box or size % 2 or size < 4:
        raise ValueError(
            f"volumes of a model of box {box} can have an even box of 4 to {box}, not {size}"
        )
    out = torch.empty(len(z), size, size, size)
    at_once = max(1, _VOXELS // size**3)
    for first in range(0, len(z), at_once):
        rows = z[first : first + at_once]
        out[first : first + at_once] = _some_volumes(decode, rows, box, size)
    return out * (size / box) ** 3


def _some_volumes(decode: Decode, z: Tensor, box: int, size: int) -> Tensor:
    """Inverse transforms of the decoded half spaces."""
    half = torch.zeros(len(z), (size // 2 + 1) * size * size, 2, device=z.device)
    for x, y, height in _half_lattice(size, z.device):
        points = torch.stack([x, y, height], dim=-1).float() / box
        value = decode(points, z)
        half[:, (height * size + y % size) * size + x % size] = value
        flat = height == 0  # the plane z = 0 holds both of each Friedel pair
        opposite = ((-y) % size * size + (-x) % size)[flat]
        half[:, opposite] = value[:, flat] * value.new_tensor([1.0, -1.0])
    transform = torch.view_as_complex(half).view(len(z), -1, size, size)
    # z is the halved axis, which must come last
    volume = torch.fft.irfftn(transform, s=(size, size, size), dim=(-2, -1, -3))
    centred: Tensor = torch.fft.fftshift(volume, dim=(-3, -2, -1))
    return centred


def upper_half(
    decoder: FourierDecoder, fixed: FixedVolumes, points: Tensor, z: Tensor, *, dtype: torch.dtype
) -> Tensor:
    """Transforms `(P, C, 2)` of the volumes at all latents, at `(C, 3)` points with z >= 0."""
    value = fixed.scale(points) * decoder.many(points, z, dtype)
    if not fixed.known and not len(fixed.basis):
        return value
    known = fixed.sample(points)
    k = known.shape[1] - 1
    return value + known[:, 0] + torch.einsum("ckr,pk->pcr", known[:, 1:], z[:, :k])


def _half_lattice(size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Lattice points (x, y, z) with 0 < |k| < size / 2, one of each Friedel pair, in chunks."""
    k = torch.arange(-(size // 2) + 1, size // 2, device=device)
    y, x = (g.reshape(-1) for g in torch.meshgrid(k, k, indexing="ij"))
    pending: list[tuple[Tensor, Tensor, Tensor]] = []
    count = 0
    for height in range(size // 2):
        z = torch.full_like(x, height)
        keep = x**2 + y**2 + z**2 < (size // 2) ** 2
        if height == 0:
            keep &= (y > 0) | ((y == 0) & (x > 0))
        pending.append((x[keep], y[keep], z[keep]))
        count += int(keep.sum())
        if count >= _POINTS or height == size // 2 - 1:
            gx, gy, gz = (torch.cat(part) for part in zip(*pending, strict=True))
            yield gx, gy, gz
            pending, count = [], 0
