"""STAR files and stacks of simulated particles, in the dialects of several programs.

The same particles, drawn with `one_pose`, read alike from every dialect: that is tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.config.simulate import SimulateSettings
from tomopipe.io.mrc import write_stack
from tomopipe.io.star import Block, write_star
from tomopipe.physics.pose import euler_angles
from tomopipe.simulate.draws import FIELD_ANGSTROM, HAND, Particle, Tilts
from tomopipe.simulate.formation import ASTIGMATISM_DEGREES, CS_MM

_VERSION = ("# version 50001",)
Row = dict[str, Any]


class StarWriter:
    """Collects particles tomogram by tomogram, writes their stacks, and the STAR files at the end.

    Images are in one stack per tomogram where a row is an image, in one per particle else.
    """

    def __init__(self, folder: Path, settings: SimulateSettings) -> None:
        self._folder, self._settings = folder, settings
        self._rows: list[Row] = []
        self._tilts: dict[str, Tilts] = {}

    def tomogram(
        self,
        name: str,
        tilts: Tilts,
        particles: Sequence[Particle],
        images: Sequence[NDArray[np.float32]],
    ) -> None:
        """Write the stacks of one tomogram; `particles` have the poses to be written."""
        pixel, dialect = self._settings.pixel_size_angstrom, self._settings.dialect
        self._tilts[name] = tilts
        if dialect in ("warp", "relion31"):
            write_stack(self._folder / f"{name}.mrcs", np.concatenate(images), pixel)
            first = np.cumsum([0, *(len(stack) for stack in images)])
            for particle, start in zip(particles, first, strict=False):
                make = warp_rows if dialect == "warp" else relion31_rows
                self._rows += make(name, particle, self._settings, int(start))
            return
        for number, (particle, stack) in enumerate(zip(particles, images, strict=True), 1):
            path = f"{name}/{number:06d}.mrcs"
            if dialect == "warptools":  # keeps the slots of tilts that a particle does not have
                whole = np.zeros((len(tilts.tilt), *stack.shape[1:]), np.float32)
                whole[particle.series.frame] = stack
                stack = whole
            write_stack(self._folder / path, stack, pixel)
            self._rows.append(relion5_row(name, particle, self._settings, path))

    def finish(self) -> None:
        """Write `particles.star`, and what the dialect needs beside it."""
        table, settings = pd.DataFrame(self._rows), self._settings
        if settings.dialect == "warp":
            decimals = table.map(lambda v: f"{v:.6f}" if isinstance(v, float) else str(v))
            write_star(self._folder / "particles.star", [Block("", decimals)])
            return
        two_d = pd.DataFrame({"rlnTomoSubTomosAre2DStacks": ["1"]})
        blocks = [
            Block("general", two_d, False, _VERSION),
            Block("optics", _optics(settings), True, _VERSION),
            Block("particles", as_text(table), True, _VERSION),
        ]
        write_star(self._folder / "particles.star", blocks[settings.dialect == "relion31" :])
        if settings.dialect == "relion31":
            return
        write_star(self._folder / "tomograms.star", self._tomograms())
        names = {
            "rlnTomoParticlesFile": ["particles.star"],
            "rlnTomoTomogramsFile": ["tomograms.star"],
        }
        block = Block("optimisation_set", pd.DataFrame(names), False, _VERSION)
        write_star(self._folder / "optimisation_set.star", [block])

    def _tomograms(self) -> list[Block]:
        """The global table and, in WarpTools, the tilts; RELION-5 has a file of tilts for each."""
        settings, names = self._settings, list(self._tilts)
        size = FIELD_ANGSTROM / settings.pixel_size_angstrom
        table: Row = {
            "rlnTomoName": names,
            "rlnTomoFrameCount": settings.tilts,
            **{f"rlnTomoSize{axis}": n for axis, n in zip("XYZ", size, strict=True)},
            # as Warp states it of such a series, which is the opposite
            "rlnTomoHand": -HAND if settings.dialect == "warptools" else HAND,
            "rlnOpticsGroupName": "opticsGroup1",
            "rlnTomoTiltSeriesPixelSize": settings.pixel_size_angstrom,
            "rlnVoltage": settings.voltage_kv,
            "rlnSphericalAberration": CS_MM,
            "rlnAmplitudeContrast": settings.amplitude_contrast,
            "rlnTomoImportFractionalDose": settings.dose_per_tilt,
        }
        blocks = {name: _tilt_table(tilts, settings) for name, tilts in self._tilts.items()}
        if settings.dialect == "warptools":
            tilt_blocks = [Block(name, block, True, _VERSION) for name, block in blocks.items()]
            return [Block("global", as_text(pd.DataFrame(table)), True, _VERSION), *tilt_blocks]
        for name, block in blocks.items():
            path = self._folder / "tilt_series" / f"{name}.star"
            write_star(path, [Block(name, block, True, _VERSION)])
        table["rlnTomoTiltSeriesStarFile"] = [f"tilt_series/{name}.star" for name in names]
        return [Block("global", as_text(pd.DataFrame(table)), True, _VERSION)]


def warp_rows(name: str, particle: Particle, settings: SimulateSettings, first: int) -> list[Row]:
    """Rows of one particle's images as Warp and M write them, from slot `first` of the stack."""
    pixel, series = settings.pixel_size_angstrom, particle.series
    return [
        {
            "rlnImageName": f"{first + i + 1:06d}@{name}.mrcs",
            "rlnMicrographName": name,
            "rlnGroupName": particle.uid.split("/")[1],
            **_coordinates(particle, pixel),
            "rlnDetectorPixelSize": pixel,
            "rlnMagnification": 10000.0,
            **_angles(series.view[i]),
            "rlnOriginX": series.shift[i, 0],
            "rlnOriginY": series.shift[i, 1],
            **_defocus(series.defocus[i], settings),
            "rlnVoltage": settings.voltage_kv,
            "rlnSphericalAberration": CS_MM,
            "rlnAmplitudeContrast": settings.amplitude_contrast,
            "rlnPhaseShift": 0.0,
            "rlnCtfBfactor": -4 * series.dose[i],
            "rlnCtfScalefactor": np.cos(np.deg2rad(series.tilt[i])),
        }
        for i in range(len(series.tilt))
    ]


