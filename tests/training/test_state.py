"""Where the state of a training lies: never where its removal would take results with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tomopipe.cli.main import main
from tomopipe.config.training import HomogeneousSettings
from tomopipe.errors import StateError
from tomopipe.io.unfinished import state_folder

QUICK = HomogeneousSettings(epochs=1, batch=4, hidden=16, layers=1, device="cpu")


@pytest.fixture
def store(make_store):
    return make_store(["body", "whole"] * 3, [5, 4, 6] * 2, noise=60.0).path


@pytest.mark.parametrize("state", ["run/out", "run", ".", "run/out/state", "run/elsewhere/../out"])
def test_a_state_that_would_take_the_model_with_it_is_refused(store, tmp_path, state, capsys):
    run = tmp_path / "run"  # where nothing is yet
    command = ["train", str(store), "--model", "homogeneous", "--out", str(run / "out")]
    assert main([*command, "--device", "cpu", "--state", str(tmp_path / state)]) == 2
    assert "must not lie one in the other" in capsys.readouterr().err
    assert not run.exists()


def test_states_lie_beside_the_results_also_of_folders_without_a_name(tmp_path, monkeypatch):
    (tmp_path / "run" / "out").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run" / "out")
    beside = {".": "run/out.state", "..": "run.state", "new": "run/out/new.state"}
    for out, state in beside.items():
        assert state_folder(Path(out)) == tmp_path / state
    (tmp_path / "file").touch()
    for given in ((tmp_path / "file", None), (tmp_path / "out", tmp_path / "file")):
        with pytest.raises(StateError, match="file is a file: give a folder"):
            state_folder(*given)


def test_a_state_may_lie_behind_a_link_and_is_removed_there(store, tmp_path):
    """As on the fast disk of a node."""
    (tmp_path / "fast").mkdir()
    (tmp_path / "state").symlink_to("fast")
    command = ["train", str(store), "--model", "homogeneous", "--settings", QUICK.model_dump_json()]
    command += ["--out", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    for _ in range(2):  # the link stays, and leads nowhere the second time
        assert main(command) == 0
        assert not (tmp_path / "fast").exists()


def test_results_may_go_to_the_folder_one_is_in(store, tmp_path, monkeypatch):
    out = tmp_path / "run" / "out"
    out.mkdir(parents=True)
    monkeypatch.chdir(out)
    command = ["train", str(store), "--model", "homogeneous", "--out", "."]
    assert main([*command, "--settings", QUICK.model_dump_json()]) == 0
    assert (out / "model.safetensors").is_file()
    assert list(out.parent.iterdir()) == [out]
