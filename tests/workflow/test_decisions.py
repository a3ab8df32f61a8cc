"""What a person has decided in selection.yaml outlives every job that fails around it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workflow.plan import ROOT, pretend_done
from tomopipe.analysis.selection import settle
from tomopipe.io.atomic import write_parquet

CONFIG = {
    "results": "out",
    "datasets": {"sim": {"simulate": {}}},
    "branches": {
        "pilot": {
            "dataset": "sim",
            **{stage: {} for stage in ("consensus", "linear", "analysis", "junk")},
        }
    },
}
BRANCH = Path("out/branches/pilot")
SLURM = (
    *("--executor", "slurm", "--jobs", "1", "--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "1"),
)


def judge(branch: Path, clusters: int) -> None:
    """Leave what `junk` leaves: the last cluster is junk."""
    labels = list(range(clusters))
    words = ["keep"] * (clusters - 1) + ["junk"]
    table = pd.DataFrame({"cluster": labels, "count": 1, "decision": words, "reason": "So."})
    write_parquet(branch / "junk.parquet", table)
    uids = [f"t/{label}" for label in labels]
    particles = pd.DataFrame({"uid": uids, "cluster": labels, "signal": 1.0, "error": 1.0})
    write_parquet(branch / "junk_particles.parquet", particles)


@pytest.fixture
def edited(tmp_path: Path) -> str:
    """What selection.yaml says of a finished run, in `tmp_path`, after a person has changed it."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    pretend_done(tmp_path, config)
    branch = tmp_path / BRANCH
    judge(branch, clusters=2)
    (branch / "selection.yaml").unlink()
    settle(branch)
    text = (branch / "selection.yaml").read_text().replace("decision: junk", "decision: keep")
    (branch / "selection.yaml").write_text(text)
    return text


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Snakemake asked for selection.yaml; SLURM, if it is asked for, takes no job."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("sbatch", "sinfo", "squeue", "sacct", "sacctmgr"):
        script = {"sbatch": "exit 1", "sinfo": "echo 'cpu*'"}.get(name, "exit 0")
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    words += ["--configfile", "config.yaml", "--rerun-triggers", "mtime", *arguments]
    path = f"{programs}:{os.environ['PATH']}"
    return subprocess.run(
        [*words, "--", str(BRANCH / "selection.yaml")],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.fault(
    "Clusters change under decisions that a person has made",
    "The decisions are refused in a sentence, and the file stays.",
)
def test_decisions_on_other_clusters_are_refused_and_stay(edited: str, tmp_path: Path) -> None:
    judge(tmp_path / BRANCH, clusters=3)
    result = run(tmp_path, "--cores", "1", "--show-failed-logs", "--retries", "1")
    assert result.returncode == 1
    assert "selection.yaml was decided on other clusters" in result.stdout + result.stderr
    assert (tmp_path / BRANCH / "selection.yaml").read_text() == edited


@pytest.mark.fault(
    "SLURM refuses or kills the job that judges clusters anew",
    "What a person has decided in selection.yaml stays.",
)
def test_decisions_stay_when_slurm_refuses_to_judge(edited: str, tmp_path: Path) -> None:
    result = run(tmp_path, *SLURM, "--forcerun", "junk")
    assert "sbatch" in result.stdout + result.stderr
    assert result.returncode == 1
    assert (tmp_path / BRANCH / "selection.yaml").read_text() == edited


def test_decisions_are_written_where_snakemake_runs(edited: str, tmp_path: Path) -> None:
    judge(tmp_path / BRANCH, clusters=2)
    result = run(tmp_path, *SLURM)
    assert result.returncode == 0, result.stderr
    assert "decide" in result.stderr
    assert (tmp_path / BRANCH / "selection.yaml").read_text() == edited
