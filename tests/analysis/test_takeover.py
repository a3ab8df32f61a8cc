"""A result is taken over only where it is what the stage would have given."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tomopipe import __version__
from tomopipe.analysis.selection import settle
from tomopipe.analysis.takeover import _READS, _RECORDS, take_over, taken_over
from tomopipe.cli.main import main
from tomopipe.config.base import Section
from tomopipe.config.linear import LinearSettings
from tomopipe.io.atomic import write_json, write_parquet

LINEAR = LinearSettings()
SETTINGS = LINEAR.model_dump(mode="json")
NONE = Section()  # of a stage without settings
UIDS = ["t/0", "t/1", "t/2"]

READS = [
    ("homogeneous", "consensus"),
    ("heterogeneous", "consensus"),
    ("heterogeneous", "linear"),
    ("convergence", "heterogeneous"),
    ("analysis", "fit"),
    ("analysis", "linear"),
    ("analysis", "heterogeneous"),
    ("classes", "analysis"),
    ("junk", "consensus"),
    ("junk", "analysis"),
]


def select(branch: Path, kept: list[bool]) -> None:
    table = pd.DataFrame({"uid": UIDS, "kept": kept, "reason": branch.name})
    write_parquet(branch / "selected.parquet", table)


@pytest.fixture
def rounds(tmp_path: Path) -> tuple[Path, Path]:
    """Two branches with the same particles, the first with a linear model, analysis and junk."""
    first, second = tmp_path / "first", tmp_path / "second"
    for branch in (first, second):
        select(branch, [True, True, False])
    write_json(first / "linear/config.json", {"settings": SETTINGS, "version": __version__})
    (first / "linear/latents.parquet").write_text("latents")
    write_json(first / "analysis/analysis.json", {"settings": {}, "version": __version__})
    clusters = pd.DataFrame({"uid": UIDS[:2], "cluster": [0, 1]})
    write_parquet(first / "analysis/clusters.parquet", clusters)
    table = pd.DataFrame({"cluster": [0, 1], "count": 1, "decision": "keep", "reason": "Fine."})
    table.attrs |= {"settings": {}, "version": __version__}
    write_parquet(first / "junk.parquet", table)
    write_parquet(first / "junk_particles.parquet", clusters)
    settle(first)
    return first, second


def test_the_same_is_copied_and_recorded(rounds: tuple[Path, Path]) -> None:
    first, second = rounds
    assert take_over("linear", second, first, LINEAR)
    assert take_over("analysis", second, first, NONE)
    assert take_over("junk", second, first, NONE)
    assert (second / "linear/latents.parquet").read_text() == "latents"
    assert taken_over(second) == {"linear": "first", "analysis": "first", "junk": "first"}
    # a copy of its own, younger than what it is made of
    assert (second / "linear/latents.parquet").stat().st_nlink == 1
    younger = (second / "linear/latents.parquet").stat().st_mtime_ns
    assert younger >= (second / "selected.parquet").stat().st_mtime_ns


@pytest.mark.parametrize("change", ["particles", "settings", "version", "missing"])
def test_anything_else_is_not(change: str, rounds: tuple[Path, Path]) -> None:
    first, second = rounds
    wanted = LINEAR
    if change == "particles":
        select(second, [True, False, False])
    elif change == "settings":
        wanted = LinearSettings(components=9)
    elif change == "version":
        write_json(first / "linear/config.json", {"settings": SETTINGS, "version": "0"})
    else:
        (first / "linear/config.json").unlink()
    assert not take_over("linear", second, first, wanted)
    assert not (second / "linear").exists()


@pytest.mark.parametrize(("stage", "read"), READS)
def test_what_a_stage_reads_must_be_taken_over_too(
    stage: str, read: str, rounds: tuple[Path, Path]
) -> None:
    first, second = rounds
    if stage != "junk":
        write_json(first / stage / _RECORDS[stage], {"settings": {}, "version": __version__})
    (second / read).mkdir()
    assert not take_over(stage, second, first, NONE)
    record = second / "taken_over" / f"{read}.json"
    write_json(record, {"from": "third"})
    assert not take_over(stage, second, first, NONE)
    write_json(record, {"from": "first"})
    assert take_over(stage, second, first, NONE)


def test_every_stage_and_what_it_reads_is_tried() -> None:
    assert [(stage, read) for stage, reads in _READS.items() for read in reads] == READS


def test_a_result_that_is_made_anew_is_no_longer_taken_over(rounds: tuple[Path, Path]) -> None:
    first, second = rounds
    assert take_over("linear", second, first, LINEAR)
    assert not take_over("linear", second, None, LINEAR)
    assert taken_over(second) == {}


def test_decisions_go_with_what_was_taken_over_but_a_person_s_own_stay(
    rounds: tuple[Path, Path],
) -> None:
    first, second = rounds
    theirs, mine = first / "selection.yaml", second / "selection.yaml"
    theirs.write_text(theirs.read_text().replace("decision: keep", "decision: unsure", 1))
    for stage, settings in (("linear", LINEAR), ("analysis", NONE), ("junk", NONE)):
        assert take_over(stage, second, first, settings)
    assert settle(second, first).person
    assert mine.read_bytes() == theirs.read_bytes()
    mine.write_text(mine.read_text().replace("decision: unsure", "decision: junk", 1))
    settle(second, first)
    assert "decision: junk" in mine.read_text()
    # judged anew, nothing of the other branch counts
    mine.unlink()
    take_over("junk", second, None, NONE)
    assert not settle(second, first).person


def test_of_several_processes_one_writes(rounds: tuple[Path, Path]) -> None:
    first, second = rounds
    assert take_over("linear", second, first, LINEAR, leads=False)
    assert not (second / "linear").exists()


def test_on_the_command_line(rounds: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = rounds
    command = ["linear", "no/store", "--out", str(second / "linear"), "--same-as", str(first)]
    assert main([*command, "--settings", json.dumps(SETTINGS)]) == 0
    assert "taken over from" in capsys.readouterr().out
    # with other settings it has to be made, of a store that is not there
    assert main([*command, "--components", "3"]) == 2
    assert "store" in capsys.readouterr().err
