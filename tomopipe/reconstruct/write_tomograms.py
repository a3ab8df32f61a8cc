"""Tomograms of aligned tilt series on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomopipe import __version__
from tomopipe.config.reconstruct import TomogramSettings
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.dataset.tilt_series.pixels import tilt_pixels
from tomopipe.io.atomic import check_folder, write_json
from tomopipe.io.mrc import write_volume
from tomopipe.reconstruct.tomogram import weighted_back_projection

STEP_FORMAT = 1


def write_tomograms(
    series: Mapping[str, TiltSeries], out: Path, settings: TomogramSettings
) -> list[Path]:
    """Write `NAME.mrc` and `NAME.json` of every tilt series to `out`; the maps' paths.

    Raises
    ------
    InputError
        If an image is missing, unreadable, or does not fit its series.
    """
    check_folder(out)
    paths = []
    for name, one in series.items():
        pixel_size = settings.pixel_size_angstrom
        volume = weighted_back_projection(one, tilt_images(one), pixel_size, settings=settings)
        paths.append(out / f"{name}.mrc")
        write_volume(paths[-1], volume.numpy(), pixel_size)
        write_json(out / f"{name}.json", _record(one, volume.shape, settings))
    return paths


def tilt_images(series: TiltSeries) -> Iterator[NDArray[np.float32]]:
    """The images `(ny, nx)` of a series, one after the other.

    Raises
    ------
    InputError
        If a stack is unreadable or too short, or an image holds what is no number.
    """
    for tilt in range(len(series)):
        yield tilt_pixels(series, tilt)[0]


def _record(
    series: TiltSeries, shape: tuple[int, ...], settings: TomogramSettings
) -> dict[str, Any]:
    return {
        "step_format": STEP_FORMAT,
        "version": __version__,
        "name": series.name,
        "tilts": len(series),
        "tilt_degrees": series.tilt_degrees,
        "shape": list(shape),
        "pixel_size_angstrom": settings.pixel_size_angstrom,
        "settings": settings.model_dump(mode="json"),
    }
