"""Where a run stands: every state is told, and no heavy import is needed for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tomopipe.cli.main import main
from tomopipe.config import Config
from tomopipe.report.collect import collect
from tomopipe.report.status import status, status_words


def test_states_of_a_run(fake_results: tuple[Config, Path]) -> None:
    config, root = fake_results
    found = status(config, collect(config, root))
    states = {name: branch["state"] for name, branch in found["branches"].items()}
    assert states["pilot"] == "done"
    assert states["unrun"] == "not run"
    assert states["later"] == states["after"] == "waiting"
    words = status_words(found)
    assert "240 of 240 particles" in words
    assert "converged" in words and "classes not supported: 3" in words
    assert "after: waiting for a decision: select of later" in words
    assert found["branches"]["pilot"]["seconds"] == 12.5


@pytest.mark.parametrize(
    ("last", "state"), [("tomopipe: no space", "failed"), ("epoch 3", "not run")]
)
def test_a_log_that_ends_with_an_error_is_a_failure(
    last: str, state: str, empty_results: tuple[Config, Path]
) -> None:
    config, root = empty_results
    log = root / "logs/branches/pilot/select.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"begun\n{last}\n")
    found = status(config, collect(config, root))
    assert found["branches"]["pilot"]["state"] == state
    assert (f"{log}: {last}" in status_words(found)) == (state == "failed")


def test_json_is_the_same(
    empty_results: tuple[Config, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = empty_results
    given = config.model_dump_json(by_alias=True, exclude_none=True)
    assert main(["status", "--config", given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["branches"]["pilot"]["state"] == "not run"


def test_no_torch() -> None:
    script = "import sys, tomopipe.report.status, tomopipe.report.collect; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert {"tomopipe.report.status", "tomopipe.report.collect"} <= set(found)
    assert "torch" not in found


def test_a_run_that_has_not_begun_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(
        "results: nowhere\ndatasets: {d: {simulate: {}}}\nbranches: {b: {dataset: d, linear: {}}}\n"
    )
    assert main(["status", "--config", "c.yaml"]) == 0
    assert "b: not run" in capsys.readouterr().out


def test_running_is_what_a_living_process_writes(empty_results: tuple[Config, Path]) -> None:
    config, root = empty_results
    out = root / "branches/pilot/linear"
    out.parent.mkdir(parents=True)
    # stands for `python -m tomopipe linear STORE --out …`: only its words and its life count
    words = ["tomopipe", "linear", "store", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdin is not None
    process.stdout.readline()
    found = status(config, collect(config, root))
    assert found["branches"]["pilot"]["state"] == "running"
    assert f"pilot: running (linear, process {process.pid} on" in status_words(found)
    assert found["branches"]["clean"]["state"] == "not run"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert status(config, collect(config, root))["branches"]["pilot"]["state"] == "not run"


@pytest.mark.parametrize(
    ("host", "age", "state"),
    [
        ("elsewhere", 60, "running"),
        ("elsewhere", 3600, "not run"),
        (socket.gethostname(), 60, "not run"),  # here its process would be seen
    ],
)
def test_a_training_elsewhere_is_known_by_its_lock(
    host: str, age: float, state: str, empty_results: tuple[Config, Path]
) -> None:
    config, root = empty_results
    lock = root / "branches/clean/heterogeneous.state/lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(f"process 1 on {host}")
    then = lock.stat().st_mtime - age
    os.utime(lock, (then, then))
    found = status(config, collect(config, root))
    assert found["branches"]["clean"]["state"] == state


def test_gpu_hours_are_those_of_fits_that_recorded_a_gpu(
    fake_results: tuple[Config, Path],
) -> None:
    config, root = fake_results
    record = collect(config, root)
    pilot = record.branches["pilot"]
    assert status(config, record)["branches"]["pilot"]["gpu_hours"] == 0
    assert pilot.linear is not None
    made = pilot.linear.config | {"device": "cuda", "processes": 2}
    on_gpu = replace(pilot, linear=replace(pilot.linear, config=made))
    found = status(config, replace(record, branches=record.branches | {"pilot": on_gpu}))
    assert found["branches"]["pilot"]["gpu_hours"] == pytest.approx(2 * 12.5 / 3600)
    assert "0.0069 GPU hours" in status_words(found)


def with_download(config: Config) -> Config:
    """The same with a download of its own."""
    raw = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    return Config.model_validate(raw | {"downloads": {"images": {"empiar": 10499}}})


def test_downloads_are_listed_with_their_size(empty_results: tuple[Config, Path]) -> None:
    config, root = with_download(empty_results[0]), empty_results[1]
    log = root / "logs/downloads/images.log"
    assert "download images: not run" in status_words(status(config, collect(config, root)))
    log.parent.mkdir(parents=True)
    log.write_text("10 of 30 MB\n")
    assert "download images: unfinished" in status_words(status(config, collect(config, root)))
    log.write_text("tomopipe: the server says 404\n")
    found = status(config, collect(config, root))
    assert found["downloads"]["images"]["error"] == "tomopipe: the server says 404"
    record = root / "downloads/images.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"files": [{"size": 2_000_000}, {"size": 1_400_000}]}))
    words = status_words(status(config, collect(config, root)))
    assert "download images: done; 2 files, 3.4 MB" in words


def test_time_of_a_download_is_not_that_of_one_with_a_longer_name(
    empty_results: tuple[Config, Path],
) -> None:
    config, root = with_download(empty_results[0]), empty_results[1]
    rules = pd.DataFrame(
        {"rule": ["downloads/images", "downloads/images_2"], "seconds": [3.0, 9.0]}
    )
    found = status(config, replace(collect(config, root), benchmarks=rules))
    assert found["downloads"]["images"]["seconds"] == 3.0
