"""Tilt series as WarpTools keeps them, .tomostar and XML; `warp` says what their values mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.dataset.tilt_series.ctf_files import known
from tomopipe.dataset.tilt_series.geometry import Floats, TiltImage, TiltSeries
from tomopipe.dataset.tilt_series.parts import even_centre, relative_up, relion_angles
from tomopipe.dataset.tilt_series.warp_xml import write_warp_xml
from tomopipe.errors import InputError
from tomopipe.io.star import Block, write_star

_SAME = 1e-3  # degrees by which the x tilts of a series may differ


def write_warp(folder: Path, series: Sequence[TiltSeries]) -> Path:
    """Write `folder/tomostar/{name}.tomostar` and `folder/warp_tiltseries/{name}.xml`.

    Movies are named such that `average/{stem}.mrc` beside them, or they themselves, are the images.

    Raises
    ------
    InputError
        If images are sections of a stack, the hand is not 1 or -1, or x tilts differ.
    """
    for one in series:
        _check(one)
        tomostar = folder / "tomostar" / f"{one.name}.tomostar"
        movies = [relative_up(_movie(image), tomostar.parent) for image in one.images]
        x_tilt, y_tilt, z_rot = relion_angles(one.rotation)
        before = one.dose_e_per_A2 - one.dose_per_tilt
        table = pd.DataFrame(
            {
                "wrpMovieName": movies,
                "wrpAngleTilt": _lines(-y_tilt),
                "wrpAxisAngle": _lines(z_rot),
                "wrpDose": _lines(before),
            }
        )
        write_star(tomostar, [Block("", table)])
        offset = one.shift_angstrom - even_centre(one.image_size) * one.pixel_size
        per_tilt = {
            "Angles": _lines(-y_tilt),
            "Dose": _lines(before),
            "UseTilt": ["True"] * len(one),
            "AxisAngle": _lines(z_rot),
            "AxisOffsetX": _lines(offset[:, 0]),
            "AxisOffsetY": _lines(offset[:, 1]),
            "MoviePath": movies,
        }
        path = folder / "warp_tiltseries" / f"{one.name}.xml"
        level = float(x_tilt.mean())
        write_warp_xml(path, _attributes(one, level), per_tilt, *_written_ctf(one))
    return folder


def _check(series: TiltSeries) -> None:
    paths = {image.path for image in series.images}
    if len(paths) < len(series) or any(image.section for image in series.images):
        raise InputError(
            f"tilt series {series.name}: WarpTools needs a file per tilt, not sections of a stack: "
            "write its images one by one"
        )
    if abs(series.hand) != 1:
        raise InputError(
            f"tilt series {series.name} has hand {series.hand:g}, WarpTools knows 1 and -1: "
            "write another format"
        )
    x_tilt = relion_angles(series.rotation)[0]
    if np.ptp(x_tilt) > _SAME:
        raise InputError(
            f"tilt series {series.name} has x tilts from {x_tilt.min():.3f}° to "
            f"{x_tilt.max():.3f}°, WarpTools knows one for all: write another format"
        )


def _movie(image: TiltImage) -> Path:
    """Movie whose average is `image`; an image elsewhere stands for itself."""
    path = image.path
    return path.parent.parent / path.name if path.parent.name == "average" else path


def _attributes(series: TiltSeries, level: float) -> dict[str, str]:
    size = np.array(series.image_size) * series.pixel_size
    attributes = {
        "DataDirectory": "../tomostar",
        "AreAnglesInverted": str(series.hand < 0),
        "LevelAngleX": f"{level:.9g}",
        "LevelAngleY": "0",
        "ImageDimensionsAngstrom": f"{size[0]:.9g}, {size[1]:.9g}",
    }
    if np.isfinite(series.volume_angstrom).all():
        volume = ", ".join(f"{length:.9g}" for length in series.volume_angstrom)
        attributes["VolumeDimensionsAngstrom"] = volume
    return attributes


def _written_ctf(series: TiltSeries) -> tuple[dict[str, Floats], dict[str, float]]:
    """Grids and parameters of the CTF, in µm, degrees and pi."""
    parameters = {
        "PixelSize": series.pixel_size,
        "Voltage": series.voltage_kv,
        "Cs": series.cs_mm,
        "Amplitude": series.amplitude_contrast,
    }
    if not known(series):
        return {}, parameters
    u, v = series.defocus_u_angstrom / 1e4, series.defocus_v_angstrom / 1e4
    grids = {
        "GridCTF": (u + v) / 2,
        "GridCTFDefocusDelta": u - v,
        "GridCTFDefocusAngle": series.astigmatism_degrees,
        "GridCTFPhase": series.phase_shift_degrees / 180,
    }
    return grids, parameters


def _lines(values: Floats) -> list[str]:
    return [f"{value:.9g}" for value in values]
