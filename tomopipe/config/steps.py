"""The step-format versions: raise one when a step's results would come out differently.

Snakemake notices changed settings, inputs and commands, but not changed code of this package. The
rules put these numbers into their `params`, so that raising one re-runs that step and what follows
from it, and nothing else.
"""

from __future__ import annotations

from typing import Final

STEP_FORMAT: Final[dict[str, int]] = {
    "fetch": 1,
    "simulate_tilt_series": 2,
    "extract": 3,
    "simulate": 1,
    "import": 2,
    "prepare": 3,
    "select": 1,
    "consensus": 3,
    "fit": 8,
    "linear": 6,
    "homogeneous": 3,
    "heterogeneous": 3,
    "convergence": 2,
    "analysis": 8,
    "classes": 3,
    "junk": 4,
    "decide": 1,
    "export": 2,
    "agreement": 3,
    "recovery": 1,
    "report": 4,
}
