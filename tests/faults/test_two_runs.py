"""The same thing started twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.faults.conftest import Packed
from tests.faults.harness import LIMIT, begin, said, start
from tomopipe.cli.main import main
from tomopipe.io.lock import locked


@pytest.mark.fault(
    "One store is packed by two processes",
    "The second waits for five seconds, then stops with a sentence that names the process and the "
    "machine of the first, which goes on undisturbed.",
)
def test_two_processes_pack_one_store(
    packed: Packed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tomopipe.io.lock._WAIT_SECONDS", 0.2)
    command = ["prepare", str(packed.dataset), "--out", str(tmp_path / "store"), "--workers", "1"]
    with locked(tmp_path / ".store.partial" / "lock", tmp_path, "test"):
        assert main(command) == 2
    said = capsys.readouterr().err
    assert f"store is in use by another run of `tomopipe prepare` (process {os.getpid()} on" in said
    assert main(command) == 0


def test_a_lock_that_went_with_its_folder_is_made_anew(tmp_path: Path) -> None:
    path, held, go = tmp_path / "state" / "lock", Event(), Event()

    def second() -> None:
        with locked(path, path.parent, "test"):
            held.set()
            go.wait(10)

    with locked(path, path.parent, "test"):
        thread = Thread(target=second)
        thread.start()
        time.sleep(0.2)
        assert not held.is_set()
        path.unlink()
        path.parent.rmdir()
    assert held.wait(5)
    assert path.read_text().startswith(f"process {os.getpid()}")
    go.set()
    thread.join()


@pytest.mark.fault(
    "Snakemake is started twice in one directory",
    "The second stops and says that the directory is locked; the first goes on.",
)
def test_two_snakemakes(packed: Packed, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begin(folder, packed.star)
    first = start(folder)
    try:
        while not list((folder / ".snakemake" / "locks").glob("*")):
            assert first.poll() is None, said(folder)
            time.sleep(0.05)
        assert start(folder).wait(timeout=LIMIT) == 1
        assert "Directory cannot be locked" in said(folder)
        assert first.poll() is None
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
