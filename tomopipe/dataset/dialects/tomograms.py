"""Tomograms STAR files: per tilt the projection matrix, defocus and dose (RELION-5, WarpTools).

Projection matrices are `rlnTomoProjX/Y/Z/W` where present; they win over angles, as in RELION.
Else, as RELION-5 does, P = T(shift) Rz(rlnTomoZRot) Ry(rlnTomoYTilt) Rx(rlnTomoXTilt) about the
tomogram's centre, all rotations right-handed and active. docs/input-formats.md says more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tomopipe.dataset.dialects.columns import Columns, Floats
from tomopipe.dataset.stacks import StackFinder
from tomopipe.errors import InputError
from tomopipe.io.star import StarFile, read_star

_PROJECTION = ("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ")
_ANGLES = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")


@dataclass(frozen=True)
class Tomogram:
    """Geometry and optics of one tilt series; arrays have one entry per tilt (frame)."""

    rotation: Floats  # (F, 3, 3) tomogram to view
    defocus_u: Floats  # at the tomogram's centre, Å
    defocus_v: Floats
    astigmatism: Floats  # degrees
    phase_shift: Floats  # degrees
    bfactor: Floats  # Å²
    dose: Floats  # accumulated, this tilt included, e/Å²; NaN unknown
    tilt: Floats  # signed, degrees
    scale: Floats  # rlnCtfScalefactor, by which premultiplied stacks were multiplied too
    hand: float  # sign of defocus over height (third row of the rotation)
    slope: float  # rlnTomoDefocusSlope
    size_angstrom: Floats  # (3,) NaN unknown
    pixel_size: float  # of the tilt series, Å
    centred: bool  # matrices act about the centre: coordinates are in image pixels (WarpTools)
    row: int  # of the global table


@dataclass(frozen=True)
class TomogramSet:
    """All tomograms of a tomograms STAR file; `table` is its global block."""

    table: Columns
    tomograms: dict[str, Tomogram]
    star: StarFile

    def values(self, name: str, tomograms: NDArray[np.object_]) -> Floats | None:
        """Column of the global block per entry of `tomograms`, None if it has no such column."""
        if name not in self.table:
            return None
        column = self.table.floats(name)
        return np.array([column[self.tomograms[t].row] for t in tomograms])


def read_tomograms(
    path: Path, names: set[str], finder: StackFinder, dose_per_tilt: float | None
) -> TomogramSet:
    """Read the tomograms called `names`.

    Raises
    ------
    InputError
        If a tomogram, its tilt table or a column is missing or unusable.
    """
    star = read_star(path)
    block = star.find("rlnTomoName")
    if block is None:
        raise InputError(f"{path} has no block with rlnTomoName: give a tomograms STAR file")
    table = Columns(path, block, star[block])
    found: dict[str, Tomogram] = {}
    for row, name in enumerate(table.text("rlnTomoName")):
        if name in found:
            table.fail(row, "rlnTomoName", f"lists {name} a second time", "remove one of the rows")
        if name in names:
            found[name] = _tomogram(star, table, row, name, finder, dose_per_tilt)
    missing = names.difference(found)
    if missing:
        raise InputError(
            f"{table.where(column='rlnTomoName')} does not list {min(missing)}, which particles "
            "name: give the tomograms STAR file of these particles"
        )
    return TomogramSet(table, found, star)


def _tomogram(
    star: StarFile,
    table: Columns,
    row: int,
    name: str,
    finder: StackFinder,
    dose_per_tilt: float | None,
) -> Tomogram:
    tilts = tilt_table(star, table, row, name, finder)
    if not len(tilts):
        raise InputError(f"{tilts.where()} has no rows: export the tomogram {name} with its tilts")
    rotation, centred = rotations(tilts)
    tilts.require("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
    size = [global_value(table, f"rlnTomoSize{axis}", row, np.nan) for axis in "XYZ"]
    pixel = global_value(table, "rlnTomoTiltSeriesPixelSize", row, np.nan)
    if pixel <= 0:
        table.fail(row, "rlnTomoTiltSeriesPixelSize", f"is {pixel:g}, which is not above 0")
    return Tomogram(
        rotation=rotation,
        defocus_u=tilts.floats("rlnDefocusU"),
        defocus_v=tilts.floats("rlnDefocusV"),
        astigmatism=tilts.floats("rlnDefocusAngle"),
        phase_shift=tilts.floats("rlnPhaseShift", 0.0),
        bfactor=tilts.floats("rlnCtfBfactor", 0.0),
        dose=accumulated_dose(tilts, table, row, dose_per_tilt),
        tilt=stage_tilt(rotation),
        scale=tilts.floats("rlnCtfScalefactor", 1.0),
        # Warp adds the height itself, and states the opposite (docs/input-formats.md)
        hand=(-1 if centred else 1) * global_value(table, "rlnTomoHand", row, -1.0),
        slope=global_value(table, "rlnTomoDefocusSlope", row, 1.0),
        size_angstrom=np.array(size) * pixel,
        pixel_size=pixel,
        centred=centred,
        row=row,
    )


def tilt_table(star: StarFile, table: Columns, row: int, name: str, finder: StackFinder) -> Columns:
    """Block of the tilts: in the tilt-series STAR file that the row names, else in this file."""
    if "rlnTomoTiltSeriesStarFile" in table:
        where = table.where(row, "rlnTomoTiltSeriesStarFile")
        star = read_star(finder.file(table.text("rlnTomoTiltSeriesStarFile")[row], where))
        block = name if name in star.blocks else next(iter(star.blocks))
    else:
        block = name
    if block not in star.blocks:
        raise InputError(
            f"{star.path} has no block data_{name} with the tilts of {name}, and {table.where()} "
            "no column rlnTomoTiltSeriesStarFile: export the tomograms again"
        )
    return Columns(star.path, block, star[block])


def rotations(tilts: Columns) -> tuple[Floats, bool]:
    """Rotations `(F, 3, 3)` of the tilts, and whether the matrices have no translation at all."""
    matrices = projections(tilts)
    if matrices is not None:
        return _proper(tilts, matrices[:, :, :3]), not matrices[:, :, 3].any()
    if "rlnTomoYTilt" in tilts:
        tilts.require("rlnTomoZRot")
        x, y, z = (tilts.floats(name, 0.0) for name in _ANGLES)
        return angles_to_rotation(x, y, z), False
    raise InputError(
        f"{tilts.where()} has neither rlnTomoProjX/Y/Z nor rlnTomoYTilt and rlnTomoZRot: "
        "align the tilt series first"
    )


def projections(tilts: Columns) -> Floats | None:
    """First three rows of the matrices rlnTomoProjX/Y/Z, `(F, 3, 4)`; None without them."""
    if not all(name in tilts for name in _PROJECTION):
        return None
    return np.stack([_projection_rows(tilts, name) for name in _PROJECTION], axis=1)


def angles_to_rotation(x_tilt: Floats, y_tilt: Floats, z_rot: Floats) -> Floats:
    """RELION-5's Rz(ZRot) Ry(YTilt) Rx(XTilt) in degrees, as `(F, 3, 3)`, tomogram to view."""
    angles = np.stack([x_tilt, y_tilt, z_rot], axis=-1)
    # extrinsic x, then y, then z: the matrix Rz Ry Rx
    matrices: Floats = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return matrices


