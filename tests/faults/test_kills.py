"""The whole workflow, killed at random moments and started again. Minutes: `make test-faults`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.harness import (
    LIMIT,
    RESULTS,
    begin,
    contents,
    finished,
    said,
    session,
    simulate,
    start,
)

KILLS = 20
SEED = 20


@dataclass(frozen=True)
class Undisturbed:
    folder: Path  # the same one for every run: results name the paths of their sources
    star: Path
    seconds: float
    contents: dict[str, str]
    rules: Counter[str]


def _whole_run(folder: Path, *options: str) -> None:
    assert start(folder, *options).wait(timeout=LIMIT) == 0, said(folder)[-3000:]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = tmp_path_factory.mktemp("kills")
    star, folder, begun = simulate(root / "source"), root / "run", time.monotonic()
    begin(folder, star)
    _whole_run(folder)
    seconds = time.monotonic() - begun
    assert set(finished(folder).values()) == {1}
    return Undisturbed(folder, star, seconds, contents(folder), finished(folder))


@pytest.mark.kills
@pytest.mark.fault(
    "The clock goes back after some results were written",
    "Snakemake stops before its first job, also under `--touch`, with a sentence: set the clock, "
    "or the two commands after which nothing is done again.",
)
def test_results_of_the_future(undisturbed: Undisturbed) -> None:
    folder, tomorrow = undisturbed.folder, time.time() + 86400
    for path in (folder / RESULTS / "datasets" / "sim").rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    for options in ([], ["--touch"]):
        assert start(folder, *options).wait(timeout=LIMIT) == 1
    assert said(folder).count("in the future: set the clock of this machine") == 2
    assert contents(folder) == undisturbed.contents
    subprocess.run(
        ["find", RESULTS, "-newermt", "now", "-exec", "touch", "{}", "+"], cwd=folder, check=True
    )
    _whole_run(folder, "--touch")
    _whole_run(folder)
    assert "Nothing to be done" in said(folder)
    assert contents(folder) == undisturbed.contents


def _unlock(folder: Path) -> None:
    """What a user has to do after a kill: snakemake says so where its lock is in the way."""
    if any((folder / ".snakemake/locks").glob("*")):
        _whole_run(folder, "--unlock")


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
def test_snakemake_killed_at_random_moments(undisturbed: Undisturbed) -> None:
    folder, draw = undisturbed.folder, random.Random(SEED)
    kills, sessions = 0, []
    while kills < KILLS:
        shutil.rmtree(folder)
        begin(folder, undisturbed.star)
        going = True
        while going and kills < KILLS:
            delay = draw.uniform(0, undisturbed.seconds / 3)
            going, number = _killed(folder, delay, jobs_too=draw.random() < 0.5)
            kills += going
            sessions.append(number)
            _unlock(folder)
        if going:
            _whole_run(folder)
        assert finished(folder) == undisturbed.rules
        assert contents(folder) == undisturbed.contents
    assert not any(session(number) for number in sessions)