def relion31_rows(
    name: str, particle: Particle, settings: SimulateSettings, first: int
) -> list[Row]:
    """Rows of one particle's images for RELION 3.1, whose microscope stands in an optics table."""
    pixel, series = settings.pixel_size_angstrom, particle.series
    return [
        {
            "rlnImageName": f"{first + i + 1:06d}@{name}.mrcs",
            "rlnMicrographName": name,
            "rlnTomoParticleName": particle.uid,
            **_coordinates(particle, pixel),
            **_angles(series.view[i]),
            "rlnOriginXAngst": series.shift[i, 0] * pixel,
            "rlnOriginYAngst": series.shift[i, 1] * pixel,
            **_defocus(series.defocus[i], settings),
            "rlnPhaseShift": 0.0,
            "rlnCtfBfactor": -4 * series.dose[i],
            "rlnCtfScalefactor": np.cos(np.deg2rad(series.tilt[i])),
            "rlnTomoNominalStageTiltAngle": series.tilt[i],
            "rlnOpticsGroup": 1,
        }
        for i in range(len(series.tilt))
    ]


def relion5_row(name: str, particle: Particle, settings: SimulateSettings, path: str) -> Row:
    """Row of one particle for RELION-5 (from the tomogram's centre) or WarpTools (its corner)."""
    series = particle.series
    visible = np.zeros(settings.tilts, dtype=int)
    visible[series.frame] = 1
    if settings.dialect == "warptools":
        place = _coordinates(particle, settings.pixel_size_angstrom)
    else:
        centred = particle.position - FIELD_ANGSTROM / 2
        keys = (f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
        place = dict(zip(keys, centred, strict=True))
    return {
        "rlnTomoName": name,
        "rlnTomoParticleName": particle.uid,
        **place,
        **_angles(series.pose),
        **{f"rlnOrigin{a}Angst": v for a, v in zip("XYZ", series.origin, strict=True)},
        "rlnTomoVisibleFrames": "[" + ",".join(map(str, visible)) + "]",
        "rlnImageName": path,
        "rlnOpticsGroup": 1,
    }


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """`table` as STAR files hold it: numbers with twelve digits."""
    return table.map(lambda value: f"{value:.12g}" if isinstance(value, float) else str(value))


def _coordinates(particle: Particle, pixel: float) -> Mapping[str, float]:
    keys = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
    return dict(zip(keys, particle.position / pixel, strict=True))


def _angles(view: NDArray[np.float64]) -> Mapping[str, float]:
    keys = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    return dict(zip(keys, euler_angles(view), strict=True))


def _defocus(defocus: float, settings: SimulateSettings) -> Mapping[str, float]:
    half = settings.astigmatism_angstrom / 2
    keys = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
    return dict(zip(keys, (defocus + half, defocus - half, ASTIGMATISM_DEGREES), strict=True))


def _tilt_table(tilts: Tilts, settings: SimulateSettings) -> pd.DataFrame:
    """Tilts of one tomogram: matrices in WarpTools, angles in RELION-5."""
    rows = []
    for tilt, dose, defocus in zip(tilts.tilt, tilts.dose, tilts.defocus, strict=True):
        c, s = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
        if settings.dialect == "warptools":
            turn = [[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]]
            keys = (f"rlnTomoProj{axis}" for axis in "XYZW")
            place: Row = {
                key: "[" + ",".join(f"{value:.12g}" for value in row) + "]"
                for key, row in zip(keys, turn, strict=True)
            }
        else:
            place = {"rlnTomoXTilt": 0.0, "rlnTomoYTilt": tilt, "rlnTomoZRot": 0.0}
            place |= {"rlnTomoXShiftAngst": 0.0, "rlnTomoYShiftAngst": 0.0}
        before = dose - settings.dose_per_tilt
        scale = {"rlnCtfScalefactor": c, "rlnMicrographPreExposure": before}
        rows.append({**place, **_defocus(defocus, settings), **scale})
    return as_text(pd.DataFrame(rows))


def _optics(settings: SimulateSettings) -> pd.DataFrame:
    pixel = settings.pixel_size_angstrom
    row: Row = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnVoltage": settings.voltage_kv,
        "rlnSphericalAberration": CS_MM,
        "rlnAmplitudeContrast": settings.amplitude_contrast,
        "rlnTomoTiltSeriesPixelSize": pixel,
        "rlnTomoSubtomogramBinning": 1,
        "rlnImagePixelSize": pixel,
        "rlnImageSize": settings.box,
        "rlnImageDimensionality": 2,
        "rlnCtfDataAreCtfPremultiplied": 0,
    }
    return as_text(pd.DataFrame([row]))
