"""What a simulation of tilt series hands to other programs: particles, alignments, images.

The folder is a RELION-5 project; other programs' files are in folders of their own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.dataset.tilt_series.geometry import TiltImage, TiltSeries
from tomopipe.dataset.tilt_series.write import image_paths, write_tilt_series
from tomopipe.io.mrc import open_stack, write_stack
from tomopipe.io.star import Block, write_star
from tomopipe.simulate.scene import ANGLES, POSITION
from tomopipe.simulate.stars import as_text

_VERSION = ("# version 50001",)


def write_picks(out: Path, particles: pd.DataFrame, settings: TiltSeriesSimulation) -> None:
    """Write `particles.star` and `optimisation_set.star`: particles without images."""
    blocks = [
        Block("general", pd.DataFrame({"rlnTomoSubTomosAre2DStacks": ["1"]}), False, _VERSION),
        Block("optics", _optics(settings), True, _VERSION),
        Block("particles", _particles(particles), True, _VERSION),
    ]
    write_star(out / "particles.star", blocks)
    names = {
        "rlnTomoParticlesFile": ["particles.star"],
        "rlnTomoTomogramsFile": ["tomograms.star"],
    }
    block = Block("optimisation_set", pd.DataFrame(names), False, _VERSION)
    write_star(out / "optimisation_set.star", [block])


def write_alignments(
    out: Path, settings: TiltSeriesSimulation, series: Sequence[TiltSeries]
) -> None:
    """Write `tomograms.star` for RELION-5, and what `formats` names into folders of these names.

    Stacks are linked to where IMOD and AreTomo look for them; for WarpTools, which has an image per
    file, they are written once more.
    """
    write_tilt_series(out, series, "relion5")
    for form in settings.formats:
        placed = []
        for one in series:
            images = [
                TiltImage(*place) for place in image_paths(out / form, one.name, len(one), form)
            ]
            if form == "warptools":
                _write_singly(one, images, settings)
            else:
                _link(images[0].path, one.images[0].path)
            placed.append(replace(one, images=tuple(images)))
        write_tilt_series(out / form, placed, form)


def _write_singly(
    series: TiltSeries, images: Sequence[TiltImage], settings: TiltSeriesSimulation
) -> None:
    with open_stack(series.images[0].path) as stack:
        for source, image in zip(series.images, images, strict=True):
            section = stack.read([source.section])
            write_stack(image.path, section, series.pixel_size, settings.format)


def _link(path: Path, target: Path) -> None:
    """A relative link, so that the folder can be moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target.resolve(), path.parent.resolve()))


def _particles(particles: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "rlnTomoName": particles["tomogram"],
        "rlnTomoParticleName": particles["uid"],
        **{
            f"rlnCenteredCoordinate{a}Angst": particles[n]
            for a, n in zip("XYZ", POSITION, strict=True)
        },
        **{
            f"rlnAngle{a}": particles[n]
            for a, n in zip(("Rot", "Tilt", "Psi"), ANGLES, strict=True)
        },
        **{f"rlnOrigin{axis}Angst": 0.0 for axis in "XYZ"},
        "rlnOpticsGroup": 1,
        "rlnRandomSubset": 1 + np.arange(len(particles)) % 2,
    }
    return as_text(pd.DataFrame(columns))


def _optics(settings: TiltSeriesSimulation) -> pd.DataFrame:
    row = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnVoltage": settings.voltage_kv,
        "rlnSphericalAberration": settings.cs_mm,
        "rlnAmplitudeContrast": settings.amplitude_contrast,
        "rlnTomoTiltSeriesPixelSize": settings.pixel_size_angstrom,
    }
    return as_text(pd.DataFrame([row]))
