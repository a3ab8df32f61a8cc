"""The coefficients of a store while it is packed: written in parts, each image with a checksum."""

from __future__ import annotations

import os
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomopipe.io.space import check_space

_BYTES = 4  # of a coefficient: real and imaginary part in half precision


class Packed:
    """`coefficients.npy` and the checksums of its images, made anew or opened again in `folder`.

    Written by `pwrite`: on a full disk a memory map would end the process without a word.

    Parameters
    ----------
    folder
        Where they lie.
    counts
        `(n_images,)` coefficients of each image.

    Raises
    ------
    StateError
        If the disk has not the space.
    """

    def __init__(self, folder: Path, counts: NDArray[np.int64]) -> None:
        self.path = folder / "coefficients.npy"
        self._sums = folder / "checksums.npy"
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        _check_space(self.path, int(self._ends[-1]) * _BYTES)
        self._offset = _made(self.path, np.float16, (int(self._ends[-1]), 2))
        self._sums_offset = _made(self._sums, np.uint32, (len(counts),))

    @staticmethod
    def lies_in(folder: Path) -> bool:
        """Whether a packing can go on in `folder`."""
        return all((folder / f"{name}.npy").exists() for name in ("coefficients", "checksums"))

    def write(self, first: int, stop: int, values: NDArray[np.float16]) -> None:
        """Write `values` `(n, 2)` of the images `first` to `stop` to the disk."""
        bounds = (self._ends[first : stop + 1] - self._ends[first]) * _BYTES
        sums = image_checksums(np.ascontiguousarray(values).view(np.uint8).reshape(-1), bounds)
        _write(self.path, values, self._offset + int(self._ends[first]) * _BYTES)
        _write(self._sums, sums, self._sums_offset + first * sums.itemsize)

    def checksums(self) -> NDArray[np.uint32]:
        """`(n_images,)` CRC-32 of each image's coefficients."""
        sums: NDArray[np.uint32] = np.load(self._sums)
        return sums

    def put_away(self) -> None:
        """Remove what only the packing needs."""
        self._sums.unlink()


def image_checksums(data: NDArray[np.uint8], bounds: NDArray[np.int64]) -> NDArray[np.uint32]:
    """CRC-32 of bytes `bounds[i]` to `bounds[i + 1]` of `data`, for all i."""
    sums = [zlib.crc32(data.data[a:b]) for a, b in pairwise(bounds.tolist())]
    return np.array(sums, np.uint32)


def _made(path: Path, dtype: Any, shape: tuple[int, ...]) -> int:
    """Where the values begin in an array on disk, made at its full size if it is not there."""
    if path.exists():
        return int(np.load(path, mmap_mode="r").offset)
    return int(np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape).offset)


def _write(path: Path, values: NDArray[Any], at: int) -> None:
    rest = np.ascontiguousarray(values).data.cast("B")
    with path.open("r+b", buffering=0) as file:
        try:
            while rest:  # one write gives at most 2 GB
                written = os.pwrite(file.fileno(), rest, at)
                rest, at = rest[written:], at + written
            os.fsync(file.fileno())
        except OSError as error:
            error.filename = str(path)
            raise


def _check_space(path: Path, needed: int) -> None:
    there = path.stat().st_blocks * 512 if path.exists() else 0
    remedy = "free that much, then run it again"
    check_space(path.parent.parent, needed - there, "the store needs", remedy)
