"""Step-format versions: what the workflow watches is what the modules write."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tomopipe.config import STEP_FORMAT
from tomopipe.config.branch import STAGES

PACKAGE = Path(__file__).parents[2] / "tomopipe"
MODULES = {
    "simulate": "simulate/particles.py",
    "simulate_tilt_series": "simulate/tilt_series.py",
    "extract": "extract/extract.py",
    "import": "dataset/importer.py",
    "prepare": "dataset/store.py",
    "consensus": "reconstruct/consensus.py",
    "analysis": "analysis/analyze.py",
    "classes": "reconstruct/classes.py",
    "fit": "analysis/fit.py",
    "convergence": "analysis/convergence.py",
    "agreement": "analysis/agreement.py",
}


def version_in(module: Path) -> int:
    """The constant STEP_FORMAT or IMPORT_FORMAT of a module, without importing it."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        names = [ast.unparse(target) for target in getattr(node, "targets", ())]
        if isinstance(node, ast.Assign) and names in (["STEP_FORMAT"], ["IMPORT_FORMAT"]):
            value = ast.literal_eval(node.value)
            assert isinstance(value, int)
            return value
    raise AssertionError(f"{module} has no step-format version")


@pytest.mark.parametrize("step", MODULES)
def test_the_workflow_watches_the_version_that_is_written(step: str) -> None:
    assert STEP_FORMAT[step] == version_in(PACKAGE / MODULES[step])


def test_every_stage_has_a_version() -> None:
    assert set(STAGES) <= set(STEP_FORMAT)
