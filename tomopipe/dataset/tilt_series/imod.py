"""IMOD: .xf (raw to aligned image), .tlt (tilt), .xtilt, tilt.com, .defocus and .mdoc.

newstack maps a point x of the raw image to x' = A (x - c) + d + c' in the aligned one, where c and
c' are the centres at (n - 1) / 2, counted from 0 (IMOD's own coordinates begin at the first pixel's
edge, its centre is n / 2). `tilt` projects a tomogram about its centre onto the aligned image's
centre by Ry(tilt) Rx(x tilt), if the tomogram is rotated about x as `trimvol -rx` does, which keeps
the hand (tilt.f: the sine is negated for its own slices, whose rows run the other way). So

    R = Rz Ry(tlt + OFFSET) Rx(xtilt + XAXISTILT), Rz = inverse of A
    shift = (n - 1) / 2 - n // 2 - inverse of A d

in pixels of the raw image.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.dialects.tomograms import angles_to_rotation
from tomopipe.dataset.stacks import StackHeader
from tomopipe.dataset.tilt_series.ctf_files import check_ctf_file, known, write_defocus
from tomopipe.dataset.tilt_series.find import find_imod
from tomopipe.dataset.tilt_series.geometry import Floats, TiltSeries
from tomopipe.dataset.tilt_series.mdoc import write_mdoc
from tomopipe.dataset.tilt_series.parts import (
    chosen_names,
    edge_centre,
    find_stack,
    relion_angles,
    sections,
    stack_images,
)
from tomopipe.dataset.tilt_series.stacked import Alignment, stacked_series
from tomopipe.dataset.tilt_series.tables import number_rows
from tomopipe.dataset.tilt_series.tilt_com import read_tilt_com, write_tilt_com
from tomopipe.errors import InputError
from tomopipe.io.atomic import write_text
from tomopipe.io.notice import notice

_FAR, _MAGNIFIED = 0.1, 0.005  # from a rotation: refused, and said


def read_imod(
    path: Path, settings: TiltSeriesSettings, names: Collection[str] | None = None
) -> dict[str, TiltSeries]:
    """Read tilt series that IMOD aligned, all or those called `names`.

    Raises
    ------
    InputError
        If a file is missing, two are of one name, counts disagree, a transform is no rotation, or
        there is no CTF.
    """
    found = find_imod(path)
    check_ctf_file(path, found, settings)
    return {name: _read(name, found[name], settings) for name in chosen_names(found, names, path)}


def _read(name: str, folder: Path, settings: TiltSeriesSettings) -> TiltSeries:
    header = find_stack(name, [folder, folder.parent], settings)
    com = read_tilt_com(folder, name)
    file = folder / f"{name}.xf"
    transforms = _rows(file, 6, header)
    tilt = _rows(folder / f"{name}.tlt", 1, header)[:, 0]
    nominal = _optional(folder / f"{name}.rawtlt", header, tilt)
    x_tilt = _optional(folder / f"{name}.xtilt", header, np.zeros(len(tilt)))
    kept = com.kept(len(tilt))
    in_plane, shift = _from_transforms(file, transforms, kept, (header.nx, header.ny))
    tilted = angles_to_rotation(
        x_tilt[kept] + com.x_axis_tilt, tilt[kept] + com.offset, np.zeros(len(kept))
    )
    return stacked_series(
        Alignment(name, file, header, kept, in_plane @ tilted, shift, nominal, com.volume),
        settings,
    )


def _rows(path: Path, columns: int, header: StackHeader) -> Floats:
    """Rows of an alignment file, one per section of the stack."""
    if not path.is_file():
        raise InputError(f"{path} does not exist: align the tilt series, or give its folder")
    rows = number_rows(path, least=columns, columns=columns)
    if len(rows) != header.sections:
        raise InputError(
            f"{path} has {len(rows)} rows, {header.path} {header.sections} images: give the "
            "alignment of this stack"
        )
    return rows


def _optional(path: Path, header: StackHeader, default: Floats) -> Floats:
    return _rows(path, 1, header)[:, 0] if path.is_file() else default


def _from_transforms(
    path: Path, every: Floats, kept: NDArray[np.int64], size: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Rotations about the beam `(F, 3, 3)` and shifts `(F, 2)` in pixels of the raw image."""
    rows = every[kept]
    forward = rows[:, :4].reshape(-1, 2, 2)
    error = np.abs(forward @ forward.transpose(0, 2, 1) - np.eye(2)).max(axis=(1, 2))
    bad = np.flatnonzero((error > _FAR) | (np.linalg.det(forward) <= 0))
    if bad.size:
        matrix = " ".join(f"{value:g}" for value in rows[bad[0], :4])
        raise InputError(
            f"{path} row {kept[bad[0]] + 1} begins with {matrix}, which is no rotation: align the "
            "tilt series again"
        )
    if (worst := float(error.max(initial=0.0)) / 2) > _MAGNIFIED:
        notice(f"{path} magnifies by up to {100 * worst:.1f} %, which is not used")
    inverse = np.linalg.inv(forward)
    left, _, right = np.linalg.svd(inverse)
    rotation = np.tile(np.eye(3), (len(rows), 1, 1))
    rotation[:, :2, :2] = left @ right
    shift: Floats = edge_centre(size) - np.einsum("fij,fj->fi", inverse, rows[:, 4:6])
    return rotation, shift


def write_imod(folder: Path, series: Sequence[TiltSeries]) -> Path:
    """Write .xf, .tlt, .rawtlt, .xtilt, .defocus, .mdoc and tilt.com into `folder/{name}/`.

    The hand is not stored: IMOD has no place for it.

    Raises
    ------
    InputError
        If the images of a tilt series are not the sections of one stack called as it is.
    """
    for one in series:
        stack = stack_images(one, "IMOD")
        base = folder / one.name / one.name
        order = sections(one)
        x_tilt, y_tilt, z_rot = (angle[order] for angle in relion_angles(one.rotation))
        write_text(_with(base, ".xf"), _transforms(one, z_rot))
        for ending, angles in ((".tlt", y_tilt), (".rawtlt", y_tilt), (".xtilt", x_tilt)):
            write_text(_with(base, ending), "".join(f"{angle:.5f}\n" for angle in angles))
        if known(one):
            write_defocus(_with(base, ".defocus"), one)
        write_mdoc(_with(base, ".mdoc"), one, stack.name)
        if np.isfinite(one.volume_angstrom).all():
            write_tilt_com(base.parent / "tilt.com", one)
    return folder


def _with(base: Path, ending: str) -> Path:
    return base.parent / f"{base.name}{ending}"


def _transforms(series: TiltSeries, z_rot: Floats) -> str:
    """Text of the .xf file: A = inverse of Rz, d = A (edge centre - shift)."""
    shift = series.shift_angstrom[sections(series)] / series.pixel_size
    cos, sin = np.cos(np.radians(z_rot)), np.sin(np.radians(z_rot))
    away = edge_centre(series.image_size) - shift
    x, y = cos * away[:, 0] + sin * away[:, 1], -sin * away[:, 0] + cos * away[:, 1]
    rows = np.stack([cos, sin, -sin, cos, x, y], axis=1)
    return "".join(
        "".join(f"{v:12.7f}" for v in row[:4]) + f"{row[4]:12.3f}{row[5]:12.3f}\n" for row in rows
    )
