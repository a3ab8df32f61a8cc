"""Where a run stands: every state is told, and no heavy import is needed for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    assert "torch" not in done.stdout.split()


def test_a_run_that_has_not_begun_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(
        "results: nowhere\ndatasets: {d: {simulate: {}}}\nbranches: {b: {dataset: d, linear: {}}}\n"
    )
    assert main(["status", "--config", "c.yaml"]) == 0
    assert "b: not run" in capsys.readouterr().out
