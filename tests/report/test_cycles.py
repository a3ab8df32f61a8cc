"""Rounds and replicates in the report and in the status of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.report.conftest import Faker, N
from tomopipe.analysis.agreement import agreement
from tomopipe.config import Config, parse_config
from tomopipe.io.atomic import write_json, write_text
from tomopipe.report.build import build_report
from tomopipe.report.collect import collect
from tomopipe.report.status import status, status_words


@pytest.fixture(scope="module")
def cycled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Three rounds, of which the second is clean and the third took it over; two replicates."""
    root = tmp_path_factory.mktemp("cycled") / "results"
    stages = {"consensus": {}, "linear": {}, "analysis": {"umap": False}, "junk": {}}
    pilot = {"dataset": "demo", "repeat": {"rounds": 3}, "replicates": 2} | stages
    config = parse_config(
        {
            "results": str(root),
            "datasets": {"demo": {"simulate": {"particles": N}}},
            "branches": {"pilot": pilot},
        }
    )
    fake = Faker(root)
    fake.dataset()
    everyone, good = np.ones(N, bool), fake.kind != 3
    for name, kept in [("pilot_round1", everyone)] + [
        (name, good) for name in ("pilot_round2", "pilot", "pilot_replicate2")
    ]:
        fake.select(name, kept, everyone, "cluster 3 is junk")
        fake.consensus(name)
        fake.linear(name)
        fake.analysis(name, kept, 4 if kept.all() else 3, junk=name != "pilot_replicate2")
    for stage in ("linear", "analysis"):
        write_json(root / f"branches/pilot/taken_over/{stage}.json", {"from": "pilot_round2"})
    folders = [root / "branches" / name / "analysis" for name in ("pilot", "pilot_replicate2")]
    agreement(folders, root / "branches/pilot/agreement")
    return config, root


def test_the_report_says_when_it_was_clean_and_what_agrees(
    cycled: tuple[Config, Path], tmp_path: Path
) -> None:
    build_report(*cycled, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "The cycle over pilot is clean after round 2." in page
    assert "Took over from pilot_round2, which kept the same particles: linear, analysis." in page
    assert 'id="cycle-pilot"' in page and 'id="cycle-pilot_round2"' not in page
    assert "round 3 (taken over)" in page
    assert 'id="replicates-pilot"' in page
    assert "not stable over 2 replicates (ARI " in page
    assert "Replicate 2 of pilot: the same particles, other seeds." in page
    assert 'id="clusters-pilot_replicate2"' not in page


def test_status_says_it_in_a_line(cycled: tuple[Config, Path]) -> None:
    found = status(cycled[0], collect(*cycled))
    words = status_words(found).splitlines()
    last = next(line for line in words if line.strip().startswith("pilot:"))
    assert "clean after round 2" in last
    assert "taken over from pilot_round2" in last
    assert "not stable over 2 replicates" in last
    assert found["branches"]["pilot"]["taken_over"]["linear"] == "pilot_round2"


def test_rounds_that_are_not_done_or_not_clean_are_told(
    cycled: tuple[Config, Path], tmp_path: Path
) -> None:
    config, root = cycled
    results = tmp_path / "results"
    for name in ("pilot_round1", "pilot_round2", "pilot"):
        source = root / "branches/pilot_round1/selection.yaml"
        write_text(results / f"branches/{name}/selection.yaml", source.read_text())
    words = status_words(status(config, collect(config, results)))
    assert "not clean after 3 rounds: 42 still called junk" in words
    (results / "branches/pilot/selection.yaml").unlink()
    assert "2 of at most 3 rounds done" in status_words(status(config, collect(config, results)))
