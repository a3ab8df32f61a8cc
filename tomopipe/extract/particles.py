"""Particles to extract: names, places and angles, from a STAR file or an imported data set."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.dialects.columns import Columns, Floats
from tomopipe.dataset.dialects.detect import OPTIMISATION, TOMO_DIALECTS
from tomopipe.dataset.dialects.draft import OpticsColumns, pixel_size
from tomopipe.dataset.dialects.placed import (
    centred_coordinates,
    particle_origin,
    particle_uids,
    subtomogram_rotation,
)
from tomopipe.dataset.source import load_source
from tomopipe.dataset.stacks import StackFinder
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.errors import ConfigError, InputError
from tomopipe.io.atomic import fingerprint, read_json
from tomopipe.io.star import StarFile, read_star

Counted = Literal["centre", "corner", "share"]
_TOMOSTAR = ".tomostar"


@dataclass(frozen=True)
class ParticleTable:
    """N particles as their file gives them.

    Attributes
    ----------
    path
        STAR file, or folder of an imported data set.
    rows
        The block that they stand in, a row each.
    uid, tomogram
        `(N,)`; the uid is what `tomopipe import` gives the same row.
    coordinate
        `(N, 3)` Å from the tomogram's centre or corner, or shares of its size from its corner.
    counted
        Which of the three: `centre`, `corner` or `share`.
    frame
        `(N, 3, 3)` orientation of the subtomograms in the tomogram.
    origin
        `(N, 3)` Å in that frame: the particle lies at coordinate - frame · origin.
    row
        `(N,)` number of the row in `rows`.
    """

    path: Path
    rows: Columns
    uid: NDArray[np.object_]
    tomogram: NDArray[np.object_]
    coordinate: Floats
    counted: Counted
    frame: Floats
    origin: Floats
    row: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the particles."""
        return len(self.uid)

    def take(self, members: NDArray[np.intp]) -> ParticleTable:
        """Some of the particles."""
        return ParticleTable(
            self.path,
            self.rows,
            self.uid[members],
            self.tomogram[members],
            self.coordinate[members],
            self.counted,
            self.frame[members],
            self.origin[members],
            self.row[members],
        )

    def select(self, uids: Collection[str]) -> ParticleTable:
        """Take the particles called `uids`, in the order of the file.

        Raises
        ------
        InputError
            If one of them is not there.
        """
        unknown = set(uids).difference(self.uid)
        if unknown:
            raise InputError(
                f"{self.path} lacks {len(unknown)} of the selected particles, as {min(unknown)}: "
                "give the particles that the selection was made of"
            )
        return self.take(np.flatnonzero(np.isin(self.uid.astype(str), list(uids))))

    def fingerprint(self) -> str:
        """`sha256:` of their places, and of their rows: angles, half-sets and what else is kept."""
        table = self.rows.table.iloc[self.row]
        rows = pd.util.hash_pandas_object(table, index=False).to_numpy()
        return fingerprint(
            list(self.uid), self.coordinate, self.counted, self.origin, list(table.columns), rows
        )

    def from_centre(self, series: TiltSeries) -> Floats:
        """`(N, 3)` coordinates in Å from the centre of `series`' tomogram.

        Raises
        ------
        InputError
            If they count from the corner of a tomogram of unknown size.
        """
        if self.counted == "centre":
            return self.coordinate
        if not np.isfinite(series.volume_angstrom).all():
            raise InputError(
                f"{self.rows.where(column='rlnCoordinateX')} counts from the corner of tomogram "
                f"{series.name}, whose size is not known: set the size of the tomogram in the "
                "settings of the tilt series, or give rlnCenteredCoordinateXAngst"
            )
        size: Floats = np.asarray(series.volume_angstrom)
        return self.coordinate * (size if self.counted == "share" else 1.0) - size / 2


def read_particles(path: Path | str, pixel: float | None = None) -> ParticleTable:
    """Read particles of RELION-5, WarpTools or Warp, or of a data set imported from the first two.

    Parameters
    ----------
    path
        Particle STAR file, optimisation set, or folder made by `tomopipe import`.
    pixel
        Å per pixel of rlnCoordinateX/Y/Z; None = as the file says.

    Raises
    ------
    InputError
        If it has no coordinates in tomograms, a value cannot be used, or a particle stands twice.
    """
    path = Path(path)
    star, block, settings, warp = _imported(path) if path.is_dir() else _given(path)
    rows = Columns(star.path, block, star[block])
    if not len(rows):
        raise InputError(f"{rows.where()} has no rows: give particles")
    optics = OpticsColumns(rows, star)
    tomogram = _tomograms(rows)
    uid = particle_uids(rows, tomogram)
    _check_unique(rows, uid)
    coordinate, counted = _coordinates(rows, optics, settings, pixel, warp)
    frame, origin = subtomogram_rotation(rows), particle_origin(rows, optics, settings)
    number = np.arange(len(rows))
    return ParticleTable(path, rows, uid, tomogram, coordinate, counted, frame, origin, number)


