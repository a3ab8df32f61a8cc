"""A small simulated data set through the whole workflow: killed in training, run again, grown."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import starfile
import yaml

from tests.workflow.plan import ROOT, planned, snakemake
from tomopipe.cli.main import main
from tomopipe.config import read_config
from tomopipe.lineage.record import Lineage, Record, lineage_files

ANALYSIS = {"clusters": 2, "method": "kmeans", "umap": False, "traversal_components": 1}
CONFIG = {
    "results": "out",
    "datasets": {
        "sim": {
            "simulate": {
                "particles": 90,
                "box": 24,
                "pixel_size_angstrom": 13.0,
                "states": {"whole": 0.5, "no_lobe": 0.5},
                "motion_degrees": 0,
                "junk_fraction": 0.2,
                "tilts": 9,
                "min_tilts": 6,
                "snr": 1.0,
                "tomograms": 3,
            }
        }
    },
    "branches": {
        "pilot": {
            "dataset": "sim",
            "consensus": {},
            "linear": {"components": 3, "rounds": 10},
            "analysis": ANALYSIS | {"clusters": 3},
            "junk": {},
        },
        "clean": {
            "parent": "pilot",
            "select": {"junk": "auto"},
            "consensus": {},
            "linear": {"components": 2, "rounds": 10},
            "heterogeneous": {"epochs": 4, "zdim": 2, "checkpoint_minutes": 0.01},
            "analysis": ANALYSIS,
        },
    },
}
MADE = ("/simulated", "", "/store")  # simulated, imported, packed


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    options = ["--configfile", "config.yaml", "--cores", "1", "--nolock"]
    with (folder / "snakemake.log").open("wb") as log:
        return subprocess.Popen(
            [*command, *options],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that a kill takes its jobs along
        )


def _kill_in_training(folder: Path) -> None:
    """Start the workflow and SIGKILL all of it once the network has finished an epoch."""
    state = folder / "out/branches/clean/heterogeneous.state"
    process = _start(folder)
    for _ in range(1800):
        if process.poll() is not None:
            break
        if list(state.glob("*.json")):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        time.sleep(0.1)
    pytest.fail((folder / "snakemake.log").read_text()[-3000:])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    _kill_in_training(folder)
    kept = {p: p.stat().st_mtime_ns for p in (folder / "out").rglob("latents.parquet")}
    process = _start(folder)
    assert process.wait(timeout=400) == 0, (folder / "snakemake.log").read_text()[-3000:]
    # what was finished before the kill was not done again
    assert kept
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())
    return folder


@pytest.mark.fault(
    "Snakemake and its jobs are killed while a network trains",
    "The same command goes on from the checkpoint; nothing that was finished is done again.",
)
def test_truth_comes_back_and_the_report_is_there(finished: Path) -> None:
    recovery = json.loads((finished / "out/recovery.json").read_text())
    assert recovery["ari"] > 0.8
    assert recovery["junk"]["precision"] > 0.9
    assert recovery["junk"]["recall"] > 0.9
    assert recovery["fsc_area"] > 0.5
    page = (finished / "out/report.html").read_text()
    assert "clean" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_exported_star_files_hold_the_selection_in_the_sources_order(finished: Path) -> None:
    source = starfile.read(finished / "out/datasets/sim/simulated/particles.star")
    kept = starfile.read(finished / "out/branches/clean/export/kept.star")
    selected = pd.read_parquet(finished / "out/branches/clean/selected.parquet")
    names = {uid.split("/")[1] for uid in selected.loc[selected["kept"], "uid"]}
    expected = source[source["rlnGroupName"].isin(names)].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        kept.drop(columns=["rlnImageName"]), expected.drop(columns=["rlnImageName"])
    )


def test_every_latent_and_label_is_of_a_kept_particle(finished: Path) -> None:
    branch = finished / "out/branches/clean"
    selected = pd.read_parquet(branch / "selected.parquet")
    kept = list(selected.loc[selected["kept"], "uid"])
    for table in ("heterogeneous/latents", "analysis/latents", "analysis/clusters"):
        assert list(pd.read_parquet(branch / f"{table}.parquet")["uid"]) == kept


def test_every_file_is_what_its_lineage_says(finished: Path) -> None:
    config = str(finished / "config.yaml")
    assert main(["verify", str(finished / "out"), "--config", config]) == 0
    records = lineages(finished / "out")
    assert set(records) == steps_of(finished) | {"recovery", "report"}
    clean = records["branches/clean/heterogeneous"].chosen
    assert clean is not None
    assert (clean.parent, clean.decided_by) == ("pilot", "automatic")
    page = (finished / "out/report.html").read_text()
    assert page.count("<summary>Lineage</summary>") == 3


def steps_of(finished: Path) -> set[str]:
    """What each step of the data set and of the branches leaves, named as `lineages` does."""
    config = read_config(finished / "config.yaml")
    found = {f"datasets/{name}{part}" for name in config.datasets for part in MADE}
    for name in config.ready:
        stages = config.branches[name].stages
        decided = ("selection",) if "junk" in stages else ()
        found |= {f"branches/{name}/{step}" for step in ("selected", *stages, *decided)}
    return found


def lineages(root: Path) -> dict[str, Lineage]:
    """By folder, of a selection by its name before the suffix."""
    found = {path: Record.read(path).lineage for path in lineage_files(root)}
    names = {p: str(p.relative_to(root)).removesuffix(".json") for p in found}
    return {names[p].removesuffix("lineage").rstrip("/."): found[p] for p in found}


def test_the_same_run_again_gives_the_same_files(finished: Path) -> None:
    # once a process for each step, killed and resumed; now all steps in one process
    first, again = finished / "first", finished / "out"
    options = ("--configfile", "config.yaml", "--cores", "1", "-n", "-p", "--forceall")
    plan = snakemake(finished, *options)
    jobs = re.findall(r"-m tomopipe (.+?) &> \S+$", plan.stdout, re.MULTILINE)
    steps = [shlex.split(job) for job in jobs if job.split()[0] not in ("recover", "report")]
    assert len(steps) == len(steps_of(finished))
    again.rename(first)
    try:
        done = subprocess.run(
            [sys.executable, "-c", AGAIN, json.dumps(steps)],
            cwd=finished,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        one, other = lineages(first), lineages(again)
    finally:
        shutil.rmtree(again, ignore_errors=True)
        first.rename(again)
    for name, lineage in other.items():
        files = {output.path: output.sha256 for output in lineage.outputs}
        assert {output.path: output.sha256 for output in one[name].outputs} == files, name
        assert one[name].fingerprint == lineage.fingerprint
    assert set(other) == steps_of(finished)


AGAIN = """
import json, sys
from tomopipe.cli.main import main
sys.exit(any(main(step) for step in json.loads(sys.argv[1])))
"""


def test_another_branch_does_only_the_new_work(finished: Path, tmp_path: Path) -> None:
    grown = CONFIG | {"branches": dict(CONFIG["branches"])}  # type: ignore[arg-type]
    grown["branches"]["best"] = {  # type: ignore[index]
        "parent": "clean",
        "select": {"largest": 1},
        "consensus": {},
    }
    config = tmp_path / "grown.yaml"
    config.write_text(yaml.safe_dump(grown))
    jobs = planned(finished, config)
    assert {job for job in jobs if not job.startswith("best")} <= {
        job for job in jobs if "report" in job or "recover" in job or "truth" in job
    }
    assert any(job.startswith("best") for job in jobs)
