"""A run of the workflow small enough to be disturbed often, and what it leaves, to compare."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from tests.results import LINEAGE_ROW, result_files
from tomopipe.config.simulate import SimulateSettings
from tomopipe.simulate.particles import simulate_particles

ROOT = Path(__file__).parents[2]
RESULTS = "out"
LIMIT = 3600  # seconds for one run: a minute on two free cores
NETWORK = {
    "epochs": 8,
    "zdim": 2,
    "batch": 4,
    "hidden": 32,
    "layers": 1,
    "checkpoint_minutes": 0,
    "device": "cpu",
}
# the report's date, its table of how long steps took and what memory, and its lineage
_PASSING = re.compile(
    r'\d{4}-\d\d-\d\d \d\d:\d\d UTC|<tr><td>[\w/]+</td><td class="n">[\d.]+ (s|min|h)</td>.*?</tr>'
    rf"|{LINEAGE_ROW}"
)
_TIMES = {"seconds", "seconds_left"}


def simulate(folder: Path) -> Path:
    """Particles of two states; the STAR file."""
    settings = SimulateSettings(
        particles=24,
        box=16,
        pixel_size_angstrom=19.0,
        states={"whole": 0.5, "no_lobe": 0.5},
        motion_degrees=0,
        junk_fraction=0,
        tilts=5,
        min_tilts=5,
        snr=1.0,
        tomograms=2,
    )
    simulate_particles(settings, folder)
    return folder / "particles.star"


def begin(folder: Path, star: Path) -> None:
    """A working directory with a config: one data set, one branch with a small network."""
    folder.mkdir()
    config = {
        "results": RESULTS,
        "datasets": {"sim": {"particles": str(star)}},
        "branches": {"pilot": {"dataset": "sim", "heterogeneous": NETWORK}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Snakemake in a session of its own; what it says is added to `snakemake.log`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    with (folder / "snakemake.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--configfile", "config.yaml", "--cores", "1", *options],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def said(folder: Path) -> str:
    """Everything that snakemake said in `folder`."""
    return (folder / "snakemake.log").read_text(errors="replace")


def finished(folder: Path) -> Counter[str]:
    """How often each rule was finished in `folder`."""
    return Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", said(folder), re.MULTILINE))


def contents(folder: Path) -> dict[str, str]:
    """Digests of all results below `folder`, without the times that things took.

    Lineage is left out: it says when a step ran, and on which files of a user.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(_lasting(path)).hexdigest()
        for path in result_files(folder / RESULTS)
    }


def _lasting(path: Path) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(path.read_text()))).encode()
    if path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        return json.dumps([_timeless(json.loads(line)) for line in lines]).encode()
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return json.dumps([_timeless(row) for row in csv.DictReader(file)]).encode()
    if path.suffix == ".html":
        return _PASSING.sub("", path.read_text()).encode()
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _TIMES}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def session(number: int) -> list[int]:
    """Processes of a session that have not ended."""
    numbers = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return [n for n in numbers if (seen := _process(n)) and seen[1] == number]


def runs(number: int) -> bool:
    """Whether a process has not ended."""
    return _process(number) is not None


def _process(number: int) -> tuple[str, int] | None:
    """State and session of a process; None when it has ended, whether anyone noticed or not."""
    try:
        state, _, _, session, *_ = (
            Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()
        )
    except OSError:
        return None
    return None if state in "ZX" else (state, int(session))
