"""From a decoder to volumes in real space."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tomopipe.physics.fourier import ifft3c

Decode = Callable[[Tensor], Tensor]  # (C, 3) cycles per pixel -> (C, 2) (Re, Im)

_POINTS = 1 << 16


@torch.no_grad()
def decode_volume(decode: Decode, box: int, size: int, device: torch.device) -> Tensor:
    """Volume of a decoder, real `(size, size, size)`, in the decoder's scale.

    Only the half z >= 0 of frequencies below the Nyquist of `size` is decoded; the other half
    follows from Friedel's law. DC is left 0.

    Parameters
    ----------
    decode
        Gives the transform at points in cycles per pixel of the model's box.
    box
        Box of the model.
    size
        Box of the volume, at most `box`: the volume is Fourier-cropped.
    device
        Where `decode` works.

    Raises
    ------
    ValueError
        If `size` is odd or larger than `box`.
    """
    if size > box or size % 2 or size < 4:
        raise ValueError(
            f"volumes of a model of box {box} can have an even box of 4 to {box}, not {size}"
        )
    transform = torch.zeros(size, size, size, dtype=torch.complex64, device=device)
    c = size // 2
    for x, y, z in _half_lattice(size, device):
        points = torch.stack([x, y, z], dim=-1).float() / box
        value = torch.view_as_complex(decode(points).contiguous())
        transform[c - z, c - y, c - x] = value.conj()
        transform[c + z, c + y, c + x] = value
    volume: Tensor = ifft3c(transform).real * (size / box) ** 3
    return volume


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
