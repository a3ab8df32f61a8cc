"""Where the boxes of a tomogram's particles lie in its tilt images, and which images hold them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.config.extract import ExtractSettings
from tomopipe.dataset.dialects.columns import Floats
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.errors import InputError
from tomopipe.extract.particles import ParticleTable


@dataclass(frozen=True)
class Placed:
    """N particles of one tomogram with F tilts.

    Attributes
    ----------
    series
        The tilt series.
    particles
        The particles that are kept.
    middle
        `(N, 3)` Å from the tomogram's centre: what lies in the middle of the boxes.
    position
        `(N, 3)` Å: where the particles lie, which decides their defocus.
    visible
        `(N, F)`: images that hold the whole box, within the dose that is asked for.
    dropped
        Particles that are left out: uid, tomogram, tilts, source_row, reason.
    """

    series: TiltSeries
    particles: ParticleTable
    middle: Floats
    position: Floats
    visible: NDArray[np.bool_]
    dropped: pd.DataFrame


def place(series: TiltSeries, particles: ParticleTable, settings: ExtractSettings) -> Placed:
    """Find the boxes of a tomogram's particles in its tilt images.

    Raises
    ------
    InputError
        If a particle lies outside the tomogram (unless such are to be dropped), the series is not
        aligned or has no defocus, or the pixels asked for are smaller than its own.
    """
    check_series(series, settings)
    coordinate = particles.from_centre(series)
    position = coordinate - np.einsum("nij,nj->ni", particles.frame, particles.origin)
    middle = position if settings.recenter else coordinate
    outside = _outside(series, particles, position, settings)
    visible = series.sees(middle, settings.box * settings.pixel_size_angstrom / 2)
    if settings.max_dose_e_per_A2 is not None:
        visible &= ~(series.dose_e_per_A2 > settings.max_dose_e_per_A2)
    tilts = visible.sum(1)
    kept = np.flatnonzero(~outside & (tilts >= settings.min_tilts))
    left = np.flatnonzero(outside | (tilts < settings.min_tilts))
    few = f"fewer than {settings.min_tilts} tilts hold its box"
    dropped = pd.DataFrame(
        {
            "uid": particles.uid[left].astype(str),
            "tomogram": particles.tomogram[left].astype(str),
            "tilts": tilts[left],
            "source_row": particles.row[left],
            "reason": np.where(outside[left], "outside the tomogram", few).astype(str),
        }
    )
    return Placed(
        series, particles.take(kept), middle[kept], position[kept], visible[kept], dropped
    )


def check_series(series: TiltSeries, settings: ExtractSettings) -> None:
    """Refuse a tilt series that images cannot be cut from.

    Raises
    ------
    InputError
        One sentence with tomogram, field, value and fix.
    """
    name = f"tilt series {series.name}"
    if not len(series):
        raise InputError(f"{name} has no tilt images: align it first")
    if not (np.isfinite(series.rotation).all() and np.isfinite(series.shift_angstrom).all()):
        bad = ~np.isfinite(series.rotation).all((1, 2)) | ~np.isfinite(series.shift_angstrom).all(1)
        tilt = int(np.flatnonzero(bad)[0])
        raise InputError(f"{name} has no alignment of tilt {tilt + 1}: align it, or leave it out")
    if not np.isfinite([*series.defocus_u_angstrom, *series.defocus_v_angstrom]).all():
        known = np.isfinite(series.defocus_u_angstrom) & np.isfinite(series.defocus_v_angstrom)
        tilt = int(np.flatnonzero(~known)[0])
        raise InputError(
            f"{name} has no defocus of tilt {tilt + 1}: estimate the CTF, or leave the tilt out"
        )
    if not 0.1 <= abs(series.hand) <= 10:  # RELION's may be scaled by rlnTomoDefocusSlope
        raise InputError(f"{name} has the hand {series.hand:g}: rlnTomoHand must be 1 or -1")
    if settings.pixel_size_angstrom < series.pixel_size * (1 - 1e-3):
        raise InputError(
            f"{name} has pixels of {series.pixel_size:g} Å, which hold nothing at "
            f"pixel_size_angstrom {settings.pixel_size_angstrom:g}: set it to "
            f"{series.pixel_size:g} or more"
        )
    needs_dose = settings.dose_weight or settings.max_dose_e_per_A2 is not None
    if needs_dose and not np.isfinite(series.dose_e_per_A2).all():
        raise InputError(
            f"{name} has no dose: give the dose of its tilts, or set dose_weight to false and "
            "max_dose_e_per_A2 to null"
        )


def _outside(
    series: TiltSeries, particles: ParticleTable, position: Floats, settings: ExtractSettings
) -> NDArray[np.bool_]:
    """Which particles lie outside the tomogram; none where its size is not known."""
    beyond = np.abs(position) > series.volume_angstrom / 2
    outside = np.asarray(beyond.any(axis=1), dtype=bool)
    if outside.any() and settings.outside == "error":
        first = int(np.flatnonzero(outside)[0])
        place = ", ".join(f"{v:.0f}" for v in position[first])
        size = " x ".join(f"{v:.0f}" for v in series.volume_angstrom)
        raise InputError(
            f"{particles.rows.where(int(particles.row[first]))} puts particle "
            f"{particles.uid[first]} at ({place}) Å from the centre of tomogram {series.name}, "
            f"outside its {size} Å: check the pixel size of the coordinates and the size of the "
            "tomogram, or set outside to drop"
        )
    return outside
