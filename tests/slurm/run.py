"""A run of the workflow in a folder, on SLURM or without it, and what it left, by content."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import pandas as pd
import yaml

from tests.results import LINEAGE_ROW, result_files
from tests.slurm.cluster import Cluster, Job
from tests.workflow.plan import ROOT

ANALYSIS = {"clusters": 2, "method": "kmeans", "umap": False, "traversal_components": 1}
TRAINING = {"zdim": 2, "epochs": 12, "batch": 12, "hidden": 32, "layers": 1}
CONFIG = {
    "results": "out",
    "datasets": {
        "sim": {
            "simulate": {
                "particles": 60,
                "box": 20,
                "pixel_size_angstrom": 15.0,
                "states": {"whole": 0.5, "no_lobe": 0.5},
                "motion_degrees": 0,
                "junk_fraction": 0.2,
                "tilts": 7,
                "min_tilts": 5,
                "snr": 1.0,
                "tomograms": 2,
            }
        }
    },
    "branches": {
        "quick": {"dataset": "sim", "fit": {"linear": {"components": 2, "rounds": 5}}},
        "net": {
            "dataset": "sim",
            "consensus": {},
            "linear": {"components": 2, "rounds": 5},
            "heterogeneous": TRAINING,
            "analysis": ANALYSIS,
            "junk": {},
        },
    },
}
CLONE = ("Snakefile", "config", "profiles", "slurm", "tomopipe", "workflow")
# When and where a step ran says nothing about its result: times, folders, and fingerprints of a
# STAR file, whose first line is the time when it was written, and of what was packed from it.
SOURCES = ("store", "source", "particles")
PASSING_IN_REPORT = re.compile(
    rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC|sha256:\w{64}"  # when it was made, and what a step cost:
    rb"|<tr><td>[\w/]+</td><td class=.n.>[\d.]+ (?:s|min|h)</td><td class=.n.>[\d,]+ MB</td></tr>"
    rb"|" + LINEAGE_ROW.encode()  # see `fingerprints`
)


class Run:
    """One folder of results, and the snakemake at work on it."""

    def __init__(self, folder: Path, cluster: Cluster | None) -> None:
        self.folder, self.cluster = folder, cluster
        self.process: subprocess.Popen[bytes] | None = None
        self.jobs: list[Job] = []  # that it took, when it is done
        for name in CLONE:
            if not (folder / name).is_symlink():  # a copy of a run has them
                (folder / name).symlink_to(ROOT / name)
        (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))

    @property
    def log(self) -> str:
        """What snakemake has said, all starts."""
        return (self.folder / "snakemake.log").read_text(errors="replace")

    def start(self, *arguments: str) -> None:
        """Start snakemake in the folder, which looks like a clone."""
        command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", "config.yaml"]
        # the same threads with and without SLURM, so that sums come out the same
        command += ["--max-threads", "1"]
        if self.cluster:
            command += ["--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2"]
        else:
            command += ["--profile", "profiles/local", "--cores", "2"]
        with (self.folder / "snakemake.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.cluster.environment if self.cluster else None,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def finish(self, seconds: float = 900) -> int:
        """Wait for snakemake; its exit code."""
        assert self.process is not None
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        """SIGKILL snakemake, not its jobs."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def until(self, ready: Callable[[], Any], what: str, seconds: float = 600) -> Any:
        """Wait until `ready` gives something true, and give it; snakemake must not end before."""
        assert self.process is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = ready()
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"waited for {what}:\n{self.log[-4000:]}\n{self.said_of_cluster()}")

    def until_running(self, rule: str, branch: str = "", after: int = 0) -> Job:
        """Wait for a job of a rule that runs and was submitted after the job of that number."""
        assert self.cluster is not None
        cluster = self.cluster

        def running() -> Job | None:
            jobs = cluster.jobs(rule, branch)
            return next((j for j in jobs if j.id > after and j.state == "RUNNING"), None)

        return self.until(running, f"{rule} to run")

    def said_of_cluster(self) -> str:
        """The end of the daemons' logs."""
        return self.cluster.logs() if self.cluster else ""


def fingerprints(results: Path) -> dict[str, str]:
    """A digest of the content of every result below a folder, by its path.

    Lineage is left out: it says when and where a step ran.
    """
    return {str(path.relative_to(results)): _digest(path) for path in result_files(results)}


def _digest(path: Path) -> str:
    top = next(folder for folder in path.parents if (folder / "config.yaml").exists())
    return hashlib.sha256(_content(path).replace(str(top).encode(), b"")).hexdigest()


def _content(path: Path) -> bytes:
    """What a result says, without the times and the machine that it was made on."""
    match path.suffix:
        case ".parquet":
            return pd.read_parquet(path).to_csv().encode()
        case ".csv":
            table = pd.read_csv(path, dtype=str)
            return (
                table.drop(columns=["seconds", "seconds_left"], errors="ignore").to_csv().encode()
            )
        case ".mrc" | ".mrcs":
            with mrcfile.open(path) as mrc:  # its header holds the time
                return repr((mrc.data.shape, mrc.voxel_size)).encode() + mrc.data.tobytes()
        case ".json":
            record = json.loads(path.read_text())
            if path.name == "store.json":  # its own fingerprint counts that of its source
                del record["fingerprint"]
            return _plain(record)
        case ".jsonl":
            return b"\n".join(_plain(json.loads(line)) for line in path.read_text().splitlines())
        case ".star":
            return re.sub(rb"# Created by .*", b"", path.read_bytes())
        case ".html":
            return PASSING_IN_REPORT.sub(b"", path.read_bytes())
        case _:
            return path.read_bytes()


def _plain(value: Any) -> bytes:
    return json.dumps(_lasting(value), sort_keys=True).encode()


def _lasting(value: Any) -> Any:
    match value:
        case dict():
            kept = {k: v for k, v in value.items() if not _passes(k, v)}
            return {k: _lasting(v) for k, v in kept.items()}
        case list():
            return [_lasting(v) for v in value if not str(v).startswith("# Created by ")]
        case _:
            return value


def _passes(key: str, value: Any) -> bool:
    """Whether a field is a time or a fingerprint of a file that holds one."""
    return key.startswith("seconds") or (key in SOURCES and str(value).startswith("sha256:"))
