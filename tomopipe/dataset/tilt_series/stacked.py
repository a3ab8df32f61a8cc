"""A tilt series whose images are sections of one stack, from an alignment and files beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.stacks import StackHeader
from tomopipe.dataset.tilt_series.ctf_files import Defoci, find_defoci
from tomopipe.dataset.tilt_series.exposure import find_mdoc, section_doses
from tomopipe.dataset.tilt_series.geometry import Floats, TiltImage, TiltSeries
from tomopipe.dataset.tilt_series.mdoc import Mdoc
from tomopipe.dataset.tilt_series.parts import (
    chosen_pixel_size,
    finished,
    header_pixel_size,
    optics,
)


@dataclass(frozen=True)
class Alignment:
    """What IMOD and AreTomo say of a stack: F tilts kept of its N sections."""

    name: str
    where: Path  # file, for messages
    header: StackHeader
    kept: NDArray[np.int64]  # (F,) sections, from 0
    rotation: Floats  # (F, 3, 3) tomogram to view
    shift: Floats  # (F, 2) pixels from n // 2 to where the tomogram's centre falls
    nominal: Floats  # (N,) tilt in degrees, as near to the stage's as known
    volume: Floats  # (3,) pixels, NaN unknown


def stacked_series(alignment: Alignment, settings: TiltSeriesSettings) -> TiltSeries:
    """Tilt series with the doses and defoci that lie beside, or where the settings say.

    Raises
    ------
    InputError
        If pixel size, voltage or CTF are nowhere, or files do not fit the stack.
    """
    name, header, kept = alignment.name, alignment.header, alignment.kept
    folder = alignment.where.parent
    folders = list(dict.fromkeys([folder, folder.parent, header.path.parent]))
    mdoc = find_mdoc(name, folders)
    dose, per_tilt = section_doses(name, alignment.nominal, mdoc, settings)
    defoci = find_defoci(name, folders, settings, str(alignment.where))
    pixel = _pixel_size(header, mdoc, settings)
    voltage = np.nan if mdoc is None else mdoc.number("Voltage")
    series = TiltSeries(
        name=name,
        images=tuple(TiltImage(header.path, int(section)) for section in kept),
        pixel_size=pixel,
        image_size=(header.nx, header.ny),
        volume_angstrom=alignment.volume * pixel,
        rotation=alignment.rotation,
        shift_angstrom=alignment.shift * pixel,
        dose_e_per_A2=dose[kept],
        dose_per_tilt=per_tilt,
        hand=-1.0,
        **defoci.at(_views(defoci, kept, header.sections)),
        **optics(settings, str(alignment.where), voltage, np.nan, np.nan),
    )
    return finished(series, settings)


def _pixel_size(header: StackHeader, mdoc: Mdoc | None, settings: TiltSeriesSettings) -> float:
    """Pixel size in Å: where nothing else says it, that of the .mdoc, if it is of such images."""
    found = header_pixel_size(header)
    if not found and mdoc is not None and settings.pixel_size_angstrom is None:
        size = mdoc.header.get("ImageSize", "").split()
        spacing = mdoc.number("PixelSpacing")
        if size == [str(header.nx), str(header.ny)] and spacing > 0:  # not binned since
            found = spacing
    return chosen_pixel_size(found, str(header.path), settings)


def _views(defoci: Defoci, kept: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Numbers of the tilts in a file of defoci: sections, or kept tilts where it has just these."""
    if not defoci.ranges and len(defoci.view) == len(kept) < total:
        return np.arange(len(kept)) + 1
    return kept + 1
