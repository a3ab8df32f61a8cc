"""The analytic store of tests/models, for training."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location(
    "analytic_store", Path(__file__).parents[1] / "models" / "conftest.py"
)
_MODULE = importlib.util.module_from_spec(_SPEC)
sys.modules["analytic_store"] = _MODULE
_SPEC.loader.exec_module(_MODULE)

build_store = _MODULE.build_store
make_store = _MODULE.make_store
states = _MODULE.states
