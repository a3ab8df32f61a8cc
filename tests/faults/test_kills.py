"""The whole workflow, killed at random moments and started again. Minutes: `make test-faults`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.harness import begin, contents, finished, said, session, simulate, start

KILLS = 20
SEED = 20
LIMIT = 3600  # seconds; a minute on two free cores


def _whole_run(folder: Path) -> float:
    begun = time.monotonic()
    process = start(folder)
    assert process.wait(timeout=LIMIT) == 0, said(folder)[-3000:]
    return time.monotonic() - begun


def _unlock(folder: Path) -> None:
    """What a user has to do after a kill: snakemake says so where its lock is in the way."""
    if any((folder / ".snakemake/locks").glob("*")):
        assert start(folder, "--unlock").wait(timeout=LIMIT) == 0, said(folder)[-3000:]


def _killed(folder: Path, seconds: float, *, jobs_too: bool) -> tuple[bool, int]:
    """Start, wait, kill; False if the run was through before, and the session."""
    process = start(folder)
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        (os.killpg if jobs_too else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        return True, process.pid
    assert code == 0, said(folder)[-3000:]
    return False, process.pid


@pytest.mark.kills
@pytest.mark.fault(
    "Snakemake is killed at 20 random moments, with its jobs or without them",
    "After `snakemake --unlock` the same command goes on; jobs left alone end by themselves, no "
    "finished step is done again, and the results are those of an undisturbed run.",
)
def test_snakemake_killed_at_random_moments(tmp_path: Path) -> None:
    star = simulate(tmp_path / "source")
    folder = tmp_path / "run"  # the same one every time: results name the paths of their sources
    begin(folder, star)
    duration = _whole_run(folder)
    undisturbed, rules = contents(folder), finished(folder)
    assert set(rules.values()) == {1}
    draw = random.Random(SEED)
    kills, runs, sessions = 0, 0, []
    while kills < KILLS:
        shutil.rmtree(folder)
        begin(folder, star)
        going = True
        while going and kills < KILLS:
            going, number = _killed(
                folder, draw.uniform(0, duration / 2), jobs_too=draw.random() < 0.5
            )
            kills += going
            sessions.append(number)
            _unlock(folder)
        if going:
            _whole_run(folder)
        assert finished(folder) == rules
        assert contents(folder) == undisturbed
        runs += 1
    print(f"{kills} kills over {runs} runs of {duration:.0f} s")
    assert not any(session(number) for number in sessions)
