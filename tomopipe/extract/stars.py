"""The STAR files of extracted particles, as RELION-5 and `tomopipe import` read them.

Names and columns are those of RELION-5's own extraction of 2D stacks; tilt geometry is written as
its angles and shifts (docs/input-formats.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.config.extract import ExtractSettings
from tomopipe.dataset.dialects.detect import OPTIMISATION
from tomopipe.dataset.dialects.tomo import DOSE_WEIGHTED
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.dataset.tilt_series.relion5 import global_row, tilt_rows
from tomopipe.extract.place import Placed
from tomopipe.io.star import Block, write_star

_VERSION = ("# version 50001",)
_OPTICS = [
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnTomoTiltSeriesPixelSize",
]
# columns of the source that speak of its images, or that are written anew
_REPLACED = (
    r"^rln(Image\w*|Ctf\w*|Defocus\w*|Phase\w*|Origin\w*|Coordinate[XYZ]|CenteredCoordinate\w*"
    r"|TomoVisibleFrames|TomoName|TomoParticleName|TomoParticleId|OpticsGroup\w*|Micrograph\w*"
    r"|PixelSize|DetectorPixelSize|Magnification|TomoTiltSeriesPixelSize|TomoSubtomogramBinning"
    r"|TomoHand|Voltage|SphericalAberration|AmplitudeContrast|NormCorrection|Group\w*)$"
)
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")


def particle_rows(placed: Placed, stacks: list[str], settings: ExtractSettings) -> pd.DataFrame:
    """Rows of particles.star as text; angles, half-sets and unknown columns are the source's.

    `rlnImageName` is relative to the folder of the results, and the optics group is left to `join`.
    """
    particles = placed.particles
    table = particles.rows.table.iloc[particles.row].reset_index(drop=True)
    table = table.loc[:, ~table.columns.str.match(_REPLACED)]
    table = table.assign(**{name: "0" for name in _ANGLES if name not in table})
    origin = particles.origin * (not settings.recenter)
    return table.assign(
        rlnTomoName=particles.tomogram.astype(str),
        rlnTomoParticleName=particles.uid.astype(str),
        rlnImageName=stacks,
        rlnTomoVisibleFrames=[_list(visible.astype(int)) for visible in placed.visible],
        **{
            f"rlnCenteredCoordinate{axis}Angst": _texts(placed.middle[:, k])
            for k, axis in enumerate("XYZ")
        },
        **{f"rlnOrigin{axis}Angst": _texts(origin[:, k]) for k, axis in enumerate("XYZ")},
    )


def tomogram_row(series: TiltSeries, name: str) -> dict[str, str]:
    """Row of the global table of tomograms.star; its optics group is left to `write_sets`.

    RELION wants a size: where it is not known, that of the tilt images stands for it. Centred
    coordinates do not depend on it.
    """
    width, height = series.seen_angstrom
    images = np.array([width, height, width])
    known = np.isfinite(series.volume_angstrom)
    volume = np.where(known, series.volume_angstrom, images)
    series = replace(series, volume_angstrom=volume, dose_per_tilt=_dose_of_one(series))
    star = f"tilt_series/{name.replace('/', '_')}.star"
    return global_row(series) | {"rlnTomoName": name, "rlnTomoTiltSeriesStarFile": star}


def write_tilts(out: Path, series: TiltSeries, name: str, settings: ExtractSettings) -> None:
    """Write the STAR file of one tilt series: a row for each tilt, seen in the images or not."""
    path = out / "tilt_series" / f"{name.replace('/', '_')}.star"
    rows = tilt_rows(path.parent, replace(series, dose_per_tilt=_dose_of_one(series)))
    if settings.ctf_premultiply:
        rows["rlnCtfScalefactor"] = "1"  # RELION takes premultiplied stacks to hold its square
    write_star(path, [Block(name, rows, True, _VERSION)])


def write_sets(
    out: Path, particles: pd.DataFrame, tomograms: pd.DataFrame, settings: ExtractSettings
) -> None:
    """Write particles.star, tomograms.star and optimisation_set.star into `out`.

    Parameters
    ----------
    particles
        What `particle_rows` gives, of all tomograms.
    tomograms
        What `tomogram_row` gives, a row for each tomogram.
    """
    root = f"{out.resolve()}/" if settings.paths == "absolute" else ""
    optics = tomograms[_OPTICS].drop_duplicates().reset_index(drop=True)
    numbers = {tuple(row): k for k, row in enumerate(optics.itertuples(index=False), 1)}
    groups = [numbers[tuple(row)] for row in tomograms[_OPTICS].itertuples(index=False)]
    of_tomogram = dict(zip(tomograms["rlnTomoName"], groups, strict=True))
    particles = particles.assign(
        rlnOpticsGroup=particles["rlnTomoName"].map(of_tomogram).astype(str),
        rlnImageName=root + particles["rlnImageName"],
    )
    tomograms = tomograms.assign(
        rlnOpticsGroupName=[f"opticsGroup{group}" for group in groups],
        rlnTomoTiltSeriesStarFile=root + tomograms["rlnTomoTiltSeriesStarFile"],
    )
    general = pd.DataFrame({"rlnTomoSubTomosAre2DStacks": ["1"]})
    write_star(
        out / "particles.star",
        [
            Block("general", general, False, _VERSION),
            Block("optics", _optics_table(optics, settings), True, _VERSION),
            Block("particles", particles, True, _VERSION),
        ],
    )
    write_star(out / "tomograms.star", [Block("global", tomograms, True, _VERSION)])
    files = [f"{root}particles.star", f"{root}tomograms.star"]
    table = pd.DataFrame({c: [f] for c, f in zip(OPTIMISATION, files, strict=True)})
    write_star(out / "optimisation_set.star", [Block("optimisation_set", table, False, _VERSION)])


def _optics_table(optics: pd.DataFrame, settings: ExtractSettings) -> pd.DataFrame:
    """One optics group for each microscope and pixel size of the tilt series."""
    binning = settings.pixel_size_angstrom / optics["rlnTomoTiltSeriesPixelSize"].astype(float)
    return pd.DataFrame(
        {
            "rlnOpticsGroup": [str(k + 1) for k in optics.index],
            "rlnOpticsGroupName": [f"opticsGroup{k + 1}" for k in optics.index],
            **{name: optics[name] for name in _OPTICS},
            "rlnCtfDataAreCtfPremultiplied": str(int(settings.ctf_premultiply)),
            DOSE_WEIGHTED: str(int(settings.dose_weight)),
            "rlnImageDimensionality": "2",
            "rlnTomoSubtomogramBinning": _texts(binning),
            "rlnImagePixelSize": _text(settings.pixel_size_angstrom),
            "rlnImageSize": str(settings.box),
        }
    )


def _dose_of_one(series: TiltSeries) -> float:
    """e/Å² of one tilt; where it is not said, the smallest step between doses; 0 without doses."""
    if np.isfinite(series.dose_per_tilt):
        return float(series.dose_per_tilt)
    steps = np.diff(np.unique(np.concatenate([[0.0], series.dose_e_per_A2])))
    return float(steps.min()) if steps.size and np.isfinite(steps).all() else 0.0


def _list(values: Iterable[int]) -> str:
    return "[" + ",".join(str(value) for value in values) + "]"


def _text(value: float) -> str:
    return f"{value:.9g}"


def _texts(values: pd.Series | NDArray[np.float64]) -> list[str]:
    return [_text(float(value)) for value in values]
