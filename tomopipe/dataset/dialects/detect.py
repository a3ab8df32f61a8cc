"""Which program wrote a STAR file, told by the columns that are present."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from tomopipe.dataset.dialects.grouping import GROUP_COLUMNS
from tomopipe.errors import InputError
from tomopipe.io.star import StarFile

OPTIMISATION = ("rlnTomoParticlesFile", "rlnTomoTomogramsFile")
TOMO_DIALECTS = ("relion5", "warptools")


@dataclass(frozen=True)
class Detected:
    """Dialect of a STAR file and the block whose rows are particles or images."""

    dialect: str
    block: str


def detect(star: StarFile) -> Detected:
    """Dialect by columns; the order of columns and any further columns do not matter.

    Raises
    ------
    InputError
        If no known dialect fits, saying which columns were found.
    """
    if (block := star.find(*OPTIMISATION)) is not None:
        return Detected("relion5", block)
    if (block := star.find("rlnTomoName", "rlnImageName")) is not None and not _indexed(
        star[block]
    ):
        return Detected("relion5", block)
    if (block := star.find("cisTEMAnglePsi")) is not None:
        return Detected("cistem", block)
    if (block := star.find("rlnImageName")) is not None:
        return Detected(_series_dialect(star[block]), block)
    raise InputError(_unknown(star))


def _series_dialect(table: pd.DataFrame) -> str:
    columns = set(table.columns)
    if "rlnTomoParticleName" in columns:
        return "relion31"
    if not columns.intersection(GROUP_COLUMNS) or not _is_tilt_series(table):
        return "single"
    if "rlnTiltIndex" in columns and "rlnGroupNumber" in columns:
        return "nextpyp"
    if "rlnGroupName" in columns and "rlnOpticsGroup" not in columns:
        warp = {"rlnMicrographName", "rlnMagnification"} & columns
        return "warp" if warp else "cryosrpnt"
    return "relion31"


def _is_tilt_series(table: pd.DataFrame) -> bool:
    """Tilt images differ in tilt or dose; RELION's single particles of one group do not.

    RELION 3.0 writes rlnGroupName for groups of micrographs, with scale 1 and B-factor 0 all over.
    """
    if "rlnTiltIndex" in table.columns:
        return True
    for name, neutral in (("rlnCtfScalefactor", 1.0), ("rlnCtfBfactor", 0.0)):
        if name in table.columns:
            values = pd.to_numeric(table[name], errors="coerce")
            below = values < neutral - 1e-6
            if below.any():
                return True
    return False


def _indexed(table: pd.DataFrame) -> bool:
    """Whether image names are `index@stack`, so that a row is one image."""
    return len(table) > 0 and bool(table["rlnImageName"].str.match(r"\d+@").all())


def _unknown(star: StarFile) -> str:
    if star.find("rlnTomoTiltSeriesStarFile") or star.find("rlnTomoHand"):
        return (
            f"{star.path} is a tomograms STAR file: give the particles or the optimisation set, "
            "and this one as tomograms"
        )
    blocks = "; ".join(
        f"data_{name}: {', '.join(list(block.table.columns)[:8]) or 'nothing'}"
        for name, block in star.blocks.items()
    )
    return (
        f"{star.path} is of no known dialect: no block has rlnImageName, cisTEMAnglePsi or "
        f"rlnTomoParticlesFile (found {blocks}); give a particle STAR file"
    )
