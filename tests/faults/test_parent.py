"""Steps whose snakemake is gone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.harness import ROOT, runs

WORK = """
import time
from pathlib import Path
from tomopipe.io.atomic import atomic_path
from tomopipe.io.parent import end_with_parent

end_with_parent()
with atomic_path(Path("result")):
    Path("ready").touch()
    while True:
        try:
            time.sleep(0.1)
        except KeyboardInterrupt:
            {interrupted}
"""


@pytest.mark.fault(
    "Snakemake is killed and its jobs are not",
    "A job notices at once, removes its temporary files and ends; one that cannot is ended after "
    "three seconds.",
)
@pytest.mark.parametrize("interrupted", ["raise", "pass"])
def test_jobs_end_with_snakemake(tmp_path: Path, interrupted: str) -> None:
    (tmp_path / "job.py").write_text(WORK.format(interrupted=interrupted))
    variables = f"TOMOPIPE_PARENT=$$ PYTHONPATH={ROOT}"
    with subprocess.Popen(
        ["bash", "-c", f"{variables} {sys.executable} job.py & echo $!; wait"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert parent.stdout is not None
        number = int(parent.stdout.readline())
        while not (tmp_path / "ready").exists():
            assert runs(number)
            time.sleep(0.05)
        parent.kill()
    deadline = time.monotonic() + 60
    while runs(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(number)
    if interrupted == "raise":
        assert {path.name for path in tmp_path.iterdir()} == {"job.py", "ready"}
