"""What a dialect's reader hands to the importer, and the pieces that all readers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.dialects.columns import Columns, Floats
from tomopipe.errors import InputError
from tomopipe.io.star import StarFile

_VOLTAGE, _CS, _CONTRAST = 300.0, 2.7, 0.1


@dataclass(frozen=True)
class Draft:
    """Particles and images as a dialect gives them, before the checks that all dialects share.

    `particles` has the columns of the particle table but for `half` and `n_images`, and
    `random_subset` (NaN where the file has none); `images` has all columns of the image table and
    `box`. `files` are the STAR files that were read, by role; `rows` is the block in which a row is
    an image (`row_is_image`) or a particle.
    """

    dialect: str
    particles: pd.DataFrame
    images: pd.DataFrame
    rows: Columns
    row_is_image: bool
    files: Mapping[str, StarFile]


class OpticsColumns:
    """Columns that may stand in the particle table or, since RELION 3.1, in its optics table."""

    def __init__(self, rows: Columns, star: StarFile) -> None:
        self.rows = rows
        grouped = "rlnOpticsGroup" in rows
        block = star.find("rlnOpticsGroup", besides=rows.block) if grouped else None
        if block is None:
            self.table, self.index = rows, np.arange(len(rows))
            return
        self.table = Columns(star.path, block, star[block])
        self.index = self._index()

    def _index(self) -> NDArray[np.int64]:
        groups = self.table.text("rlnOpticsGroup")
        known = {_number(group): row for row, group in enumerate(groups)}
        if len(known) != len(groups):
            raise InputError(
                f"{self.table.where()} lists the same rlnOpticsGroup twice: remove one"
            )
        texts = self.rows.text("rlnOpticsGroup")
        index = np.array([known.get(_number(text), -1) for text in texts], dtype=np.int64)
        bad = np.flatnonzero(index < 0)
        if bad.size:
            row = int(bad[0])
            self.rows.fail(
                row,
                "rlnOpticsGroup",
                f"is {texts[row]!r}, which {self.table.where()} does not list",
            )
        return index

    def has(self, name: str) -> bool:
        """Whether either table has the column."""
        return name in self.rows or name in self.table

    def positive(self, name: str) -> Floats:
        """Column above 0 per row of the particle table."""
        if name in self.rows:
            return self.rows.positive(name)
        return self.table.positive(name)[self.index]

    def floats(self, name: str, default: float | None = None) -> Floats:
        """Column of finite numbers per row of the particle table."""
        if name in self.rows:
            return self.rows.floats(name)
        if default is not None and name not in self.table:
            return np.full(len(self.rows), default)
        if name not in self.table:
            self.rows.require(name)
        return self.table.floats(name)[self.index]

    def names(self) -> NDArray[np.object_]:
        """Name of the optics group per row of the particle table."""
        column = self.table.first_of("rlnOpticsGroupName", "rlnOpticsGroup")
        if column is None:
            return np.full(len(self.rows), "opticsGroup1", dtype=object)
        return self.table.text(column)[self.index]


def optics_images(optics: OpticsColumns, settings: ImportSettings, *, ctf: bool) -> pd.DataFrame:
    """Per row: pixel size, voltage, Cs, amplitude contrast, optics, premultiplied.

    Without a CTF the microscope matters only to the dose weights; 300 kV is assumed if not said.
    """
    default = (None, None, None) if ctf else (_VOLTAGE, _CS, _CONTRAST)
    return pd.DataFrame(
        {
            "pixel_size_angstrom": pixel_size(optics, settings),
            "voltage_kv": optics.floats("rlnVoltage", default[0]),
            "cs_mm": optics.floats("rlnSphericalAberration", default[1]),
            "amplitude_contrast": optics.floats("rlnAmplitudeContrast", default[2]),
            "optics": optics.names(),
            "premultiplied": premultiplied(optics, settings),
        }
    )


def pixel_size(optics: OpticsColumns, settings: ImportSettings) -> Floats:
    """Pixel size of the images in Å per row, from whichever column tells it.

    RELION 3.0 writes the detector's pixel in µm and the magnification: 10⁴ · pixel / magnification.
    Warp writes Å and a magnification of 10⁴, which gives the same.
    """
    if settings.pixel_size_angstrom is not None:
        return np.full(len(optics.rows), settings.pixel_size_angstrom)
    for name in ("rlnImagePixelSize", "rlnPixelSize"):
        if optics.has(name):
            return optics.positive(name)
    if optics.has("rlnTomoTiltSeriesPixelSize") and optics.has("rlnTomoSubtomogramBinning"):
        return optics.positive("rlnTomoTiltSeriesPixelSize") * optics.positive(
            "rlnTomoSubtomogramBinning"
        )
    if optics.has("rlnDetectorPixelSize"):
        detector = optics.positive("rlnDetectorPixelSize")
        if optics.has("rlnMagnification"):
            return 1e4 * detector / optics.positive("rlnMagnification")
        return detector
    raise InputError(
        f"{optics.rows.where()} does not tell the pixel size of the images (no rlnImagePixelSize "
        "and no rlnDetectorPixelSize): set pixel_size_angstrom"
    )


def premultiplied(optics: OpticsColumns, settings: ImportSettings) -> NDArray[np.bool_]:
    """Whether each row's image is multiplied by its CTF; phase-flipped stacks are refused."""
    name = "rlnCtfDataArePhaseFlipped"
    if optics.has(name) and optics.floats(name).any():
        raise InputError(
            f"{optics.table.where()} says that images are phase-flipped ({name}): "
            "extract them again without phase flipping"
        )
    if settings.premultiplied != "auto":
        return np.full(len(optics.rows), settings.premultiplied, dtype=bool)
    return np.asarray(optics.floats("rlnCtfDataAreCtfPremultiplied", 0.0) != 0, dtype=bool)


def check_box(optics: OpticsColumns, boxes: NDArray[np.int64]) -> None:
    """Raise an InputError if a stack's box is not the one that the STAR file states."""
    if not optics.has("rlnImageSize"):
        return
    stated = optics.floats("rlnImageSize")
    bad = np.flatnonzero(stated != boxes)
    if bad.size:
        row = int(bad[0])
        raise InputError(
            f"{optics.rows.where(row)} names a stack of {boxes[row]} x {boxes[row]} pixels but "
            f"rlnImageSize is {stated[row]:.0f}: give the STAR file written with these stacks"
        )


def _number(text: str) -> str:
    """Optics groups may be written `1` in one table and `1.000000` in the other."""
    try:
        return repr(float(text))
    except ValueError:
        return text
