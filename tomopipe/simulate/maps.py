"""States given by maps or models: resampled to a pixel size, projected by Fourier slices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.errors import InputError
from tomopipe.io.mrc import read_volume
from tomopipe.physics.fourier import crop_or_pad, frequencies, gridding_envelope, resample
from tomopipe.physics.project import padded_transform, sample, slice_points
from tomopipe.simulate.keep import keep_tensors
from tomopipe.simulate.models import ModelFrame

Source = str | ModelFrame
_PADDING = 2
_KEPT_BYTES = 2 << 30  # of resampled maps, and of their transforms


@dataclass(frozen=True)
class Trajectory:
    """Maps at even steps of a coordinate from 0 to 1, at one place along it.

    Attributes
    ----------
    paths
        MRC files or frames of atomic models; a single one is a state that does not move.
    coordinate
        0 … 1; between two maps the density is a mixture of both.
    box, pixel_size
        Grid of the volumes in voxels and Å: those of the images.
    """

    paths: tuple[Source, ...]
    coordinate: float
    box: int
    pixel_size: float

    def volume(self) -> Tensor:
        """Density `(box, box, box)` [z, y, x], in the units of the files."""
        return torch.stack(
            [w * _resampled(path, _stamp(path), *self._grid) for path, w in self._mixture()]
        ).sum(0)

    def projections(self, view: Tensor, frequency: Tensor, across: Tensor | None = None) -> Tensor:
        """Transforms of views `(t, 3, 3)` at all pairs of frequencies in 1/Å: `(t, n, m)`.

        Indexed [t, ky, kx]; `frequency` `(n,)` is that of the rows, `across` `(m,)` that of the
        columns, by default the same. Slices of the transform of `volume`, and zero from its
        Nyquist frequency on.
        """
        ky = frequency.to(torch.float32) * self.pixel_size
        kx = ky if across is None else across.to(torch.float32) * self.pixel_size
        lattice = torch.stack(torch.meshgrid(kx, ky, indexing="xy"), -1).reshape(-1, 2)
        points = slice_points(lattice, view[:, None].to(torch.float32), 1)
        slices = torch.stack(
            [
                w * sample(_transform(path, _stamp(path), *self._grid), points.reshape(-1, 3))
                for path, w in self._mixture()
            ]
        ).sum(0)
        inside: Tensor = (lattice.norm(dim=-1) < 0.5).reshape(len(ky), len(kx))
        return slices.reshape(len(view), len(ky), len(kx)) * inside

    @property
    def _grid(self) -> tuple[int, float]:
        return self.box, self.pixel_size

    def _mixture(self) -> list[tuple[Source, float]]:
        """The one or two maps beside the coordinate, with their weights."""
        place = self.coordinate * (len(self.paths) - 1)
        first = min(int(place), max(len(self.paths) - 2, 0))
        weights = (1 - (place - first), place - first)
        return [(p, w) for p, w in zip(self.paths[first:], weights, strict=False) if w > 0]


def natural_box(source: Source, pixel_size: float) -> int:
    """Voxels of `pixel_size` that a map's or model's own cube has, an even number."""
    data, own = _density(source, _stamp(source))
    edge: float = data.shape[0] * own
    return 2 * math.ceil(edge / pixel_size / 2)


def radius_angstrom(volume: Tensor, pixel_size: float, share: float = 0.995) -> float:
    """Radius about the centre that holds `share` of the squared density of `(n, n, n)`."""
    radius = frequencies(volume.shape[-1], 3).flatten().round().long()
    power = torch.bincount(radius, volume.flatten().double() ** 2).cumsum(0)
    return float(torch.searchsorted(power, share * power[-1])) * pixel_size


def _stamp(source: Source) -> int:
    """When the files were last written, so that new ones are read again."""
    files = (source,) if isinstance(source, str) else source.files
    for path in files:
        if not Path(path).is_file():
            kind = "map" if isinstance(source, str) else "atomic model"
            raise InputError(f"{path} does not exist: check the path of the {kind}")
    return max(Path(path).stat().st_mtime_ns for path in files)


@lru_cache(maxsize=4)
def _density(source: Source, stamp: int) -> tuple[NDArray[np.float32], float]:
    """A cube [z, y, x] as the file or the atoms give it, and its voxel size in Å.

    Raises
    ------
    InputError
        If a map is no cube or has no pixel size.
    """
    if not isinstance(source, str):
        return source.density()
    data, own = read_volume(source)
    if len(set(data.shape)) != 1:
        raise InputError(f"{source} has {data.shape} voxels: give a cube")
    if not own > 0:
        raise InputError(f"{source} has no pixel size in its header: set it to the map's")
    return data, own


@keep_tensors(_KEPT_BYTES)
def _resampled(source: Source, stamp: int, box: int, pixel_size: float) -> Tensor:
    """The map on a grid of `box` voxels of `pixel_size`, cropped or padded in Fourier space.

    Fourier cropping needs a field of view that is a whole number of both pixels: the map is padded
    with zeros to the size within twice its own that comes nearest to that.
    """
    data, own = _density(source, stamp)
    n = data.shape[0]
    padded = min(range(n, 2 * n + 1), key=lambda size: _misfit(size * own / pixel_size))
    volume = crop_or_pad(torch.from_numpy(data), padded)
    return crop_or_pad(resample(volume, round(padded * own / pixel_size)), box)


def _misfit(size: float) -> float:
    """How far a grid size is from a whole number, relative to it, to a millionth."""
    return round(abs(size - round(size)) / size, 6)


@keep_tensors(_KEPT_BYTES)
def _transform(source: Source, stamp: int, box: int, pixel_size: float) -> Tensor:
    """Padded transform of the resampled map; what sampling it will do is divided out before."""
    volume = _resampled(source, stamp, box, pixel_size)
    return padded_transform(volume / gridding_envelope(box, _PADDING * box, 2), _PADDING)
