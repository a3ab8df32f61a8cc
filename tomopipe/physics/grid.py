"""Half of a padded 3-D Fourier grid inside a sphere: the voxels that statistics are gathered on."""

from __future__ import annotations

import torch
from torch import Tensor

from tomopipe.physics.fourier import frequencies, gridding_envelope


class FourierGrid:
    """Voxels of a grid `padding` times finer than a box's transform, one of each Friedel pair.

    A frequency belongs to its nearest voxel. With twofold padding that is at most a quarter of a
    Fourier pixel away per axis, which costs a few per cent of signal at the box's edge and far less
    in the middle, and is what makes each coefficient touch one voxel instead of eight.

    Attributes
    ----------
    size
        m = padding * box.
    n
        Number of voxels.
    shell
        `(n,)` int64 radius in units of the box's Fourier pixels.
    """

    def __init__(self, box: int, padding: int = 2, device: torch.device | str = "cpu") -> None:
        self.box, self.padding = box, padding
        self.size = m = box * padding
        k = torch.arange(m, device=device) - m // 2
        z, y, x = torch.meshgrid(k, k, k, indexing="ij")
        radius = frequencies(m, 3, device)
        keep = _kept_half(x, y, z) & (radius < m / 2 - 0.5)
        self.n = int(keep.sum())
        self._lookup = torch.full((m**3,), -1, dtype=torch.int64, device=device)
        self._lookup[keep.reshape(-1)] = torch.arange(self.n, device=device)
        x, y, z = x[keep], y[keep], z[keep]
        # places in a real transform, `(m, m, m // 2 + 1)`, which holds both of a pair at x = 0
        self._place = _place(x, y, z, m)
        self._paired = torch.nonzero(x == 0)[:, 0]
        self._mate = _place(x, -y, -z, m)[self._paired]
        self.shell = (radius[keep] / padding).round().long()
        self._envelope = gridding_envelope(box, m, 1).to(device)

    def nearest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Voxel of each of `(C, 3)` points (x, y, z) in cycles/pixel.

        Returns
        -------
        voxel
            `(C,)` index, -1 outside the sphere.
        mirrored
            `(C,)` bool: the voxel is the point's Friedel mate, its value must be conjugated.
        """
        x, y, z = (points * self.size).round().long().unbind(-1)
        half = _kept_half(x, y, z)
        sign = torch.where(half, 1, -1)
        c, m = self.size // 2, self.size
        place = ((z * sign + c) * m + (y * sign + c)) * m + x * sign + c
        inside = (place >= 0) & (place < m**3)
        voxel = torch.where(inside, self._lookup[place.clamp(0, m**3 - 1)], -1)
        return voxel, ~half

    def to_real(self, values: Tensor) -> Tensor:
        """Real volumes `(k, box, box, box)` of `(n, k)` complex values on the voxels."""
        m, box = self.size, self.box
        out = []
        for column in values.unbind(1):  # one at a time: a padded grid is 8 times a volume
            half = column.new_zeros(m * m * (m // 2 + 1))
            half[self._mate] = column[self._paired].conj()
            half[self._place] = column
            half = half.reshape(m, m, m // 2 + 1)
            # axis by axis, each cut to the box at once: the next one then has less to do
            half = _cut(torch.fft.ifft(half, dim=0), 0, box)
            half = _cut(torch.fft.ifft(half, dim=1), 1, box)
            out.append(_cut(torch.fft.irfft(half, n=m, dim=2), 2, box))
        return torch.stack(out)

    def to_fourier(self, volumes: Tensor) -> Tensor:
        """`(n, k)` complex values on the voxels of `(k, box, box, box)` real volumes."""
        m, columns = self.size, []
        for volume in volumes:
            half = torch.fft.rfft(_padded(volume, 2, m), dim=2)
            half = torch.fft.fft(_padded(half, 1, m), dim=1)
            half = torch.fft.fft(_padded(half, 0, m), dim=0)
            columns.append(half.reshape(-1)[self._place])
        return torch.stack(columns, 1)

    def undo_gridding(self, volumes: Tensor) -> Tensor:
        """Volumes `(k, box, box, box)` from `to_real`, freed from the envelope of gridding."""
        return volumes / self._envelope

    def shell_mean(self, values: Tensor) -> Tensor:
        """Mean of `(n,)` values over shells 0 … box / 2: `(box / 2 + 1,)`."""
        length = self.box // 2 + 1
        shell = self.shell.clamp(max=length - 1)
        total = values.new_zeros(length).index_add_(0, shell, values)
        count = torch.bincount(shell, minlength=length).clamp(min=1)
        return total / count


def _kept_half(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Which voxel of each Friedel pair the grid keeps."""
    return (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z >= 0))))


def _place(x: Tensor, y: Tensor, z: Tensor, m: int) -> Tensor:
    """Flat index of frequencies, x >= 0, in a real transform with zero first."""
    return (z % m * m + y % m) * (m // 2 + 1) + x


def _cut(array: Tensor, dim: int, box: int) -> Tensor:
    """The `box` entries around the first one along `dim`, which goes to `box // 2`."""
    before = array.narrow(dim, array.shape[dim] - box // 2, box // 2)
    return torch.cat([before, array.narrow(dim, 0, box - box // 2)], dim)


def _padded(array: Tensor, dim: int, size: int) -> Tensor:
    """The reverse of `_cut`: `array` along `dim` in `size` entries, zeros in the middle."""
    box = array.shape[dim]
    shape = list(array.shape)
    shape[dim] = size - box
    after = array.narrow(dim, box // 2, box - box // 2)
    return torch.cat([after, array.new_zeros(shape), array.narrow(dim, 0, box // 2)], dim)
