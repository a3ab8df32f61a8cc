"""The same step twice, in two processes, leaves the same files: the default models and clusters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tomopipe.lineage.record import Record

ROOT = Path(__file__).parents[2]
# the network is trained twice by tests/workflow/test_whole_run.py
SETTINGS = {"network": "never", "linear": {"components": 2, "rounds": 4}}


def test_fit_twice(tiny, tmp_path: Path) -> None:
    words = ["fit", str(tiny.store_path), "--settings", json.dumps(SETTINGS), "--threads", "1"]
    command = [sys.executable, "-m", "tomopipe", *words, "--out"]
    for name in "ab":
        subprocess.run(
            [*command, str(tmp_path / name)], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
        )
    one, other = (Record.read(tmp_path / name / "lineage.json").lineage for name in "ab")
    assert one.fingerprint == other.fingerprint
    assert {"model.safetensors", "clusters.parquet", "fit.json"} <= {o.path for o in one.outputs}
    assert one.machine["threads"] == other.machine["threads"] == 1
