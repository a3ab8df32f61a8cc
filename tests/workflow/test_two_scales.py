"""From simulated tilt series to two data sets of the same particles and a branch on each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from tests.workflow.plan import run_all
from tomopipe.config import read_config
from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.io.atomic import read_json
from tomopipe.io.mrc import read_volume
from tomopipe.lineage.verify import verify
from tomopipe.physics.fsc import fsc
from tomopipe.simulate.states import rendered

pytestmark = pytest.mark.slow
BOXES = {"small": (24, 16.0), "large": (40, 16.0)}
SERIES: dict[str, Any] = {
    "tomograms": 2,
    "volume_angstrom": [1800, 1800, 500],
    "image_pixels": [240, 240],
    "pixel_size_angstrom": 8.0,
    "particles": 16,
    "states": {"whole": 1.0},
    "motion_degrees": 0,
    "junk_fraction": 0,
    "disomes": 2,
    "tilts": 7,
    "tilt_step_degrees": 15 / 2,
    "snr": 1.0,
}
CONFIG: dict[str, Any] = {
    "results": "out",
    "tilt_series": {"cell": {"simulate": SERIES}},
    "datasets": {
        "small": {
            "extract": {"tilt_series": "cell", "box": 24, "pixel_size_angstrom": 16, "jobs": 2}
        },
        "large": {
            "extract": {"tilt_series": "cell", "box": 40, "pixel_size_angstrom": 16, "keep": "all"}
        },
    },
    "branches": {
        "all": {"dataset": "small", "consensus": {}},
        "around": {
            "parent": "all",
            "dataset": "large",
            "select": {"all": True},
            "consensus": {},
            "linear": {"components": 2, "rounds": 4, "mask_diameter_angstrom": 560},
            "analysis": {"clusters": 2, "umap": False},
        },
    },
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scales")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    run_all(folder)
    return folder / "out"


def particles(out: Path, dataset: str) -> pd.DataFrame:
    return pd.read_parquet(out / "datasets" / dataset / "particles.parquet")


def test_both_data_sets_name_the_same_particles(out: Path) -> None:
    truth = pd.read_parquet(out / "tilt_series/cell/simulated/truth.parquet").set_index("uid")
    small, large = particles(out, "small"), particles(out, "large")
    assert set(large["uid"]) <= set(small["uid"]) <= set(truth.index)
    lost = pd.read_parquet(out / "datasets/large/extracted/dropped.parquet")
    assert set(small["uid"]) - set(large["uid"]) == set(lost["uid"])
    for axis in ("x_angstrom", "y_angstrom", "z_angstrom"):
        shift = small.set_index("uid")[axis] - truth[axis]
        assert shift.dropna().abs().max() < 0.01
    selected = pd.read_parquet(out / "branches/around/selected.parquet").set_index("uid")
    assert set(selected.index[selected["kept"]]) == set(large["uid"])
    assert (selected.loc[list(lost["uid"]), "reason"] == "absent").all()


@pytest.mark.parametrize(("branch", "dataset"), [("all", "small"), ("around", "large")])
def test_either_consensus_is_the_true_map(out: Path, branch: str, dataset: str) -> None:
    """The middle of the larger box too; what lies around it is an average of neighbours."""
    box, pixel = BOXES[dataset]
    found, written = read_volume(out / "branches" / branch / "consensus" / "map.mrc")
    assert found.shape == (box, box, box)
    assert written == pytest.approx(pixel)
    middle = slice(box // 2 - 12, box // 2 + 12)
    settings = TiltSeriesSimulation.model_validate(SERIES)
    true = rendered(settings, "whole", float("nan"), 24, pixel)
    curve = fsc(torch.from_numpy(found[middle, middle, middle].copy()), true)
    assert curve[1:6].min() > 0.7


def test_all_that_was_extracted_is_what_its_lineage_says(out: Path) -> None:
    verified = verify(out, read_config(out.parent / "config.yaml"))
    assert (verified.findings, verified.notes) == ([], [])
    steps = [record.lineage.step for record in verified.records]
    assert steps.count("extract") == 5  # parts of 2 and 1 jobs, and what joined them
    around = next(r for r in verified.records if r.path.parent == out / "branches/around/linear")
    assert around.lineage.chosen is not None and around.lineage.chosen.parent == "all"


def test_recovery_and_report_know_the_surroundings(out: Path) -> None:
    recovery = read_json(out / "recovery.json")
    found = recovery["datasets"]["large"]["branches"]["around"]["found"]["neighbours"]
    assert {"ari", "precision", "recall", "clusters"} <= set(found)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What surrounds the particles" in page
