"""RELION-5's tomograms.star with a STAR file per tilt series, and the matrices of RELION 4.

RELION-5: P = T(image centre) T(shift) Rz(rlnTomoZRot) Ry(rlnTomoYTilt) Rx(rlnTomoXTilt) about the
tomogram's centre (`Tomogram::setProjectionMatrix`), centres at n // 2: the convention of
`TiltSeries`. RELION 4: rlnTomoProjX/Y/Z are the rows of P, from pixels of the tomogram's corner to
pixels of the image, coordinates from its centre count from size / 2 (`Tomogram::centre`), and tilts
are the sections of rlnTomoTiltSeriesName in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.dialects.columns import Columns
from tomopipe.dataset.dialects.tomograms import (
    accumulated_dose,
    global_value,
    projections,
    rotations,
    tilt_table,
)
from tomopipe.dataset.stacks import StackFinder, read_header
from tomopipe.dataset.tilt_series.geometry import Floats, TiltImage, TiltSeries
from tomopipe.dataset.tilt_series.parts import (
    chosen_names,
    chosen_pixel_size,
    finished,
    optics,
    relative,
    relion_angles,
)
from tomopipe.errors import InputError
from tomopipe.io.notice import notice
from tomopipe.io.star import Block, StarFile, read_star, write_star

_VERSION = ("# version 50001",)
_TOMOGRAMS = "rlnTomoTomogramsFile"
_TRAJECTORIES = "rlnTomoTrajectoriesFile"
_SHIFTS = ("rlnTomoXShiftAngst", "rlnTomoYShiftAngst")


def list_relion5(path: Path) -> list[str]:
    """Names of the tilt series of a tomograms STAR file, or of an optimisation set."""
    return [str(name) for name in _global_block(path)[1].text("rlnTomoName")]


def read_relion5(
    path: Path, settings: TiltSeriesSettings, names: Collection[str] | None = None
) -> dict[str, TiltSeries]:
    """Read the tilt series of a tomograms STAR file or an optimisation set, all or some `names`.

    Raises
    ------
    InputError
        If a tilt series, its images, its alignment or its CTF is missing or unusable.
    """
    star, table = _global_block(path)
    _say_what_is_left(path, table)
    finder = StackFinder(star.path, settings.data_dir)
    rows: dict[str, int] = {}
    for row, name in enumerate(table.text("rlnTomoName")):
        if rows.setdefault(str(name), row) != row:
            table.fail(row, "rlnTomoName", f"lists {name} a second time", "remove one of the rows")
    return {
        name: _read(star, table, rows[name], name, finder, settings)
        for name in chosen_names(rows, names, path)
    }


def _say_what_is_left(path: Path, table: Columns) -> None:
    """Say what RELION's polishing found and nothing here uses."""
    if read_star(path).find(_TRAJECTORIES) is not None:
        notice(f"{path} names the particles' motion ({_TRAJECTORIES}), which is not used")
    if any(str(column).startswith("rlnTomoDeformation") for column in table.table):
        notice(f"{table.path} has deformations of images (rlnTomoDeformation…), which are not used")


def _global_block(path: Path) -> tuple[StarFile, Columns]:
    """Tomograms STAR file, which an optimisation set names, and its global block."""
    star = read_star(path)
    optimisation = star.find(_TOMOGRAMS)
    if optimisation is not None:
        row = Columns(path, optimisation, star[optimisation])
        named = StackFinder(path).file(str(row.text(_TOMOGRAMS)[0]), row.where(0, _TOMOGRAMS))
        star = read_star(named)
    block = star.find("rlnTomoName")
    if block is None:
        raise InputError(f"{star.path} has no block with rlnTomoName: give a tomograms STAR file")
    return star, Columns(star.path, block, star[block])


