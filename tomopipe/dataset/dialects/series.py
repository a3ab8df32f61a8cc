"""STAR files with one row per image: Warp/M, cryoSRPNT, nextPYP, RELION 3.1, single particles."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.dialects.columns import Columns, Floats
from tomopipe.dataset.dialects.draft import Draft, OpticsColumns, check_box, optics_images
from tomopipe.dataset.dialects.grouping import Particles, group_rows
from tomopipe.dataset.particles import VIEW_COLUMNS
from tomopipe.dataset.stacks import StackFinder
from tomopipe.errors import InputError
from tomopipe.io.star import StarFile
from tomopipe.physics.pose import view_matrix

_TILT_COLUMNS = ("rlnTomoNominalStageTiltAngle", "rlnTomoYTilt")


def read_series(
    star: StarFile, block: str, dialect: str, finder: StackFinder, settings: ImportSettings
) -> Draft:
    """Read a table of images.

    The dose is the accumulated one, this image included: -rlnCtfBfactor / 4 as Warp and M write it,
    or rlnMicrographPreExposure plus the dose of one tilt. It is never taken from the order of rows.

    Raises
    ------
    InputError
        If a required column is missing or a value cannot be used; names file, block, column, row.
    """
    rows = Columns(star.path, block, star[block])
    rows.require("rlnImageName", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    if not len(rows):
        raise InputError(f"{rows.where()} has no rows: export the particles again")
    optics = OpticsColumns(rows, star)
    particles = group_rows(rows, dialect)
    images = _stacks(rows, optics, finder)
    ctf = "rlnDefocusU" in rows
    images = images.join(optics_images(optics, settings, ctf=ctf)).join(_poses(rows))
    images = images.join(_shifts(rows, images["pixel_size_angstrom"].to_numpy()))
    images = images.join(_ctf(rows)).join(_exposure(rows, particles, dialect, settings))
    images["dose_weighted"] = settings.dose_weighted is True
    images["source_row"] = np.arange(len(rows))
    images["source_frame"] = -1
    images["uid"] = particles.uids[particles.of_row]
    images = images.iloc[np.argsort(particles.of_row, kind="stable")].reset_index(drop=True)
    table = _particle_table(rows, particles, optics, images)
    return Draft(dialect, table, images, rows, True, {"particles": star})


def _stacks(rows: Columns, optics: OpticsColumns, finder: StackFinder) -> pd.DataFrame:
    """Stack, slot and box of `index@stack` names, each stack opened once."""
    names = rows.table["rlnImageName"].astype("str")
    parts = names.str.extract(r"^(?:(\d+)@)?(.+)$")
    codes, uniques = pd.factorize(parts[1])
    first = pd.Series(range(len(rows))).groupby(codes).first().to_numpy()
    headers = [
        finder.header(name, rows.where(int(row), "rlnImageName"))
        for name, row in zip(uniques, first, strict=True)
    ]
    paths = np.array([str(header.path) for header in headers], dtype=object)
    sections = np.array([header.sections for header in headers])[codes]
    boxes = np.array([header.nx for header in headers], dtype=np.int64)[codes]
    number = pd.to_numeric(parts[0], errors="coerce").to_numpy(np.float64, copy=True)
    number[np.isnan(number) & (sections == 1)] = 1  # a file with one image needs no index
    good = (number >= 1) & (number <= sections)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        rows.fail(
            row,
            "rlnImageName",
            f"is {names.iloc[row]!r} but {paths[codes[row]]} holds images 1 to {sections[row]}",
            "give the STAR file that was written with this stack",
        )
    check_box(optics, boxes)
    return pd.DataFrame({"stack": paths[codes], "slot": number.astype(np.int64) - 1, "box": boxes})


def _poses(rows: Columns) -> pd.DataFrame:
    angles = [rows.floats(f"rlnAngle{name}") for name in ("Rot", "Tilt", "Psi")]
    return pd.DataFrame(view_matrix(*angles).reshape(-1, 9), columns=VIEW_COLUMNS)


def _shifts(rows: Columns, pixel: Floats) -> pd.DataFrame:
    """Shifts in Å; RELION 3.0 and Warp write pixels, RELION 3.1 writes Å."""
    shifts = {}
    for axis in "XY":
        name = f"shift_{axis.lower()}_angstrom"
        if f"rlnOrigin{axis}Angst" in rows:
            shifts[name] = rows.floats(f"rlnOrigin{axis}Angst")
        else:
            shifts[name] = rows.floats(f"rlnOrigin{axis}", 0.0) * pixel
    return pd.DataFrame(shifts)


def _ctf(rows: Columns) -> pd.DataFrame:
    """Defocus, astigmatism and phase shift; without rlnDefocusU the images have no CTF (NaN)."""
    if "rlnDefocusU" not in rows:
        defocus_u = defocus_v = np.full(len(rows), np.nan)
    else:
        defocus_u = rows.floats("rlnDefocusU", nan=True)
        defocus_v = rows.floats("rlnDefocusV", nan=True)
    return pd.DataFrame(
        {
            "defocus_u_angstrom": defocus_u,
            "defocus_v_angstrom": defocus_v,
            "astigmatism_degrees": rows.floats("rlnDefocusAngle", 0.0),
            "phase_shift_degrees": rows.floats("rlnPhaseShift", 0.0),
        }
    )


def _exposure(
    rows: Columns, particles: Particles, dialect: str, settings: ImportSettings
) -> pd.DataFrame:
    """Dose, tilt, CTF scale and B-factor.

    In tilt series rlnCtfScalefactor is the cosine of the tilt and rlnCtfBfactor is -4 times the
    dose; in single particles they are what their names say.
    """
    n = len(rows)
    factor, scale = rows.floats("rlnCtfBfactor", 0.0), rows.floats("rlnCtfScalefactor", 1.0)
    dose, tilt = np.full(n, np.nan), np.full(n, np.nan)
    if dialect != "single":
        if "rlnCtfBfactor" in rows and factor.any():
            rows.check("rlnCtfBfactor", factor <= 0, "-4 times the dose (0 or below)")
            dose, factor = -factor / 4, np.zeros(n)
        if "rlnCtfScalefactor" in rows:
            rows.check(
                "rlnCtfScalefactor", (scale >= 0) & (scale < 1.001), "a cosine of the tilt (0 to 1)"
            )
            tilt = np.degrees(np.arccos(np.clip(scale, 0, 1)))
            scale = np.ones(n)
        if (signed := rows.first_of(*_TILT_COLUMNS)) is not None:
            tilt = rows.floats(signed)
        _check_doses(rows, particles, dose)
    if np.isnan(dose).all() and "rlnMicrographPreExposure" in rows:
        dose = _from_pre_exposure(rows, particles, settings)
    return pd.DataFrame(
        {"dose_e_per_A2": dose, "tilt_degrees": tilt, "scale": scale, "bfactor_A2": factor}
    )


def _from_pre_exposure(rows: Columns, particles: Particles, settings: ImportSettings) -> Floats:
    """Exposure before each image plus the dose of one image."""
    before = rows.floats("rlnMicrographPreExposure")
    if settings.dose_per_tilt is not None:
        return before + settings.dose_per_tilt
    if "rlnTomoImportFractionalDose" in rows:
        return before + rows.floats("rlnTomoImportFractionalDose")
    if len(particles.uids) == len(rows):
        return np.full(len(rows), np.nan)
    tomogram = particles.tomograms[particles.of_row].astype(str)
    step: Floats = pd.Series(before).groupby(tomogram).transform(_least_step).to_numpy()
    return before + step


def _least_step(before: pd.Series) -> float:
    """Dose of one image of a tomogram; other tomograms may have had others."""
    steps = np.diff(np.unique(before))
    return float(steps.min()) if steps.size else float("nan")


def _check_doses(rows: Columns, particles: Particles, dose: Floats) -> None:
    """Two images of one particle cannot end with the same dose: then two particles share a name."""
    if not (dose > 0).any():
        return
    order = np.lexsort((dose, particles.of_row))
    same = (np.diff(dose[order]) == 0) & (np.diff(particles.of_row[order]) == 0)
    hit = np.flatnonzero(same & (dose[order][1:] > 0))
    if hit.size:
        first, second = sorted(int(order[hit[0] + k]) for k in (0, 1))
        raise InputError(
            f"{rows.where(second)} gives particle {particles.uids[particles.of_row[second]]} the "
            f"dose {dose[second]:g} e/Å² that row {first + 1} already has: two particles share one "
            "name, rename the particles of one of the merged STAR files"
        )


def _particle_table(
    rows: Columns, particles: Particles, optics: OpticsColumns, images: pd.DataFrame
) -> pd.DataFrame:
    first = particles.first_row
    subset = rows.floats("rlnRandomSubset")[first] if "rlnRandomSubset" in rows else np.nan
    position = _coordinates(rows, optics, images)
    return pd.DataFrame(
        {
            "uid": particles.uids,
            "tomogram": particles.tomograms,
            **{f"{axis}_angstrom": position[axis][first] for axis in "xyz"},
            "random_subset": subset,
            "source_row": first,
        }
    )


def _coordinates(
    rows: Columns, optics: OpticsColumns, images: pd.DataFrame
) -> dict[str, NDArray[np.float64]]:
    """Coordinates in Å; pixels of the micrograph where the file tells them, else of the images."""
    column = (
        "rlnMicrographPixelSize",
        "rlnMicrographOriginalPixelSize",
        "rlnTomoTiltSeriesPixelSize",
    )
    name = next((name for name in column if optics.has(name)), None)
    if name is None:
        pixel = images.sort_values("source_row")["pixel_size_angstrom"].to_numpy()
    else:
        pixel = optics.positive(name)
    found = {}
    for axis in "XYZ":
        centred = f"rlnCenteredCoordinate{axis}Angst"
        if centred in rows:
            found[axis.lower()] = rows.floats(centred)
        elif f"rlnCoordinate{axis}" in rows:
            found[axis.lower()] = rows.floats(f"rlnCoordinate{axis}") * pixel
        else:
            found[axis.lower()] = np.full(len(rows), np.nan)
    return found
