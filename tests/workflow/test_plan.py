"""What snakemake plans: the demo, new branches, changed settings, undecided branches, SLURM."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.plan import ROOT, planned, pretend_done, snakemake
from tomopipe.config import read_config

EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
Write = Callable[[dict[str, Any]], Path]


def small() -> dict[str, Any]:
    """A root with two descendants in a line."""
    return {
        "results": "out",
        "datasets": {"sim": {"simulate": {}}},
        "branches": {
            "pilot": {
                "dataset": "sim",
                "consensus": {},
                "linear": {},
                "analysis": {},
                "junk": {},
            },
            "clean": {"parent": "pilot", "select": {"junk": "auto"}, "linear": {}, "analysis": {}},
            "best": {"parent": "clean", "select": {"largest": 1}, "consensus": {}},
        },
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(config: dict[str, Any]) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return to_file


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where everything that `small` plans is there."""
    folder = tmp_path_factory.mktemp("done")
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(small()))
    pretend_done(folder, config)
    assert not planned(folder, config)
    return folder


def plan_after(done: Path, tmp_path: Path, config: dict[str, Any]) -> set[str]:
    folder = tmp_path / "run"
    shutil.copytree(done, folder, copy_function=shutil.copy2)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return set(planned(folder, folder / "config.yaml"))


ALWAYS = {"comparing with the truth of the simulation", "writing the report"}


def test_the_demo_plans_pilot_clean_and_a_subset(tmp_path: Path) -> None:
    jobs = planned(tmp_path, ROOT / "config" / "config.yaml")
    assert jobs["demo: simulating particles with known truth"] == 1
    assert jobs["pilot: linear model, network where it pays, and clusters"] == 1
    for branch in ("clean", "moving"):
        assert jobs[f"{branch}: linear model of heterogeneity"] == 1
    assert jobs["clean: neural model of heterogeneity"] == 1
    assert jobs["clean: has the training converged?"] == 1
    assert "pilot: neural model of heterogeneity" not in jobs


def test_a_new_branch_is_the_only_new_work(done: Path, tmp_path: Path) -> None:
    config = small()
    config["branches"]["new"] = {
        "parent": "pilot",
        "select": {"clusters": {"keep": [0, 1]}},
        "consensus": {},
    }
    new = {"new: selecting particles", "new: consensus map and half-maps"}
    assert plan_after(done, tmp_path, config) == new | ALWAYS


def test_changed_settings_rerun_the_branch_and_its_descendants(done: Path, tmp_path: Path) -> None:
    config = small()
    config["branches"]["clean"]["linear"] = {"components": 3}
    assert plan_after(done, tmp_path, config) == ALWAYS | {
        "clean: linear model of heterogeneity",
        "clean: clusters and volumes",
        "clean: every cluster's own map against the model",
        "clean: STAR files for RELION, M and WarpTools",
        "best: selecting particles",
        "best: consensus map and half-maps",
    }


