"""What snakemake plans: the demo, new branches, changed settings, undecided branches, SLURM."""

from __future__ import annotations

import os
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
    star.write_text("data_particles\n")
    assert planned(tmp_path, path)["sim: importing particles"] == 1


@pytest.mark.fault(
    "The STAR file of a data set is touched, moved away, or on a disk that is not mounted",
    "Its import stays as it is, and a line says which file is not there.",
)
def test_a_star_that_is_touched_or_away_is_not_imported_again(write: Write, tmp_path: Path) -> None:
    config = small()
    star = tmp_path / "particles.star"
    star.write_text("data_\n")
    config["datasets"]["sim"] = {"particles": str(star)}
    path = write(config)
    pretend_done(tmp_path, path)
    os.utime(star, ns=(1, 1))
    assert not planned(tmp_path, path)
    star.unlink()
    result = snakemake(tmp_path, "--configfile", str(path), "-n")
    assert "Nothing to be done" in result.stdout + result.stderr
    assert (result.stdout + result.stderr).count(f"{star} is not there") == 1


def test_files_behind_those_of_the_config_are_watched(write: Write, tmp_path: Path) -> None:
    files = {
        "set.star": "data_\n_rlnTomoParticlesFile refined.star\n_rlnTomoTomogramsFile cells.star\n",
        "refined.star": "data_\n",
        "cells.star": "data_global\nloop_\n_rlnTomoTiltSeriesStarFile #1\ntilts/one.star\n",
        "tilts/one.star": "data_one\n",
        "picks.star": "data_\n",
        "aligned/a.aln": "1\n",
        "order/a.csv": "1,0\n",
        "whole.mrc": "map",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    cut = {"box": 32, "pixel_size_angstrom": 10, "particles": "picks.star"}
    config = {
        "results": "out",
        "tilt_series": {"cells": {"path": "aligned", "read": {"exposure_list": "order"}}},
        "datasets": {
            "set": {"particles": "set.star"},
            "cut": {"extract": cut | {"tilt_series": "cells"}},
            "sim": {"simulate": {"states": {"own": {"population": 1, "maps": ["whole.mrc"]}}}},
        },
        "branches": {name: {"dataset": name, "consensus": {}} for name in ("set", "cut", "sim")},
    }
    path = write(config)
    pretend_done(tmp_path, path)
    assert not planned(tmp_path, path)
    steps = {
        "set: importing particles": ("refined.star", "cells.star", "tilts/one.star"),
        "cut: extracting particles, part 0_of_1": ("picks.star", "aligned/a.aln", "order/a.csv"),
        "sim: simulating particles with known truth": ("whole.mrc",),
    }
    for step, behind in steps.items():
        for name in behind:
            (tmp_path / name).write_text(f"{files[name]}# changed\n")
            jobs = planned(tmp_path, path)
            assert {job for job in jobs if job in steps} == {step}, name
            (tmp_path / name).write_text(files[name])


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


def test_a_network_is_analysed_beside_its_linear_model(write: Write, tmp_path: Path) -> None:
    config = small()
    pilot = config["branches"]["pilot"]
    config["branches"] = {"pilot": pilot}
    assert "--linear" not in commands(tmp_path, write(config))["analyze"]
    pilot["heterogeneous"] = {}
    flag = "--linear out/branches/pilot/linear "
    assert flag in commands(tmp_path, write(config))["analyze"]
    del pilot["linear"]
    assert "--linear" not in commands(tmp_path, write(config))["analyze"]


def test_gpus_in_the_words_of_a_cluster_count_too(write: Write, tmp_path: Path) -> None:
    path, words = write(small()), ("--cores", "16", "--set-threads", "linear=16")
    for asked, gpus in (("gpu:a100:4", 4), ("gpu:2", 2), ("gpu", 1), ("shard:3", 0)):
        given = ("--set-resources", f"linear:gres='{asked}'")
        command = commands(tmp_path, path, *words, *given)["linear"]
        assert ("--device cpu" in command) == (gpus == 0)
        assert (f"--nproc-per-node={gpus} " in command) == (gpus > 1)
        assert f"--threads {16 // max(gpus, 1)} " in command


def test_more_gpus_rerun_nothing(done: Path) -> None:
    assert not planned(done, done / "config.yaml", "--set-resources", "linear:gpu=4")


def test_a_fit_that_asks_for_no_gpu_leaves_those_it_sees(write: Write, tmp_path: Path) -> None:
    config = small()
    config["branches"] = {"pilot": {"dataset": "sim", "fit": {}}}
    fits = []
    for settings in ({}, {"network": "never"}, {"heterogeneous": {"device": "cpu"}}):
        config["branches"]["pilot"]["fit"] = settings
        fits.append(commands(tmp_path, write(config))["fit"])
    assert ["--device cpu" in command for command in fits] == [False, True, True]
    # a GPU can be asked for in another way
    other = ("--set-resources", "fit:gpu=0", "fit:gres=gpu:a100:1")
    config["branches"]["pilot"]["fit"] = {}
    assert "--device cpu" not in commands(tmp_path, write(config), *other)["fit"]


def test_workers_of_the_config_read_stacks(write: Write, tmp_path: Path) -> None:
    config = small()
    words = ("--cores", "4", "--set-threads", "prepare=3")
    assert "--workers 3 " in commands(tmp_path, write(config), *words)["prepare"]
    config["datasets"]["sim"]["prepare"] = {"workers": 2}
    assert "--workers 2 " in commands(tmp_path, write(config), *words)["prepare"]


@pytest.mark.parametrize("stage", ["linear", "fit"])
def test_another_scratch_folder_reaches_jobs_and_reruns_none(
    stage: str, write: Write, tmp_path: Path
) -> None:
    config = small()
    config["branches"] = {"pilot": {"dataset": "sim", stage: {}}}
    pretend_done(tmp_path, write(config))
    scratch = {"scratch": "/local/scratch"}
    config["branches"]["pilot"][stage] = scratch if stage == "linear" else {"linear": scratch}
    # the report says what the config is
    assert set(planned(tmp_path, write(config))) <= ALWAYS
    again = commands(tmp_path, write(config), "--forcerun", stage)
    assert '"scratch":"/local/scratch"' in again[stage]


def test_profile_slurm_plans_from_a_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    kept = ("Snakefile", "workflow", "config", "profiles", "tomopipe")
    clone.mkdir()
    for name in kept:
        (clone / name).symlink_to(ROOT / name)
    link = ROOT / "slurm"
    assert link.is_symlink()
    (clone / "slurm").symlink_to(link.readlink())
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-n", "-p"]
    # the machine that submits may have one core, those that do the work have more
    one_core = {min(os.sched_getaffinity(0))}
    result = subprocess.run(
        command,
        cwd=clone,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: os.sched_setaffinity(0, one_core),
    )
    assert result.returncode == 0, result.stderr
    said = result.stdout + result.stderr
    assert "clean: neural model of heterogeneity" in said
    assert set(re.findall(r"tomopipe linear .* --threads (\d+)", said)) == {"8"}
    assert set(re.findall(r"tomopipe consensus .* --threads (\d+)", said)) == {"4"}


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
