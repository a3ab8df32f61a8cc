"""What a data set would hold that is cut out of aligned tilt series, and a box for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.config.extract import ExtractSettings
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.dialects.draft import OpticsColumns
from tomopipe.dataset.prepare import kept_counts
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.dataset.tilt_series.read import detect_format
from tomopipe.errors import InputError
from tomopipe.extract.particles import ParticleTable, read_particles
from tomopipe.extract.place import Placed, place
from tomopipe.extract.series import series_of
from tomopipe.io.star import read_star
from tomopipe.suggest.seen import Seen, span

_PIXEL = 6.0  # Å: junk and large changes show at 12 Å, and more would cost more
_BOX = 64  # pixels, where nothing tells the size of the particle
_ROOM = 1.5  # box over diameter: the window and the CTF's fringes need some
_LEAST_BOX = 32


@dataclass(frozen=True)
class Cut:
    """How images are to be cut.

    Attributes
    ----------
    tilt_series
        Aligned tilt series.
    pixel_size
        Å of the images; None = suggest one.
    diameter
        Å of the particle; None = not known.
    coordinates_pixel_size
        Å per pixel of the coordinates; None = as the STAR file says.
    read
        How the tilt series are read.
    """

    tilt_series: Path
    pixel_size: float | None = None
    diameter: float | None = None
    coordinates_pixel_size: float | None = None
    read: TiltSeriesSettings = field(default_factory=TiltSeriesSettings)


def look_at_series(star: Path, cut: Cut) -> Seen:
    """Look at particles whose images are to be cut out of tilt series, in the tilts that hold them.

    Raises
    ------
    TomopipeError
        If `tomopipe extract` would refuse particles or tilt series.
    """
    particles = read_particles(star, cut.coordinates_pixel_size)
    names = np.unique(particles.tomogram.astype(str)).tolist()
    series = series_of(cut.tilt_series, names, cut.read)
    finest = max(one.pixel_size for one in series.values())
    pixel = cut.pixel_size or finest * max(1, round(_PIXEL / finest))
    box = suggested_box(pixel, cut.diameter or _old_box_angstrom(particles))
    # not validated: a box beyond its limit is the config's to refuse
    settings = ExtractSettings.model_construct(box=box, pixel_size_angstrom=pixel)
    placed = _placed(particles, series, settings)
    per_particle = np.concatenate([one.visible.sum(axis=1) for one in placed])
    tilts = pd.concat([_tilts(one, pixel) for one in placed])
    return Seen(
        star=star,
        program=detect_format(cut.tilt_series, cut.read),
        rows=len(particles),
        particles=len(per_particle),
        tomograms=len(placed),
        images=int(per_particle.sum()),
        tilts=(int(per_particle.min()), float(np.median(per_particle)), int(per_particle.max())),
        box=box,
        pixel_size=(pixel, pixel),
        dose=span(tilts["dose_e_per_A2"]),
        defocus=span(tilts["defocus"]),
        no_ctf=0,  # `place` refuses tilts without
        premultiplied=0.0,
        dose_weighted=0.0,
        halves="rlnRandomSubset" in particles.rows,
        placed=True,
        coefficients=int((kept_counts(tilts, box) * tilts["images"]).sum()),
        series_pixel=finest,
        dropped=len(particles) - len(per_particle),
    )


def _placed(
    particles: ParticleTable, series: Mapping[str, TiltSeries], settings: ExtractSettings
) -> list[Placed]:
    """Particles of each tomogram as `extract` places them; tomograms that keep none are left out.

    Raises
    ------
    InputError
        If `extract` would refuse a tilt series or a particle, or keep no particle at all.
    """
    placed = [
        place(one, particles.take(np.flatnonzero(particles.tomogram == name)), settings)
        for name, one in series.items()
    ]
    kept = [one for one in placed if len(one.particles)]
    if not kept:
        raise InputError(
            f"{particles.rows.path} leaves no particle: fewer than {settings.min_tilts} tilt "
            f"images hold a box of {settings.box} pixels of {settings.pixel_size_angstrom:.4g} Å "
            "around any; check the coordinates and the alignment, or give a smaller "
            "--diameter-angstrom"
        )
    return kept


def suggested_box(pixel: float, angstrom: float | None) -> int:
    """Even box in pixels that holds `angstrom` with some room; a common one if that is None."""
    if angstrom is None:
        return _BOX
    return max(_LEAST_BOX, 2 * int(np.ceil(_ROOM * angstrom / pixel / 2)))


def _old_box_angstrom(particles: ParticleTable) -> float | None:
    """Å that particles may fill of the box that the STAR file knows from an extraction."""
    optics = OpticsColumns(particles.rows, read_star(particles.rows.path))
    if not (optics.has("rlnImageSize") and optics.has("rlnImagePixelSize")):
        return None
    size = optics.positive("rlnImageSize") * optics.positive("rlnImagePixelSize")
    return float(size.max()) / _ROOM


def _tilts(placed: Placed, pixel: float) -> pd.DataFrame:
    """A row per tilt that is used, with the columns of the image table that matter here."""
    series = placed.series
    table = pd.DataFrame(
        {
            "images": placed.visible.sum(axis=0),
            "pixel_size_angstrom": pixel,
            "voltage_kv": series.voltage_kv,
            "dose_e_per_A2": series.dose_e_per_A2,
            "defocus": (series.defocus_u_angstrom + series.defocus_v_angstrom) / 2,
        }
    )
    return table[table["images"] > 0]
