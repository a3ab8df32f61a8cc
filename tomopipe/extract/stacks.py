"""Tilt images one at a time, and a stack of images for every particle, written in any order."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.config.extract import ExtractSettings
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.dataset.tilt_series.pixels import tilt_pixels
from tomopipe.errors import InputError
from tomopipe.io.mrc import label_without_time

_HEADER = 1024
_MODE = {"float16": 12, "float32": 2}


def read_tilt(series: TiltSeries, tilt: int, settings: ExtractSettings) -> Tensor:
    """Image of one tilt, `(ny, nx)` float32.

    Raises
    ------
    InputError
        If it is missing, unreadable, or does not fit what the tilt series says of it.
    """
    path = series.images[tilt].path
    pixels, found = tilt_pixels(series, tilt)
    ny, nx = pixels.shape
    if (nx, ny) != tuple(series.image_size):
        raise InputError(
            f"{path} has {nx} x {ny} pixels, but the tilt series {series.name} says "
            f"{series.image_size[0]} x {series.image_size[1]}: give the images that the series "
            "was aligned on, or their size"
        )
    # 0 and 1 stand in headers that nobody filled in
    known = settings.check_pixel_size and found > 0 and abs(found - 1) > 1e-6
    if known and abs(found / series.pixel_size - 1) > 0.01:
        raise InputError(
            f"{path} has pixels of {found:g} Å in its header, but the tilt series "
            f"{series.name} says {series.pixel_size:g}: correct the pixel size of the tilt "
            "series, or set check_pixel_size to false if the header is wrong"
        )
    return torch.from_numpy(pixels)


def create_stack(path: Path, images: int, settings: ExtractSettings) -> None:
    """Write an .mrcs file of `images` empty images, to be filled by `fill_stack`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (images, settings.box, settings.box)
    with mrcfile.new_mmap(path, shape, mrc_mode=_MODE[settings.dtype], overwrite=True) as mrc:
        mrc.set_image_stack()
        label_without_time(mrc)
        mrc.voxel_size = settings.pixel_size_angstrom


def fill_stack(path: Path, slot: int, image: NDArray[np.floating]) -> None:
    """Write one image into its place in a file of `create_stack`, in the file's own numbers."""
    with path.open("r+b") as stream:
        stream.seek(_HEADER + slot * image.nbytes)
        stream.write(image.tobytes())


def as_stored(
    boxes: Tensor, path: Path, tilt: int, settings: ExtractSettings
) -> NDArray[np.floating]:
    """Images in the numbers that stacks hold.

    Raises
    ------
    InputError
        If an image is blank, or its values do not fit into float16.
    """
    dtype = torch.float16 if settings.dtype == "float16" else torch.float32
    stored = boxes.to(dtype)
    if torch.isfinite(stored.sum(dim=(1, 2), dtype=torch.float32)).all():
        return stored.numpy()
    if torch.isfinite(boxes).all():
        raise InputError(f"{path} gives values that float16 cannot hold: set dtype to float32")
    raise InputError(
        f"{path} is blank around a particle, so that its background (tilt {tilt + 1}) cannot be "
        "brought to a standard deviation of 1: leave the tilt out, or set normalize to false"
    )