def stage_tilt(rotation: Floats) -> Floats:
    """Angle in degrees between beam and specimen normal, with the sign of rlnTomoYTilt."""
    angle = np.degrees(np.arccos(np.clip(rotation[:, 2, 2], -1, 1)))
    tilt: Floats = np.where(rotation[:, 2, 0] > 0, -angle, angle)
    return tilt


def _projection_rows(tilts: Columns, name: str) -> Floats:
    rows = tilts.vectors(name)
    for row, vector in enumerate(rows):
        if vector.shape != (4,):
            tilts.fail(row, name, f"has {vector.size} numbers where a matrix row has 4")
    return np.stack(rows)


def _proper(tilts: Columns, matrices: Floats) -> Floats:
    """Find the rotations nearest to `matrices`: magnifications of a few percent go."""
    error = np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    handed = np.linalg.det(matrices) > 0
    tilts.check("rlnTomoProjX", (error < 0.1) & handed, "the first row of a rotation matrix")
    if error.max(initial=0.0) < 1e-4:
        return matrices
    left, _, right = np.linalg.svd(matrices)
    nearest: Floats = left @ right
    return nearest


def accumulated_dose(
    tilts: Columns, table: Columns, row: int, dose_per_tilt: float | None
) -> Floats:
    """RlnMicrographPreExposure is the dose before a tilt: add the dose of one tilt."""
    if "rlnMicrographPreExposure" not in tilts:
        return np.full(len(tilts), np.nan)
    before = tilts.floats("rlnMicrographPreExposure")
    one = dose_per_tilt or global_value(table, "rlnTomoImportFractionalDose", row, 0.0)
    if one <= 0:
        steps = np.diff(np.unique(before))
        one = float(steps[0]) if steps.size else np.nan  # as RELION does without that column
    return before + one


def global_value(table: Columns, name: str, row: int, default: float) -> float:
    """Value of column `name` in `row` of the global block; `default` without such a column."""
    return float(table.floats(name)[row]) if name in table else default
