"""Rounds and replicates through the workflow: what is planned, and what is taken over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.results import result_files
from tests.workflow.plan import run_all, snakemake
from tomopipe.analysis.takeover import taken_over
from tomopipe.config import read_config
from tomopipe.io.atomic import read_json
from tomopipe.lineage.verify import verify

TWICE: dict[str, Any] = {"dataset": "sim", "repeat": {"rounds": 2}, "replicates": 2}
SMALL = {
    "particles": 60,
    "box": 24,
    "pixel_size_angstrom": 13.0,
    "states": {"whole": 0.5, "no_lobe": 0.5},
    "motion_degrees": 0,
    "junk_fraction": 0,
    "tilts": 7,
    "min_tilts": 5,
    "snr": 1.0,
    "tomograms": 2,
}
QUICK = {
    "consensus": {},
    "linear": {"components": 2, "rounds": 4},
    "analysis": {
        "clusters": 2,
        "method": "kmeans",
        "umap": False,
        "coordinate": False,
        "traversal_components": 0,
    },
    # nothing is ever junk, so that the second round keeps what the first has kept
    "junk": {"junk_below": 0, "structure_below": 0},
}


def config(simulated: dict[str, Any], stages: dict[str, Any]) -> str:
    """Two rounds of `pilot`, the last of them twice."""
    return yaml.safe_dump(
        {
            "results": "out",
            "datasets": {"sim": {"simulate": simulated}},
            "branches": {"pilot": TWICE | stages},
        }
    )


@pytest.mark.parametrize("models", [("fit",), ("linear", "homogeneous", "heterogeneous")])
def test_the_last_round_may_take_over_all_but_its_choice_and_export(
    models: tuple[str, ...], tmp_path: Path
) -> None:
    stages = {name: {} for name in ("consensus", *models, "analysis", "junk")}
    (tmp_path / "config.yaml").write_text(config({}, stages))
    plan = snakemake(tmp_path, "--configfile", "config.yaml", "-n", "-p")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    jobs = re.findall(
        r"-m tomopipe (.+) &> out/logs/branches/(\w+)/(\w+)\.log$", plan.stdout, re.MULTILINE
    )
    assert [branch for _, branch, rule in jobs if rule == "agreement"] == ["pilot"]
    commands = {(branch, rule): command for command, branch, rule in jobs}
    assert commands["pilot", "agreement"].startswith(
        "agreement out/branches/pilot/analysis out/branches/pilot_replicate2/analysis "
        "--out out/branches/pilot/agreement "
    )

    def rules(branch: str, flag: str = "") -> set[str]:
        """Of a branch, those whose commands have a flag."""
        return {rule for (of, rule), c in commands.items() if of == branch and flag in c}

    assert {"consensus", *models, "analyze", "classes", "junk", "decide"} <= rules("pilot")
    own = {"select", "export", "agreement"}
    assert rules("pilot", "--same-as out/branches/pilot_round1 ") == rules("pilot") - own
    assert not rules("pilot_round1", "--same-as")
    # with another seed, only what has none is the same
    assert rules("pilot_replicate2", "--same-as") == {"consensus"}
    assert rules("pilot_replicate2", "--same-as out/branches/pilot ") == {"consensus"}


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    (folder / "config.yaml").write_text(config(SMALL, QUICK))
    run_all(folder)
    return folder / "out/branches"


@pytest.mark.slow
def test_a_round_without_junk_before_it_is_a_copy(branches: Path) -> None:
    stages = {"consensus", "linear", "analysis", "classes", "junk"}
    assert taken_over(branches / "pilot") == dict.fromkeys(stages, "pilot_round1")
    assert not taken_over(branches / "pilot_round1")
    first, last = (left(branches / name) for name in ("pilot_round1", "pilot"))
    assert set(first) == set(last)
    # analysis.json names its model: made anew it would name that of this round
    assert [name for name in first if first[name] != last[name]] == []
    copied = {name.parts[0] for name in first}
    assert copied == stages - {"junk"} | {"junk.parquet", "junk_particles.parquet"} | {
        "selection.yaml"
    }


def left(branch: Path) -> dict[Path, bytes]:
    """What stages that can be taken over have left in a branch."""
    own = {"selected.parquet", "taken_over", "export", "agreement"}
    files = {path.relative_to(branch): path for path in result_files(branch)}
    return {name: path.read_bytes() for name, path in files.items() if name.parts[0] not in own}


@pytest.mark.slow
def test_replicates_are_of_the_last_round_and_compared(branches: Path) -> None:
    assert taken_over(branches / "pilot_replicate2") == {"consensus": "pilot"}
    found = read_json(branches / "pilot/agreement/agreement.json")
    assert found["replicates"] == ["pilot", "pilot_replicate2"]
    assert found["n_particles"] == SMALL["particles"]
    assert not (branches / "pilot_round1/agreement").exists()


@pytest.mark.slow
def test_copies_have_a_lineage_of_their_own_which_holds(branches: Path) -> None:
    written = read_config(branches.parents[1] / "config.yaml")
    assert verify(branches.parent, written).findings == []
    assert (branches / "pilot/linear/lineage.json").exists()
