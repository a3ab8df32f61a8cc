"""Particles of simulated tilt series as RELION-5 lists them before extraction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.io.star import Block, write_star
from tomopipe.simulate.scene import ANGLES, POSITION
from tomopipe.simulate.stars import as_text

_VERSION = ("# version 50001",)


def write_picks(
    out: Path,
    particles: pd.DataFrame,
    settings: TiltSeriesSimulation,
    series: Sequence[TiltSeries],
) -> None:
    """Write `particles.star`, project files of every program, and `optimisation_set.star`."""
    blocks = [
        Block("general", pd.DataFrame({"rlnTomoSubTomosAre2DStacks": ["1"]}), False, _VERSION),
        Block("optics", _optics(settings), True, _VERSION),
        Block("particles", _particles(particles), True, _VERSION),
    ]
    write_star(out / "particles.star", blocks)
    names = {
        "rlnTomoParticlesFile": ["particles.star"],
        "rlnTomoTomogramsFile": ["relion5/tomograms.star"],
    }
    block = Block("optimisation_set", pd.DataFrame(names), False, _VERSION)
    write_star(out / "optimisation_set.star", [block])


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
        # halves by turns within a tomogram, as the number of the particle says
        "rlnRandomSubset": 1 + particles.groupby("tomogram").cumcount() % 2,
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
