"""Ask snakemake for a plan, without running anything."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

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


def snakemake(folder: Path, *arguments: str, first: str = "") -> subprocess.CompletedProcess[str]:
    """Run snakemake on the workflow of this checkout with `folder` as working directory.

    Python code `first` runs before it in the same process.
    """
    here = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    start = f"{here}\n{first}\nfrom snakemake.cli import main\nmain()" if first else ""
    command = [sys.executable, *(["-c", start] if first else ["-m", "snakemake"])]
    command += ["--snakefile", str(ROOT / "Snakefile")]
    return subprocess.run(
        [*command, "--directory", str(folder), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )


def planned(folder: Path, config: Path, *arguments: str, first: str = "") -> Counter[str]:
    """Jobs of a dry run as `branch or data set: rule`, e.g. `pilot/linear`, without `all`."""
    result = snakemake(folder, "--configfile", str(config), "-n", *arguments, first=first)
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
