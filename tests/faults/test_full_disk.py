"""Disks that fill up while something is written: small ones in memory, mounted as root on Linux."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.conftest import ONE, Packed
from tests.faults.harness import NETWORK
from tomopipe.cli.main import main
from tomopipe.dataset import filling
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import check_store
from tomopipe.io.atomic import read_json
from tomopipe.training.state import RunState

Mount = Callable[..., Path]


def fill(disk: Path) -> None:
    """Take all the space that is left."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


def filled_at(call: int, disk: Path, function: Callable[..., None]) -> Callable[..., None]:
    """`function`, before whose `call`-th call the disk fills up."""
    calls = 0

    def wrapped(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            fill(disk)
        function(*args)

    return wrapped


@pytest.mark.fault(
    "The disk has not the space for a store",
    "Packing says at once how much is free and how much is needed.",
)
def test_too_small_a_disk_for_packing(
    packed: Packed, small_disk: Mount, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = small_disk(40)
    assert main(["prepare", str(packed.dataset), "--out", str(disk / "store")]) == 2
    said = capsys.readouterr().err
    assert re.search(rf"{disk} has \d+ kB free, but the store needs \d+ kB more there", said)
    assert not (disk / "store").exists()


@pytest.mark.fault(
    "The disk fills up while images are packed",
    "Packing stops with a sentence that names the file; with space again it goes on from there, "
    "and the store is the same.",
)
def test_full_disk_while_packing(
    packed: Packed,
    small_disk: Mount,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    disk = small_disk(1000)
    monkeypatch.setattr("tomopipe.dataset.prepare._CHUNK_PIXELS", 16 * 16 * 16)
    command = ["prepare", str(packed.dataset), "--out", str(disk / "store"), "--workers", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(filling.Packed, "write", filled_at(4, disk, filling.Packed.write))
        assert main(command) == 2
    assert "coefficients.npy cannot be used (No space left on device)" in capsys.readouterr().err
    done = read_json(disk / ".store.partial" / "progress.json")["images_done"]
    assert done == 48
    (disk / "filler").unlink()
    write, firsts = filling.Packed.write, []

    def noted(self: filling.Packed, first: int, *rest: Any) -> None:
        firsts.append(first)
        write(self, first, *rest)

    monkeypatch.setattr(filling.Packed, "write", noted)
    assert main(command) == 0
    assert firsts[0] == done
    assert check_store(disk / "store")
    straight = tmp_path / "straight"
    prepare(packed.dataset, straight, ONE)
    stores = [np.load(path / "coefficients.npy") for path in (straight, disk / "store")]
    assert np.array_equal(*stores)


@pytest.mark.fault(
    "The disk fills up while a checkpoint is written",
    "Training stops with a sentence that names the file; with space again it goes on from the "
    "checkpoint before, and ends with the same numbers.",
)
def test_full_disk_at_a_checkpoint(
    packed: Packed,
    small_disk: Mount,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    disk = small_disk(20_000)

    def train(out: Path) -> int:
        settings = json.dumps(NETWORK | {"epochs": 2})
        command = ["train", str(packed.store), "--model", "heterogeneous", "--settings", settings]
        return main([*command, "--out", str(out)])

    assert train(tmp_path / "straight") == 0
    with monkeypatch.context() as patch:
        patch.setattr(RunState, "save", filled_at(4, disk, RunState.save))
        assert train(disk / "out") == 2
    said = capsys.readouterr().err
    assert "out.state/checkpoint_" in said and "cannot be used (No space left on device)" in said
    position = read_json(disk / "out.state" / "checkpoint.json")["position"]
    assert (position["epoch"], position["step"]) == (0, 3)
    (disk / "filler").unlink()
    assert train(disk / "out") == 0
    for name in ("model.safetensors", "latents.parquet"):
        assert (disk / "out" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


@pytest.mark.fault(
    "The disk is full when the report is written",
    "A sentence names the report; the one before it stays as it was.",
)
def test_full_disk_at_the_report(
    small_disk: Mount, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = small_disk(200)
    config = {
        "results": str(disk),
        "datasets": {"sim": {"particles": "none.star"}},
        "branches": {"pilot": {"dataset": "sim", "consensus": {}}},
    }
    (disk / "report.html").write_text("the old one")
    fill(disk)
    command = ["report", str(disk), "--config", json.dumps(config)]
    assert main([*command, "--out", str(disk / "report.html")]) == 2
    said = capsys.readouterr().err
    assert f"{disk}/report.html cannot be used (No space left on device)" in said
    assert (disk / "report.html").read_text() == "the old one"
    assert sorted(p.name for p in disk.iterdir()) == ["filler", "report.html"]
