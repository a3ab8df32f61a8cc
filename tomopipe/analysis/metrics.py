"""Losses by epoch or round, as a fit leaves them in `metrics.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.errors import StateError


def read_metrics(path: Path) -> pd.DataFrame:
    """`metrics.jsonl` as a table with at least epoch, loss and validation.

    Raises
    ------
    StateError
        If it is missing, empty, or a line is not JSON.
    """
    if not path.is_file():
        raise StateError(f"{path} is missing: train the model first")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            raise StateError(f"{path} line {number} is not JSON: train the model again") from None
    if not rows:
        raise StateError(f"{path} holds no epoch: train the model first")
    table = pd.DataFrame(rows)
    for name in ("loss", "validation"):
        table[name] = pd.to_numeric(table[name], errors="coerce") if name in table else np.nan
    if "epoch" not in table:
        table.insert(0, "epoch", range(1, len(table) + 1))
    return table