def _given(path: Path) -> tuple[StarFile, str, ImportSettings, bool]:
    """STAR file of particles, its block, and whether Warp wrote it."""
    star = read_star(path)
    if (sets := star.find(*OPTIMISATION)) is not None:
        named = Columns(path, sets, star[sets])
        finder = StackFinder(path)
        found = finder.file(named.text(OPTIMISATION[0])[0], named.where(None, OPTIMISATION[0]))
        star = read_star(found)
    for column in ("rlnTomoName", "rlnMicrographName"):
        for place in ("rlnCenteredCoordinateXAngst", "rlnCoordinateZ"):
            if (block := star.find(column, place)) is not None:
                _check_rows(star, block)
                return star, block, ImportSettings(), _is_warp(star[block])
    raise InputError(
        f"{star.path} has no block with rlnTomoName (or rlnMicrographName) and "
        "rlnCenteredCoordinateXAngst or rlnCoordinateX/Y/Z: give particles with 3D coordinates"
    )


def _imported(folder: Path) -> tuple[StarFile, str, ImportSettings, bool]:
    """Source of a data set: its particle table counts coordinates as the dialect does."""
    source = load_source(folder / "source")
    star = source.files["particles"]
    if source.dialect not in TOMO_DIALECTS:
        raise InputError(
            f"{folder} was imported from {star.path}, a table of images ({source.dialect}) without "
            "a pose and place per particle: give a RELION-5 or WarpTools particle STAR file"
        )
    kept = read_json(folder / "import.json")["settings"]
    return star, source.block, ImportSettings(**kept), source.dialect == "warptools"


def _is_warp(table: pd.DataFrame) -> bool:
    names = table["rlnTomoName" if "rlnTomoName" in table else "rlnMicrographName"]
    return bool(names.str.endswith(_TOMOSTAR).all())


def _check_rows(star: StarFile, block: str) -> None:
    """Refuse tables of images: there a particle has many rows."""
    table = star[block]
    if "rlnImageName" in table and table["rlnImageName"].str.match(r"\d+@").any():
        raise InputError(
            f"{star.path} block data_{block} column rlnImageName names single images: give a table "
            "with one row for each particle (RELION-5, WarpTools)"
        )


def _tomograms(rows: Columns) -> NDArray[np.object_]:
    """Tomogram of each row; Warp's picks name TOMOGRAM.tomostar and call particles TOMOGRAM/n."""
    if "rlnTomoName" in rows:
        return rows.text("rlnTomoName")
    names = rows.text("rlnMicrographName")
    return np.array([name.removesuffix(_TOMOSTAR) for name in names], dtype=object)


def _check_unique(rows: Columns, uid: NDArray[np.object_]) -> None:
    twice = np.flatnonzero(pd.Series(uid).duplicated())
    if twice.size:
        rows.fail(
            int(twice[0]),
            rows.first_of("rlnTomoParticleName", "rlnTomoParticleId", "rlnTomoName") or "",
            f"is the particle {uid[twice[0]]} for the second time",
            "remove the duplicate or give it a name of its own",
        )


def _coordinates(
    rows: Columns, optics: OpticsColumns, settings: ImportSettings, pixel: float | None, warp: bool
) -> tuple[Floats, Counted]:
    """Coordinates, and how they count."""
    centred = centred_coordinates(rows)
    if centred is not None:
        if pixel is not None:
            raise ConfigError(
                f"coordinates_pixel_size_angstrom is {pixel:g}, but {rows.where()} has "
                "rlnCenteredCoordinateXAngst, which is in Å: leave it out"
            )
        return centred, "centre"
    given = np.stack([rows.floats(f"rlnCoordinate{axis}") for axis in "XYZ"], axis=1)
    if warp and given.min() >= 0 and given.max() <= 1:
        # template matching of Warp writes shares of the tomogram, and no particle file has all of
        # its particles in the first pixel
        if pixel is not None:
            raise ConfigError(
                f"coordinates_pixel_size_angstrom is {pixel:g}, but {rows.where()} has "
                "rlnCoordinateX/Y/Z from 0 to 1, shares of the tomogram's size: leave it out"
            )
        return given, "share"
    return given * _coordinate_pixel(rows, optics, settings, pixel, warp)[:, None], "corner"


def _coordinate_pixel(
    rows: Columns, optics: OpticsColumns, settings: ImportSettings, pixel: float | None, warp: bool
) -> Floats:
    """Å per pixel of rlnCoordinate: of the tilt series in RELION, of the images in WarpTools."""
    if pixel is not None:
        return np.full(len(rows), pixel)
    stated = optics.has("rlnImagePixelSize") or optics.has("rlnPixelSize")
    if warp and stated:
        return pixel_size(optics, settings)
    if not warp and optics.has("rlnTomoTiltSeriesPixelSize"):
        return optics.positive("rlnTomoTiltSeriesPixelSize")
    raise ConfigError(
        f"coordinates_pixel_size_angstrom is not set, and {rows.where()} does not say of which "
        "pixel size rlnCoordinateX/Y/Z are: set it"
    )
