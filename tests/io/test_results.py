"""A start of the workflow looks at results, but not at the stack of every particle."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tomopipe.errors import StateError
from tomopipe.io.results import check_results


def test_stacks_are_not_looked_at_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = tmp_path / "datasets" / "cut" / "extracted" / "stacks"
    (stacks / "TS_1").mkdir(parents=True)
    for particle in range(5):
        (stacks / "TS_1" / f"{particle}_stack2d.mrcs").touch()
    asked: list[str] = []
    lstat = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: asked.append(path.name) or lstat(path))
    check_results(tmp_path)
    assert asked == ["datasets", "cut", "extracted", "stacks"]
    late = time.time() + 3600
    os.utime(stacks, (late, late))
    with pytest.raises(StateError, match=r"stacks is of .* in the future"):
        check_results(tmp_path)
