"""MRC volumes and image stacks, through mrcfile; stacks are memory-mapped."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

from tomopipe.errors import InputError
from tomopipe.io.atomic import atomic_path

Floats = NDArray[np.float32]
# what mrcfile raises for a file that is no MRC file, or whose compressed data is cut or damaged
UNREADABLE = (ValueError, OSError, EOFError, zlib.error)


def read_volume(path: Path | str) -> tuple[Floats, float]:
    """Read a volume as `(nz, ny, nx)` float32 in [z, y, x] order, and its pixel size in Å.

    Raises
    ------
    InputError
        If the file is missing, unreadable, or not three-dimensional.
    """
    with _open(path) as mrc:
        if mrc.data is None or mrc.data.ndim != 3:
            raise InputError(f"{path} is not a 3-D volume: give an .mrc file with one map")
        return np.array(mrc.data, dtype=np.float32), float(mrc.voxel_size.x)


def write_volume(path: Path | str, volume: Floats, pixel_size: float) -> None:
    """Write a `(nz, ny, nx)` volume as float32 with `pixel_size` in Å, atomically."""
    with atomic_path(path) as temporary, mrcfile.new(temporary, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(volume, dtype=np.float32))
        mrc.set_volume()
        label_without_time(mrc)
        mrc.voxel_size = pixel_size


def write_stack(
    path: Path | str, images: Floats, pixel_size: float, dtype: str = "float32"
) -> None:
    """Write `(n, ny, nx)` images as an .mrcs stack of `dtype`, atomically."""
    with atomic_path(path) as temporary, mrcfile.new(temporary, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(images, dtype=dtype))
        mrc.set_image_stack()
        label_without_time(mrc)
        mrc.voxel_size = pixel_size


@contextmanager
def new_stack(
    path: Path | str, shape: tuple[int, int, int], pixel_size: float, dtype: str = "float32"
) -> Iterator[NDArray[Any]]:
    """Give the array of a new stack of `shape` `(n, ny, nx)`, on disk, to be filled image by image.

    The file takes its name when the block ends without error; no more than one image need ever be
    in memory. `dtype` is float32 or int16.
    """
    with (
        atomic_path(path) as temporary,
        mrcfile.new_mmap(temporary, shape, mrc_mode=_MODES[dtype], overwrite=True) as mrc,
    ):
        mrc.set_image_stack()
        label_without_time(mrc)
        mrc.voxel_size = pixel_size
        yield mrc.data
        _write_statistics(mrc)


def label_without_time(mrc: mrcfile.mrcfile.MrcFile) -> None:
    """Replace the header's label, which says when: the same map is then the same file."""
    mrc.header.label[0] = "tomopipe"


_MODES = {"int16": 1, "float32": 2}


def _write_statistics(mrc: mrcfile.mrcmemmap.MrcMemmap) -> None:
    """Least, greatest, mean and spread of all values, an image at a time."""
    figures = np.array(
        [[i.min(), i.max(), i.mean(dtype=float), i.std(dtype=float)] for i in mrc.data]
    )
    mean = figures[:, 2].mean()
    mrc.header.dmin, mrc.header.dmax = figures[:, 0].min(), figures[:, 1].max()
    mrc.header.dmean = mean
    mrc.header.rms = np.sqrt((figures[:, 3] ** 2 + (figures[:, 2] - mean) ** 2).mean())


class StackReader:
    """A memory-mapped stack: `shape` is `(n, ny, nx)`; `read` gives float32 images."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._mrc = _open(path)
        data = self._mrc.data
        if data is None or data.ndim not in (2, 3):
            raise InputError(f"{path} is not an image stack: give an .mrcs file of 2-D images")
        self._data = data if data.ndim == 3 else data[None]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of images, rows, columns."""
        n, ny, nx = self._data.shape
        return int(n), int(ny), int(nx)

    @property
    def pixel_size(self) -> float:
        """Å along x as the header has it; 0 where it does not say."""
        return float(self._mrc.voxel_size.x)

    def read(self, slots: Sequence[int] | NDArray[np.integer]) -> Floats:
        """Images at 0-based `slots` as `(len(slots), ny, nx)` float32."""
        return np.asarray(self._data[np.asarray(slots)], dtype=np.float32)

    def close(self) -> None:
        """Give the memory map back."""
        self._mrc.close()

    def __enter__(self) -> StackReader:
        """Use as a context manager."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close at the end of the block."""
        self.close()


def open_stack(path: Path | str) -> StackReader:
    """Open an image stack without reading it.

    Raises
    ------
    InputError
        If the file is missing, unreadable, truncated, or not a stack.
    """
    return StackReader(path)


def _open(path: Path | str) -> mrcfile.mrcfile.MrcFile:
    """`mrcfile` memory map, with its errors as one sentence; compressed files are read whole."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the MRC file in it")
    if not path.is_file():
        raise InputError(f"{path} does not exist: check the path")
    try:
        with warnings.catch_warnings():
            # permissive: many programs leave a map ID or stack flag that the standard lacks
            warnings.simplefilter("ignore", RuntimeWarning)
            if path.suffix in {".gz", ".bz2"}:
                mrc = mrcfile.open(path, permissive=True)
            else:
                mrc = mrcfile.mmap(path, mode="r", permissive=True)
    except UNREADABLE as error:
        raise InputError(f"{path} is not a readable MRC file ({error}): extract it again") from None
    if mrc.data is None:
        raise InputError(
            f"{path} is truncated or damaged, its data block is unreadable: extract it again"
        )
    return mrc
