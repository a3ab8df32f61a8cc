"""Steps are seen at work however they were started, and what each took is counted once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Simulated
from tomopipe.config.linear import LinearSettings
from tomopipe.physics.grid import FourierGrid
from tomopipe.report.running import Worker, workers
from tomopipe.training.linear import prepare_statistics
from tomopipe.training.rounds import Rounds


@pytest.fixture
def console_script(tmp_path: Path) -> str:
    """Stands for the installed command: a file `tomopipe` that Python runs, which waits."""
    script = tmp_path / "bin/tomopipe"
    script.parent.mkdir()
    script.write_text("print(flush=True); input()")
    return str(script)


@pytest.mark.parametrize("joined", [True, False])
def test_the_console_script_is_seen(joined: bool, console_script: str, tmp_path: Path) -> None:
    out = tmp_path / "results/branches/pilot/linear"
    words = ["linear", "store", *([f"--out={out}"] if joined else ["--out", str(out)])]
    process = subprocess.Popen(
        [sys.executable, console_script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        found = workers(tmp_path / "results")
    finally:
        process.communicate(b"\n")
    assert list(found) == [out]
    assert (found[out].verb, found[out].process) == ("linear", process.pid)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The lock of a training on another machine."""
    lock = tmp_path / "branches/pilot/heterogeneous.state/lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("process 1 on elsewhere")
    return lock


def test_a_checkpoint_that_goes_away_meanwhile_is_no_matter(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = elsewhere.parent
    monkeypatch.setattr(Path, "exists", lambda path: True)  # as it was a moment ago
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([state / ".checkpoint.tmp", elsewhere]))
    assert workers(state.parents[2]) == {state: Worker("train", 1, "elsewhere")}


def test_a_lock_that_goes_away_meanwhile_is_no_training(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.glob

    def glob(path: Path, pattern: str) -> Iterator[Path]:
        found = list(real(path, pattern))
        if elsewhere in found:
            elsewhere.unlink()
        return iter(found)

    monkeypatch.setattr(Path, "glob", glob)
    assert workers(elsewhere.parents[3]) == {}


def test_rounds_of_the_linear_model_tell_their_own_seconds(tiny: Simulated) -> None:
    store, settings = tiny.open(), LinearSettings(components=2, rounds=4, local_angstrom=0)
    grid = FourierGrid(store.box, settings.padding, "cpu")
    statistics, mask = prepare_statistics(store, grid, settings, "cpu")
    rounds = Rounds(statistics, mask, settings)
    start = time.monotonic()
    _, _, metrics = rounds.run()
    assert 0 < sum(row["seconds"] for row in metrics) <= time.monotonic() - start
