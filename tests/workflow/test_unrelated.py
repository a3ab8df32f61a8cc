"""Settings that change no result reach the jobs and re-run nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.workflow.plan import planned, pretend_done, snakemake

CARRIED_OUT = {"checkpoint_minutes": 2.0, "tensorboard": True, "memory_gb": 3.0}
NETWORK = CARRIED_OUT | {"device": "cpu"}
FITTED = {
    "neural map of all particles",
    "neural model of heterogeneity",
    "linear model, network where it pays, and clusters",
    "linear model of heterogeneity",
}


def write(folder: Path, **stages: dict[str, Any]) -> Path:
    """A branch with both networks, and one with `fit`; all settings but those given by default."""
    networks = {name: stages.get(name, {}) for name in ("linear", "homogeneous", "heterogeneous")}
    path = folder / "config.yaml"
    branches = {
        "networks": {"dataset": "sim", **networks},
        "quick": {"dataset": "sim", "fit": stages.get("fit", {})},
    }
    datasets = {"sim": {"simulate": {}}}
    path.write_text(yaml.safe_dump({"results": "out", "datasets": datasets, "branches": branches}))
    return path


def fitted(folder: Path, config: Path) -> set[str]:
    """Branches and models that a plan fits."""
    return {job for job in planned(folder, config) if job.partition(": ")[2] in FITTED}


def test_how_a_training_is_carried_out_reruns_none_of_it(tmp_path: Path) -> None:
    pretend_done(tmp_path, write(tmp_path))
    config = write(
        tmp_path,
        homogeneous=NETWORK,
        heterogeneous=NETWORK,
        fit={"heterogeneous": CARRIED_OUT},
    )
    # the report says what the config is
    report = {"comparing with the truth of the simulation", "writing the report"}
    assert set(planned(tmp_path, config)) <= report
    forced = ("--forcerun", "homogeneous", "heterogeneous", "fit")
    plan = snakemake(tmp_path, "--configfile", str(config), "-n", "-p", *forced)
    jobs = [line for line in plan.stdout.splitlines() if re.search("tomopipe (train|fit) ", line)]
    assert ['"checkpoint_minutes":2.0' in job for job in jobs] == [True] * 3
    config = write(
        tmp_path,
        linear={"memory_gb": 3.0},
        homogeneous=NETWORK | {"epochs": 2},
        fit={"heterogeneous": {"device": "cpu"}},
    )
    assert fitted(tmp_path, config) == {
        "networks: linear model of heterogeneity",
        "networks: neural map of all particles",
        "networks: neural model of heterogeneity",  # from the linear model
        "quick: linear model, network where it pays, and clusters",
    }
