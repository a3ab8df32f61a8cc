"""Clocks that go back."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Packed
from tests.faults.harness import NETWORK
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.errors import StateError
from tomopipe.io.results import check_results
from tomopipe.training.neural import train_heterogeneous


@pytest.mark.fault(
    "The clock goes back while a network trains",
    "Nothing depends on it: checkpoints are written as before, and the numbers are the same.",
)
def test_clock_goes_back_in_training(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = HeterogeneousSettings.model_validate(NETWORK | {"epochs": 2})
    train_heterogeneous(packed.store, tmp_path / "straight", settings)
    back = itertools.count(0, -3600)
    monkeypatch.setattr(time, "time", lambda: 1.7e9 + next(back))
    train_heterogeneous(packed.store, tmp_path / "back", settings)
    for name in ("model.safetensors", "latents.parquet"):
        files = (tmp_path / run / name for run in ("straight", "back"))
        assert len({file.read_bytes() for file in files}) == 1
    lines = (tmp_path / "back" / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["seconds"] >= 0 for line in lines)


def test_results_of_the_future_are_refused(tmp_path: Path) -> None:
    check_results(tmp_path / "none")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "images.parquet").touch()
    soon, late = time.time() + 30, time.time() + 3600
    os.utime(tmp_path / "store" / "images.parquet", (soon, soon))
    check_results(tmp_path)
    os.utime(tmp_path / "store", (late, late))
    with pytest.raises(StateError, match=r"store is of .* in the future: set the clock .*--touch"):
        check_results(tmp_path)
