"""What a round has copied from the one before is not its own: it follows, and leaves no remains."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tomopipe import __version__
from tomopipe.analysis.selection import settle
from tomopipe.analysis.takeover import take_over
from tomopipe.config.base import Section
from tomopipe.errors import StateError
from tomopipe.io.atomic import write_json, write_parquet, write_text


def judge(branch: Path, clusters: int) -> None:
    """Leave what `junk` leaves: the last cluster is junk."""
    labels = list(range(clusters))
    words = ["keep"] * (clusters - 1) + ["junk"]
    table = pd.DataFrame({"cluster": labels, "count": 1, "decision": words, "reason": "So."})
    table.attrs |= {"settings": {}, "version": __version__}
    write_parquet(branch / "junk.parquet", table)
    uids = [f"t/{label}" for label in labels]
    write_parquet(branch / "junk_particles.parquet", pd.DataFrame({"uid": uids, "cluster": labels}))


def decide(path: Path, decision: str) -> None:
    """A person's word on what the rule calls junk."""
    before, after = path.read_text().rsplit("decision:", 1)
    rest = after.split("\n", 1)[1]
    path.write_text(f"{before}decision: {decision}\n{rest}")


@pytest.fixture
def rounds(tmp_path: Path) -> tuple[Path, Path]:
    """Rounds of the same particles: a person has kept all in the first, the second copied that."""
    first, second = tmp_path / "first", tmp_path / "second"
    for branch in (first, second):
        write_parquet(branch / "selected.parquet", pd.DataFrame({"uid": ["t/0"], "kept": True}))
    judge(first, 2)
    settle(first)
    decide(first / "selection.yaml", "keep")
    assert take_over("junk", second, first, Section())
    assert settle(second, first).decisions == {0: "keep", 1: "keep"}
    return first, second


def test_copied_decisions_follow_the_round_that_they_are_from(rounds: tuple[Path, Path]) -> None:
    first, second = rounds
    decide(first / "selection.yaml", "unsure")
    assert settle(second, first).decisions == {0: "keep", 1: "unsure"}
    decide(second / "selection.yaml", "junk")  # now they are its own
    decide(first / "selection.yaml", "keep")
    assert settle(second, first).decisions == {0: "keep", 1: "junk"}


def test_copied_decisions_are_in_nobody_s_way(rounds: tuple[Path, Path]) -> None:
    """The first round leaves junk out after all: the second has other clusters, judged anew."""
    first, second = rounds
    decide(first / "selection.yaml", "junk")
    assert not take_over("junk", second, None, Section())
    judge(second, 3)
    found = settle(second, first)
    assert found.decisions == {0: "keep", 1: "keep", 2: "junk"}
    assert not found.person


def test_a_person_s_own_decisions_on_other_clusters_stay(rounds: tuple[Path, Path]) -> None:
    first, second = rounds
    decide(second / "selection.yaml", "unsure")
    before = (second / "selection.yaml").read_text()
    take_over("junk", second, None, Section())
    judge(second, 3)
    with pytest.raises(StateError, match="decided on other clusters"):
        settle(second, first)
    assert (second / "selection.yaml").read_text() == before


def test_a_copied_fit_leaves_nothing_of_the_other_model(rounds: tuple[Path, Path]) -> None:
    first, second = rounds
    write_json(first / "fit/fit.json", {"settings": {}, "version": __version__})
    write_text(first / "fit/spectrum.csv", "of the linear model")
    for name in ("linear/config.json", "snapshots/epoch_1", "notes.txt"):
        write_text(second / "fit" / name, "of a network, and mine")
    assert take_over("fit", second, first, Section())
    left = {path.name for path in (second / "fit").iterdir()}
    assert left == {"fit.json", "spectrum.csv", "notes.txt"}
