"""Stacks of a tomogram count as one result, which is listed once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tomopipe.io.atomic import write_text
from tomopipe.lineage import write
from tomopipe.lineage.record import Record, lineage_path
from tomopipe.lineage.write import recorded


def cut(out: Path, tomogram: str) -> None:
    shutil.rmtree(out / "stacks" / tomogram, ignore_errors=True)
    for particle in range(3):
        write_text(out / "stacks" / tomogram / f"{particle}.mrcs", "image")


def left(out: Path) -> dict[str, int]:
    return {o.path: o.files for o in Record.read(lineage_path(out)).lineage.outputs}


@pytest.mark.parametrize("tomograms", [2, 101])
def test_stacks_are_a_folder_for_each_tomogram(tmp_path: Path, tomograms: int) -> None:
    with recorded("extract", tmp_path):
        for number in range(tomograms):
            cut(tmp_path, f"TS_{number}")
        (tmp_path / "stacks" / "empty").mkdir()
        write_text(tmp_path / "tilt_series" / "TS_0.star", "data_")
    stacks = {f"stacks/TS_{number}": 3 for number in range(tomograms)}
    assert left(tmp_path) == stacks | {"tilt_series/TS_0.star": 0}


def test_only_stacks_that_are_new_are_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tomogram in ("TS_0", "TS_1"):
        cut(tmp_path, tomogram)
    asked: list[str] = []
    stamp = write._stamp
    monkeypatch.setattr(write, "_stamp", lambda path: asked.append(path.name) or stamp(path))
    with recorded("extract", tmp_path):
        write_text(tmp_path / "particles.star", "data_")
    assert left(tmp_path) == {"particles.star": 0}
    assert asked == ["TS_0", "TS_1", "particles.star", "TS_0", "TS_1"]
    with recorded("extract", tmp_path):
        cut(tmp_path, "TS_1")
    assert left(tmp_path) == {"stacks/TS_1": 3}