def _read(
    star: StarFile,
    table: Columns,
    row: int,
    name: str,
    finder: StackFinder,
    settings: TiltSeriesSettings,
) -> TiltSeries:
    tilts = tilt_table(star, table, row, name, finder)
    tilts.require("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
    rotation, centred = rotations(tilts)
    if centred:
        raise InputError(
            f"{tilts.where()} has matrices without translation, as WarpTools exports them with "
            "particles, and so no shifts to cut images with: give the folder of WarpTools itself "
            "(with tomostar/ and warp_tiltseries/)"
        )
    where = table.where(row)
    stated = global_value(table, "rlnTomoTiltSeriesPixelSize", row, np.nan)
    pixel = chosen_pixel_size(stated, where, settings)
    images = _images(tilts, table, row, finder)
    size = _image_size(images, tilts)
    volume = [global_value(table, f"rlnTomoSize{axis}", row, np.nan) for axis in "XYZ"]
    dose = accumulated_dose(tilts, table, row, settings.dose_per_tilt)
    before = tilts.floats("rlnMicrographPreExposure", np.nan)
    series = TiltSeries(
        name=name,
        images=images,
        pixel_size=pixel,
        image_size=size,
        volume_angstrom=np.array(volume) * pixel,
        rotation=rotation,
        shift_angstrom=_shifts(tilts, np.array(volume), size, pixel),
        defocus_u_angstrom=tilts.floats("rlnDefocusU"),
        defocus_v_angstrom=tilts.floats("rlnDefocusV"),
        astigmatism_degrees=tilts.floats("rlnDefocusAngle"),
        phase_shift_degrees=tilts.floats("rlnPhaseShift", 0.0),
        dose_e_per_A2=dose,
        dose_per_tilt=float(np.median(dose - before)),
        # RELION multiplies both into the change of defocus over height
        hand=global_value(table, "rlnTomoHand", row, -1.0)
        * global_value(table, "rlnTomoDefocusSlope", row, 1.0),
        **optics(
            settings,
            where,
            global_value(table, "rlnVoltage", row, np.nan),
            global_value(table, "rlnSphericalAberration", row, np.nan),
            global_value(table, "rlnAmplitudeContrast", row, np.nan),
        ),
    )
    return finished(series, settings)


def _images(tilts: Columns, table: Columns, row: int, finder: StackFinder) -> tuple[TiltImage, ...]:
    """`section@stack` (from 1) or a file per tilt; RELION 4: sections of one stack in order."""
    if "rlnMicrographName" in tilts:
        texts = tilts.text("rlnMicrographName")
        return tuple(_image(tilts, tilt, text, finder) for tilt, text in enumerate(texts))
    table.require("rlnTomoTiltSeriesName")
    name = _file_name(str(table.text("rlnTomoTiltSeriesName")[row]))
    path = finder.file(name, table.where(row, "rlnTomoTiltSeriesName"))
    found = read_header(path, table.where(row), square=False).sections
    if found != len(tilts):
        raise InputError(
            f"{path} has {found} images, {tilts.where()} {len(tilts)} tilts: give the stack that "
            "was aligned"
        )
    return tuple(TiltImage(path, tilt) for tilt in range(len(tilts)))


def _file_name(text: str) -> str:
    """`text` without `:mrc` or `:mrcs`, by which RELION says what a file is."""
    return text.removesuffix(":mrcs").removesuffix(":mrc")


def _image(tilts: Columns, tilt: int, text: str, finder: StackFinder) -> TiltImage:
    number, at, name = _file_name(text).rpartition("@")
    where = tilts.where(tilt, "rlnMicrographName")
    if at and not number.isdigit():
        tilts.fail(tilt, "rlnMicrographName", f"is {text!r}, not section@stack")
    return TiltImage(finder.file(name, where), int(number) - 1 if at else 0)


def _image_size(images: Sequence[TiltImage], tilts: Columns) -> tuple[int, int]:
    """Pixels (x, y) of the images; all stacks are looked at, as sizes must be equal."""
    if not images:
        raise InputError(f"{tilts.where()} has no tilts: remove the tilt series")
    sizes: dict[tuple[int, int], Path] = {}
    for path in dict.fromkeys(image.path for image in images):
        header = read_header(path, tilts.where(), square=False)
        last = max(image.section for image in images if image.path == path)
        if last >= header.sections:
            raise InputError(
                f"{tilts.where()} names image {last + 1} of {path}, which holds {header.sections}: "
                "give the stack that was aligned"
            )
        sizes.setdefault((header.nx, header.ny), path)
    if len(sizes) > 1:
        first, second = list(sizes.items())[:2]
        raise InputError(
            f"{first[1]} has images of {first[0][0]} x {first[0][1]} pixels, {second[1]} of "
            f"{second[0][0]} x {second[0][1]}: tilts of one series need the same size"
        )
    return next(iter(sizes))


def _shifts(tilts: Columns, volume: Floats, size: tuple[int, int], pixel: float) -> Floats:
    """`(F, 2)` Å from the image's centre to where the tomogram's centre falls."""
    matrices = projections(tilts)
    if matrices is None:
        return np.stack([tilts.floats(name, 0.0) for name in _SHIFTS], axis=1)
    if np.isnan(volume).any():
        raise InputError(
            f"{tilts.where()} has matrices from the corner of a tomogram whose size is unknown: "
            "add rlnTomoSizeX/Y/Z to the tomograms STAR file"
        )
    # n / 2, also where n is odd: RELION counts from there to centred coordinates and depths
    centre = matrices[:, :2, :3] @ (volume / 2) + matrices[:, :2, 3]
    shifts: Floats = (centre - np.array(size) // 2) * pixel
    return shifts


def write_relion5(folder: Path, series: Sequence[TiltSeries]) -> Path:
    """Write `folder/tomograms.star` and `folder/tilt_series/{name}.star`; run RELION in `folder`.

    Image paths below `folder` are written relative to it.
    """
    for one in series:
        block = Block(one.name, tilt_rows(folder, one), True, _VERSION)
        write_star(folder / "tilt_series" / f"{one.name}.star", [block])
    path = folder / "tomograms.star"
    # what one of them does not know cannot be a column
    table = pd.DataFrame([global_row(one) for one in series]).dropna(axis=1)
    write_star(path, [Block("global", table, True, _VERSION)])
    return path


def global_row(series: TiltSeries) -> dict[str, str]:
    """Row of a tilt series in the global block of tomograms.star."""
    row = {
        "rlnTomoName": series.name,
        "rlnVoltage": f"{series.voltage_kv:.9g}",
        "rlnSphericalAberration": f"{series.cs_mm:.9g}",
        "rlnAmplitudeContrast": f"{series.amplitude_contrast:.9g}",
        "rlnMicrographOriginalPixelSize": f"{series.pixel_size:.9g}",
        "rlnTomoHand": f"{series.hand:.9g}",
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnTomoTiltSeriesPixelSize": f"{series.pixel_size:.9g}",
        "rlnTomoTiltSeriesStarFile": f"tilt_series/{series.name}.star",
    }
    if np.isfinite(series.dose_per_tilt):
        row["rlnTomoImportFractionalDose"] = f"{series.dose_per_tilt:.9g}"
    if np.isfinite(series.volume_angstrom).all():
        for axis, size in zip("XYZ", series.volume_angstrom, strict=True):
            row[f"rlnTomoSize{axis}"] = f"{round(size / series.pixel_size)}"
    return row


def tilt_rows(folder: Path, series: TiltSeries) -> pd.DataFrame:
    """Rows of a tilt series' own STAR file; image paths below `folder` are relative to it."""
    x_tilt, y_tilt, z_rot = relion_angles(series.rotation)
    columns = {
        "rlnTomoNominalStageTiltAngle": series.tilt_degrees,
        "rlnMicrographPreExposure": series.dose_e_per_A2 - series.dose_per_tilt,
        "rlnTomoXTilt": x_tilt,
        "rlnTomoYTilt": y_tilt,
        "rlnTomoZRot": z_rot,
        "rlnTomoXShiftAngst": series.shift_angstrom[:, 0],
        "rlnTomoYShiftAngst": series.shift_angstrom[:, 1],
        "rlnDefocusU": series.defocus_u_angstrom,
        "rlnDefocusV": series.defocus_v_angstrom,
        "rlnDefocusAngle": series.astigmatism_degrees,
        "rlnPhaseShift": series.phase_shift_degrees,
        "rlnCtfScalefactor": np.cos(np.radians(series.tilt_degrees)),
    }
    names = [_micrograph(folder, series, image) for image in series.images]
    # what is not known is left out, as RELION does before that step
    known = {
        name: [f"{value:.9g}" for value in values]
        for name, values in columns.items()
        if np.isfinite(values).all()
    }
    return pd.DataFrame({"rlnMicrographName": names, **known})


def _micrograph(folder: Path, series: TiltSeries, image: TiltImage) -> str:
    path = relative(image.path, folder)
    shared = len({one.path for one in series.images}) < len(series)
    return f"{image.section + 1:06d}@{path}" if shared or image.section else path
