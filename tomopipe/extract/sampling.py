"""Boxes cut out of a tilt image, at any pixel size and sub-pixel place.

The transform of the pixels around a place is evaluated at the frequencies of the box, k / (box ·
pixel size), by two matrix products. Frequencies beyond the box's own Nyquist are not evaluated, so
that nothing is aliased; the ratio of the pixel sizes is free; and the part of a pixel by which the
place lies off the lattice is a phase. The inverse transform gives the box.

A box repeats itself beyond its edges. The window that cuts it out therefore falls from 1 to 0 over
the edge in such a way that it and its copies, one box apart, sum to 1: no jump is left at the rim,
whose last pixels are a blend of both sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_EDGE = 1.5  # half of the width over which the window falls, in pixels of the box


@dataclass(frozen=True)
class Sampler:
    """From pixels of `pixel_in` Å to boxes of `box` pixels of `pixel_out` Å; use `make_sampler`.

    Pixels at the same distance on both sides of the middle are added and subtracted first: cosines
    act on the sums alone and sines on the differences, which halves the products along x, and along
    y, where frequencies k and -k share them, quarters them.

    Attributes
    ----------
    crop
        Side of the square of pixels that a box is made of; 2 h.
    cosine, sine
        `(box // 2 + 1, h)`: transform at frequencies k >= 0 of the pixels at distances 0 … h - 1.
    """

    box: int
    pixel_in: float
    pixel_out: float
    crop: int
    cosine: Tensor
    sine: Tensor

    @property
    def frequency(self) -> Tensor:
        """`(box, box // 2 + 1, 2)` (x, y) in 1/Å of the half plane that filters act on."""
        ky = torch.fft.fftfreq(self.box, self.pixel_out)
        kx = torch.fft.rfftfreq(self.box, self.pixel_out)
        return torch.stack(torch.meshgrid(kx, ky, indexing="xy"), -1)

    def __call__(
        self, image: Tensor, centre: NDArray[np.float64], factor: Tensor | None = None
    ) -> Tensor:
        """Cut boxes whose middle, pixel box // 2, lies at `centre`.

        Parameters
        ----------
        image
            `(ny, nx)` float32.
        centre
            `(n, 2)` (x, y) in pixels of the image, counted from 0.
        factor
            `(n, box, box // 2 + 1)` real, multiplied onto the transforms (CTF, dose weights).

        Returns
        -------
        Tensor
            `(n, box, box)`: the image band-limited to the box's Nyquist frequency and sampled, in
            its own grey values less the mean of the square around each box.
        """
        whole = np.floor(centre).astype(np.int64)
        part = torch.from_numpy(centre - whole)
        squares = image.new_empty(len(whole), self.crop, self.crop)
        for square, place in zip(squares, whole.tolist(), strict=True):
            _cut(image, place, square)
        squares -= squares.mean(dim=(1, 2), keepdim=True)
        window = self._window(part)  # (n, 2, crop)
        squares *= window[:, 1, :, None]
        squares *= window[:, 0, None, :]
        transform = self._transform(squares)
        transform *= self._phase(part)
        if factor is not None:
            transform *= factor
        boxes: Tensor = torch.fft.irfft2(transform, s=(self.box, self.box))
        return boxes

    def _transform(self, squares: Tensor) -> Tensor:
        """`(n, box, box // 2 + 1)` complex transform of `(n, crop, crop)`, about their middle."""
        even, odd = _folded(squares.flatten(0, 1), -1)
        half = torch.cat([even @ self.cosine.T, odd @ self.sine.T], dim=-1)
        even, odd = _folded(half.view(*squares.shape[:2], -1), 1)
        even, odd = self.cosine @ even, self.sine @ odd
        k = len(self.cosine)
        # sines change sign with k, cosines do not
        up = torch.complex(even[..., :k] - odd[..., k:], even[..., k:] + odd[..., :k])
        even, odd = even[:, 1:-1].flip(1), odd[:, 1:-1].flip(1)
        down = torch.complex(even[..., :k] + odd[..., k:], even[..., k:] - odd[..., :k])
        return torch.cat([up, down], dim=1)

    def _window(self, part: Tensor) -> Tensor:
        """`(n, 2, crop)` window along x and y about places that lie `part` `(n, 2)` off pixels."""
        inside = self.box * self.pixel_out / self.pixel_in / 2
        edge = _EDGE * self.pixel_out / self.pixel_in
        distance = (torch.arange(self.crop) - self.crop // 2 - part[..., None]).abs()
        fall = ((distance - inside) / edge).clamp(-1, 1)
        return (0.5 - 0.5 * torch.sin(math.pi / 2 * fall)).float()

    def _phase(self, part: Tensor) -> Tensor:
        """`(n, box, box // 2 + 1)` phase that moves boxes by `part` `(n, 2)` pixels."""
        turn = 2 * math.pi * part * self.pixel_in
        ky, kx = self.frequency[:, 0, 1].double(), self.frequency[0, :, 0].double()
        along_x, along_y = turn[:, :1] * kx, turn[:, 1:] * ky
        x, y = (torch.polar(torch.ones_like(a), a).to(torch.complex64) for a in (along_x, along_y))
        return y[:, :, None] * x[:, None, :]


def make_sampler(box: int, pixel_in: float, pixel_out: float) -> Sampler:
    """Matrices of a `Sampler`; the Nyquist frequency, which a shift leaves undefined, is left out.

    Raises
    ------
    ValueError
        If the box is odd, or the new pixel is smaller than the old one.
    """
    if box % 2:
        raise ValueError(f"box must be even, not {box}")
    if pixel_out < pixel_in * (1 - 1e-3):
        raise ValueError(f"cannot make pixels of {pixel_out} Å from pixels of {pixel_in} Å")
    period = box * pixel_out / pixel_in  # of the box, in pixels of the image
    # half a window on both sides, and a pixel for the part of a pixel
    half = math.ceil(period / 2 + _EDGE * pixel_out / pixel_in + 1)
    k = torch.arange(box // 2 + 1, dtype=torch.float64)[:, None]
    angle = -2 * math.pi * k * torch.arange(half) / period
    # (-1)^k moves the middle from pixel 0, where torch has it, to box // 2
    scale = (pixel_in / pixel_out) * (1 - 2 * (k % 2)) * (k < box // 2)
    cosine, sine = (scale * torch.cos(angle)).float(), (scale * torch.sin(angle)).float()
    return Sampler(box, pixel_in, pixel_out, 2 * half, cosine, sine)


def _folded(array: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Sums and differences of what lies on both sides of the middle: 2 h entries to h, twice.

    The middle itself is a sum; the outermost on the left, where the window is 0, has no partner.
    """
    half = array.shape[dim] // 2
    right, left = array.narrow(dim, half, half), array.narrow(dim, 1, half).flip(dim)
    even, odd = right + left, right - left
    even.narrow(dim, 0, 1).div_(2)
    return even, odd


def _cut(image: Tensor, place: list[int], square: Tensor) -> None:
    """Fill `square` with the pixels around `place` (x, y); their mean beyond the image."""
    crop = len(square)
    x, y = (coordinate - crop // 2 for coordinate in place)
    inner = image[max(y, 0) : max(y + crop, 0), max(x, 0) : max(x + crop, 0)]
    if inner.shape == square.shape:
        square.copy_(inner)
        return
    square.fill_(inner.mean() if inner.numel() else 0.0)
    top, left = max(-y, 0), max(-x, 0)
    square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
