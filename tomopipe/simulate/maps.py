"""States given by maps: resampled to the images' pixel size, projected by Fourier slices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from tomopipe.errors import InputError
from tomopipe.io.mrc import read_volume
from tomopipe.physics.fourier import crop_or_pad, gridding_envelope, resample
from tomopipe.physics.project import padded_transform, sample, slice_points

_PADDING = 2


@dataclass(frozen=True)
class Trajectory:
    """Maps at even steps of a coordinate from 0 to 1, at one place along it.

    Attributes
    ----------
    paths
        MRC files; a single one is a state that does not move.
    coordinate
        0 … 1; between two maps the density is a mixture of both.
    box, pixel_size
        Grid of the volumes in voxels and Å: those of the images.
    """

    paths: tuple[str, ...]
    coordinate: float
    box: int
    pixel_size: float

    def volume(self) -> Tensor:
        """Density `(box, box, box)` [z, y, x], in the units of the files."""
        return torch.stack(
            [w * _resampled(path, _stamp(path), *self._grid) for path, w in self._mixture()]
        ).sum(0)

    def projections(self, view: Tensor, frequency: Tensor) -> Tensor:
        """Transforms of views `(t, 3, 3)` at all pairs of `frequency` `(n,)` in 1/Å: `(t, n, n)`.

        Indexed [t, ky, kx]; slices of the transform of `volume`, and zero from its Nyquist
        frequency on.
        """
        k = frequency.to(torch.float32) * self.pixel_size
        lattice = torch.stack(torch.meshgrid(k, k, indexing="xy"), -1).reshape(-1, 2)
        points = slice_points(lattice, view[:, None].to(torch.float32), 1)
        slices = torch.stack(
            [
                w * sample(_transform(path, _stamp(path), *self._grid), points.reshape(-1, 3))
                for path, w in self._mixture()
            ]
        ).sum(0)
        inside: Tensor = (lattice.norm(dim=-1) < 0.5).reshape(len(k), len(k))
        return slices.reshape(len(view), len(k), len(k)) * inside

    @property
    def _grid(self) -> tuple[int, float]:
        return self.box, self.pixel_size

    def _mixture(self) -> list[tuple[str, float]]:
        """The one or two maps beside the coordinate, with their weights."""
        place = self.coordinate * (len(self.paths) - 1)
        first = min(int(place), max(len(self.paths) - 2, 0))
        weights = (1 - (place - first), place - first)
        return [(p, w) for p, w in zip(self.paths[first:], weights, strict=False) if w > 0]


def _stamp(path: str) -> int:
    """When the file was last written, so that a new one is read again."""
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist: check the path of the map")
    return Path(path).stat().st_mtime_ns


@lru_cache(maxsize=64)
def _resampled(path: str, stamp: int, box: int, pixel_size: float) -> Tensor:
    """The map on a grid of `box` voxels of `pixel_size`, cropped or padded in Fourier space.

    Fourier cropping needs a field of view that is a whole number of both pixels: the map is padded
    with zeros to the size within twice its own that comes nearest to that.

    Raises
    ------
    InputError
        If the map is no cube or has no pixel size.
    """
    data, own = read_volume(path)
    n = data.shape[0]
    if len(set(data.shape)) != 1:
        raise InputError(f"{path} has {data.shape} voxels: give a cube")
    if not own > 0:
        raise InputError(f"{path} has no pixel size in its header: set it to the map's")
    padded = min(range(n, 2 * n + 1), key=lambda size: _misfit(size * own / pixel_size))
    volume = crop_or_pad(torch.from_numpy(data), padded)
    return crop_or_pad(resample(volume, round(padded * own / pixel_size)), box)


def _misfit(size: float) -> float:
    """How far a grid size is from a whole number, relative to it, to a millionth."""
    return round(abs(size - round(size)) / size, 6)


@lru_cache(maxsize=32)
def _transform(path: str, stamp: int, box: int, pixel_size: float) -> Tensor:
    """Padded transform of the resampled map; what sampling it will do is divided out before."""
    volume = _resampled(path, stamp, box, pixel_size)
    return padded_transform(volume / gridding_envelope(box, _PADDING * box, 2), _PADDING)
