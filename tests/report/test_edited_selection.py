"""A slip in selection.yaml is told where its decisions would stand, and hides nothing else."""

from __future__ import annotations

import html
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tomopipe.config import Config
from tomopipe.config.repeat import RepeatSettings
from tomopipe.report.build import build_report
from tomopipe.report.collect import collect
from tomopipe.report.cycles import cycle
from tomopipe.report.status import status, status_words


@pytest.fixture
def edited(fake_results: tuple[Config, Path], tmp_path: Path) -> tuple[Config, Path, Path]:
    """A run of one's own, and the selection.yaml of its pilot."""
    config, results = fake_results
    root = tmp_path / "results"
    shutil.copytree(results, root)
    return config, root, root / "branches/pilot/selection.yaml"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("clusters: {0: keep}", "decision of cluster 0 is None: write keep, junk or unsure"),
        ("clusters: {0: {decision: Junk}}", "decision of cluster 0 is 'Junk': write keep,"),
        ("clusters: {one: {decision: keep}}", "'one' under 'clusters' is not a cluster number"),
        ("clusters: {0: {decision: keep, count: many}}", "count of cluster 0 is 'many'"),
        ("[keep, junk]", "has no section 'clusters'"),
        ("clusters: {0: {decision: keep", "is not valid YAML"),
    ],
)
def test_a_slip_is_one_sentence_on_its_branch(
    text: str, sentence: str, edited: tuple[Config, Path, Path]
) -> None:
    config, root, path = edited
    path.write_text(text)
    record = collect(config, root)
    found = record.branches["pilot"].selection
    assert found is not None
    assert str(path) in found.problem and sentence in found.problem
    assert found.decisions == () and found.decided_by == ""
    (line,) = [
        line for line in status_words(status(config, record)).split("\n") if sentence in line
    ]
    assert line.startswith("pilot: done;")
    assert "240 of 240 particles" in line and "junk (" not in line


def test_the_page_says_it_and_shows_all_else(
    edited: tuple[Config, Path, Path], tmp_path: Path
) -> None:
    config, root, path = edited
    path.write_text(path.read_text().replace("decision: junk", "decision: Junk"))
    build_report(config, root, tmp_path / "report.html")
    page = html.unescape((tmp_path / "report.html").read_text())
    pilot = page.split('id="branch-pilot"')[1].split("</section>")[0]
    assert "decision of cluster 3 is 'Junk': write keep, junk or unsure" in pilot
    assert "decisions cannot be read" in pilot
    assert "decided by a person" not in pilot.lower()
    assert pilot.count('<article class="card cluster">') == 4
    assert "converged at epoch 14" in page


def test_a_round_that_cannot_be_read_is_not_clean(edited: tuple[Config, Path, Path]) -> None:
    config, root, path = edited
    path.write_text("clusters: {0: keep}")
    record = collect(config, root)
    last = replace(record.branches["pilot"], repeat=RepeatSettings(rounds=2, round=2))
    found = cycle(last, replace(record, branches={"pilot": last}))
    assert found is not None and found.clean_after is None