def test_an_edited_selection_reruns_its_children_not_the_branch(done: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(done, folder, copy_function=shutil.copy2)
    selection = folder / "out" / "branches" / "pilot" / "selection.yaml"
    selection.write_text("clusters: {}\n")
    jobs = set(planned(folder, folder / "config.yaml"))
    assert "clean: selecting particles" in jobs
    assert "pilot: STAR files for RELION, M and WarpTools" in jobs
    assert "pilot: judging every cluster" not in jobs
    assert "pilot: linear model of heterogeneity" not in jobs


def test_an_undecided_branch_and_its_children_wait(write: Write, tmp_path: Path) -> None:
    config = small()
    config["branches"]["clean"]["select"] = {}
    path = write(config)
    jobs = planned(tmp_path, path)
    assert jobs["pilot: linear model of heterogeneity"] == 1
    assert not [job for job in jobs if job.startswith(("clean", "best"))]


def test_a_finished_run_says_what_waits(done: Path, tmp_path: Path) -> None:
    config = small()
    config["branches"]["later"] = {"parent": "clean", "select": {}, "consensus": {}}
    folder = tmp_path / "run"
    shutil.copytree(done, folder, copy_function=shutil.copy2)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    result = snakemake(folder, "--configfile", str(path), "--touch", "--cores", "1")
    assert "later waits for a decision: look at clean" in result.stdout + result.stderr


@pytest.mark.fault(
    "The STAR file of a data set is changed after its import",
    "The next run imports it again, with everything that follows from it.",
)
def test_a_star_that_comes_or_changes_is_imported(write: Write, tmp_path: Path) -> None:
    config = small()
    star = tmp_path / "particles.star"
    config["datasets"]["sim"] = {"particles": str(star)}
    path = write(config)
    pretend_done(tmp_path, path)
    star.write_text("data_\n")
    assert planned(tmp_path, path)["sim: importing particles"] == 1


def commands(folder: Path, config: Path, *arguments: str) -> dict[str, str]:
    """Shell commands of a dry run by verb; of several jobs of a rule, the last."""
    result = snakemake(folder, "--configfile", str(config), "-n", "-p", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    found = re.findall(r"Shell command: (.*?-m tomopipe (\w+) .*)", result.stdout + result.stderr)
    return {verb: command for command, verb in found}


def test_many_gpus_are_many_processes(write: Write, tmp_path: Path) -> None:
    config = small()
    config["branches"]["pilot"] |= {"homogeneous": {}, "heterogeneous": {}}
    path = write(config)
    one = commands(tmp_path, path)
    assert one["linear"].startswith("python -m tomopipe linear ")
    assert one["train"].startswith("python -m tomopipe train ")
    for verb in ("linear", "consensus"):  # they asked for no GPU
        assert "--device cpu" in one[verb]
    many = commands(
        *(tmp_path, path, "--cores", "16", "--set-threads", "linear=16", "--set-resources"),
        *(
            "linear:gpu=4",
            "homogeneous:gpu=2",
            "heterogeneous:gpu=2",
            "consensus:gpu=1",
            "classes:gpu=1",
        ),
    )
    start = "python -m torch.distributed.run --standalone --nproc-per-node={} -m tomopipe {} "
    assert many["linear"].startswith(start.format(4, "linear"))
    assert "--threads 4 " in many["linear"]
    assert many["train"].startswith(start.format(2, "train"))
    assert many["consensus"].startswith("python -m tomopipe consensus ")
    assert not [verb for verb in many if "--device" in many[verb]]


def test_more_gpus_rerun_nothing(done: Path) -> None:
    assert not planned(done, done / "config.yaml", "--set-resources", "linear:gpu=4")


def test_profile_slurm_plans_from_a_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    kept = ("Snakefile", "workflow", "config", "profiles", "tomopipe")
    clone.mkdir()
    for name in kept:
        (clone / name).symlink_to(ROOT / name)
    link = ROOT / "slurm"
    assert link.is_symlink()
    (clone / "slurm").symlink_to(link.readlink())
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-n"]
    result = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "clean: neural model of heterogeneity" in result.stdout + result.stderr


def test_a_wrong_config_is_one_sentence(write: Write, tmp_path: Path) -> None:
    config = small()
    config["branches"]["clean"]["parent"] = "pilto"
    result = snakemake(tmp_path, "--configfile", str(write(config)), "-n")
    assert result.returncode != 0
    assert "branch 'clean' has unknown parent 'pilto'" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_are_valid(path: Path) -> None:
    config = read_config(path)
    assert config.results == f"results/{path.stem}"
    assert config.ready


def two_scales() -> dict[str, Any]:
    """Particles of simulated tilt series, small and, those that `clean` kept, large."""
    small = {"tilt_series": "cell", "box": 32, "pixel_size_angstrom": 10, "jobs": 2}
    large = small | {"box": 64, "keep": "clean", "jobs": 1}
    return {
        "results": "out",
        "tilt_series": {"cell": {"simulate": {}}},
        "datasets": {"small": {"extract": small}, "large": {"extract": large}},
        "branches": {
            "pilot": {
                "dataset": "small",
                "consensus": {},
                "linear": {},
                "analysis": {},
                "junk": {},
            },
            "clean": {"parent": "pilot", "select": {"junk": "auto"}, "consensus": {}},
            "around": {"parent": "clean", "dataset": "large", "select": {"all": True}},
        },
    }


def test_tilt_series_are_simulated_once_and_cut_out_twice(tmp_path: Path, write: Write) -> None:
    jobs = planned(tmp_path, write(two_scales()))
    assert jobs["cell: simulating tilt series with known truth"] == 1
    parts = [job for job in jobs if "extracting particles" in job]
    assert sorted(parts) == [
        "large: extracting particles, part 0_of_1",
        "small: extracting particles, part 0_of_2",
        "small: extracting particles, part 1_of_2",
    ]
    assert jobs["small: joining what was extracted"] == jobs["large: importing particles"] == 1


def test_another_box_cuts_out_only_that_data_set_again(tmp_path: Path, write: Write) -> None:
    config = write(two_scales())
    pretend_done(tmp_path, config)
    assert not planned(tmp_path, config)
    changed = two_scales()
    changed["datasets"]["large"]["extract"]["box"] = 72
    again = {job.split(":")[0] for job in planned(tmp_path, write(changed))}
    assert again == {"large", "around", "comparing with the truth of the simulation"} | {
        "writing the report"
    }
