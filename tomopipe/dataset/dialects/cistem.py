"""cisTEM STAR files: one row per image, columns `cisTEM…`, a stack named beside or per row.

cisTEM counts images in `cisTEMPositionInStack` (from 1), writes angles psi, theta, phi that equal
RELION's psi, tilt, rot, shifts in Å and the phase shift in radians. Its shift is where the particle
lies, RELION's is the one that centres it: they differ in sign.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.dialects.columns import Columns, Floats
from tomopipe.dataset.dialects.draft import Draft
from tomopipe.dataset.dialects.series import read_series
from tomopipe.dataset.stacks import StackFinder
from tomopipe.errors import InputError
from tomopipe.io.star import Block, StarFile

_RENAMED = {
    "cisTEMAnglePhi": "rlnAngleRot",
    "cisTEMAngleTheta": "rlnAngleTilt",
    "cisTEMAnglePsi": "rlnAnglePsi",
    "cisTEMDefocus1": "rlnDefocusU",
    "cisTEMDefocus2": "rlnDefocusV",
    "cisTEMDefocusAngle": "rlnDefocusAngle",
    "cisTEMPixelSize": "rlnImagePixelSize",
    "cisTEMMicroscopeVoltagekV": "rlnVoltage",
    "cisTEMMicroscopeCsMM": "rlnSphericalAberration",
    "cisTEMAmplitudeContrast": "rlnAmplitudeContrast",
    "cisTEMOriginalImageFilename": "rlnMicrographName",
}
_REQUIRED = ("cisTEMAnglePsi", "cisTEMAngleTheta", "cisTEMAnglePhi", "cisTEMPositionInStack")


def read_cistem(star: StarFile, block: str, finder: StackFinder, settings: ImportSettings) -> Draft:
    """Read a cisTEM parameter file.

    Images with the same `cisTEMParticleGroup` are tilts of one particle where that column tells
    groups apart and doses differ; the dose is `cisTEMTotalExposure`.

    Raises
    ------
    InputError
        If a column is missing, a value cannot be used, or no stack can be found.
    """
    rows = Columns(star.path, block, star[block])
    rows.require(*_REQUIRED)
    table = rows.table.rename(columns=_RENAMED)
    table["rlnImageName"] = _image_names(rows, settings)
    for axis in "XY":
        table[f"rlnOrigin{axis}Angst"] = _text(-rows.floats(f"cisTEM{axis}Shift", 0.0))
    if "cisTEMPhaseShift" in rows:
        table["rlnPhaseShift"] = _text(np.degrees(rows.floats("cisTEMPhaseShift")))
    if "cisTEMAssignedSubset" in rows:
        table["rlnRandomSubset"] = rows.table["cisTEMAssignedSubset"]
    dialect = "single"
    if _grouped(rows):
        dialect = "cistem"
        table["rlnGroupName"] = rows.table["cisTEMParticleGroup"]
    view = StarFile(star.path, {block: Block(block, table)})
    draft = read_series(view, block, dialect, finder, settings)
    images = draft.images
    if "cisTEMTotalExposure" in rows:
        dose = rows.floats("cisTEMTotalExposure")
        dose = np.where(dose > 0, dose, np.nan)
        images["dose_e_per_A2"] = dose[images["source_row"]]
    return Draft("cistem", draft.particles, images, rows, True, {"particles": star})


def _image_names(rows: Columns, settings: ImportSettings) -> pd.Series:
    position = rows.integers("cisTEMPositionInStack")
    if settings.stack is not None:
        stacks = pd.Series(str(settings.stack), index=rows.table.index)
    elif "cisTEMStackFilename" in rows:
        stacks = rows.table["cisTEMStackFilename"].str.strip("'\"")
    else:
        stacks = pd.Series(str(_stack_beside(rows)), index=rows.table.index)
    return pd.Series(position.astype(str), index=rows.table.index, dtype="str") + "@" + stacks


def _stack_beside(rows: Columns) -> str:
    for suffix in (".mrc", ".mrcs"):
        candidate = rows.path.with_suffix(suffix)
        if candidate.is_file():
            return candidate.name
    raise InputError(
        f"{rows.where()} has no column cisTEMStackFilename and no stack of the same name stands "
        "beside the file: set stack"
    )


def _grouped(rows: Columns) -> bool:
    """Whether the particle groups are particles seen in several tilts."""
    if "cisTEMParticleGroup" not in rows or "cisTEMTotalExposure" not in rows:
        return False
    groups = rows.table["cisTEMParticleGroup"]
    return 1 < groups.nunique() < len(groups) and rows.table["cisTEMTotalExposure"].nunique() > 1


def _text(values: Floats) -> list[str]:
    return [repr(float(value)) for value in values]
