"""Results on a disk that cannot be written to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.faults.conftest import Packed
from tests.faults.harness import LIMIT, begin, said, start
from tomopipe.cli.main import main


@pytest.mark.fault(
    "The folder of results is read-only",
    "Snakemake stops before its first job, and a step by hand before its work, with a sentence "
    "that names the folder.",
)
def test_results_that_are_read_only(
    packed: Packed,
    small_disk: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    disk = small_disk(1000)
    (disk / "out").mkdir()
    small_disk(1000, "ro")
    for out in ("store", "out/store"):
        assert main(["prepare", str(packed.dataset), "--out", str(disk / out)]) == 2
        assert "cannot be used (Read-only file system)" in capsys.readouterr().err
    folder = tmp_path / "run"
    begin(folder, packed.star)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"results": str(disk / "out")}))
    assert start(folder).wait(timeout=LIMIT) == 1
    assert f"{disk}/out cannot be written to: change its rights" in said(folder)
    assert "rule import_particles" not in said(folder)
