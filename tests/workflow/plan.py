"""Ask snakemake for a plan, without running anything."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tomopipe.config import STEP_FORMAT

# Half of the time of a plan is the import of Snakemake: a server does it once, and every call is
# a fork of that server.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pydantic", "snakemake.cli"])

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "store",
    "source",
    "truth",
    "tilt_series",
    "snapshots",
    "convergence",
    "volumes",
    "classes",
    "export",
)


def snakemake(folder: Path, *arguments: str, raised: str = "") -> subprocess.CompletedProcess[str]:
    """Run snakemake on the workflow of this checkout with `folder` as working directory.

    The step format of a step that is `raised` is one more than it is.
    """
    words = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), *arguments]
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        process = _FORKS.Process(target=_call, args=(words, folder, out.name, err.name, raised))
        process.start()
        process.join(timeout=300)
        assert process.exitcode is not None, f"snakemake {words} takes longer than 300 s"
        said = (Path(out.name).read_text(), Path(err.name).read_text())
    return subprocess.CompletedProcess(words, process.exitcode, *said)


def _call(words: list[str], folder: Path, out: str, err: str, raised: str) -> None:
    """In the forked process: what `python -m snakemake` does, with output to files."""
    from snakemake.cli import main

    if raised:
        STEP_FORMAT[raised] += 1
    os.chdir(folder)
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        stream.flush()
        os.dup2(os.open(path, os.O_WRONLY), stream.fileno())
    main(words)


def run_all(folder: Path) -> None:
    """Run the workflow on `folder/config.yaml`, there and to its end, in a process of its own."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    done = subprocess.run(
        [*command, "--configfile", "config.yaml", "--cores", "2"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def planned(folder: Path, config: Path, *arguments: str, raised: str = "") -> Counter[str]:
    """Jobs of a dry run as `branch or data set: rule`, e.g. `pilot/linear`, without `all`."""
    result = snakemake(folder, "--configfile", str(config), "-n", *arguments, raised=raised)
    assert result.returncode == 0, result.stdout + result.stderr
    text = result.stdout + result.stderr
    wanted = re.findall(r"^Job \d+: (.+)$", text, re.MULTILINE)
    return Counter(wanted)


def pretend_done(folder: Path, config: Path) -> None:
    """Make empty results of everything that a config plans, and mark them as up to date."""
    summary = snakemake(folder, "--configfile", str(config), "--summary")
    assert summary.returncode == 0, summary.stderr
    for line in summary.stdout.splitlines()[1:]:
        path = folder / line.split("\t")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name in FOLDERS:
            path.mkdir(exist_ok=True)
        else:
            path.write_text("")
    touched = snakemake(
        folder, "--configfile", str(config), "--touch", "--forceall", "--cores", "1"
    )
    assert touched.returncode == 0, touched.stderr
