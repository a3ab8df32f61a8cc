"""The folder of an unfinished fit: whose it is, who works on it, and what is removed of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tomopipe.analysis.fit import fit
from tomopipe.cli.main import main
from tomopipe.config.fit import FitSettings, NetworkSettings
from tomopipe.config.linear import LinearSettings
from tomopipe.errors import StateError
from tomopipe.io.lock import locked
from tomopipe.training.heldout import Comparison

LINEAR = LinearSettings(components=3, rounds=2)
SMALL = NetworkSettings(
    epochs=1, hidden=16, layers=1, zdim=4, encoder_hidden=16, encoder_components=4, batch=8
)


@pytest.mark.parametrize("state", ["out", ".", "out/state", "link"])
def test_a_state_that_would_take_the_results_with_it_is_refused(tmp_path, state):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    thesis = tmp_path / "out" / "thesis.txt"
    thesis.write_text("years of work")
    with pytest.raises(StateError, match="must not lie one in the other"):
        fit(tmp_path / "store", tmp_path / "out", state=tmp_path / state)
    assert list((tmp_path / "out").iterdir()) == [thesis]


@pytest.mark.parametrize("files", [("thesis.txt",), ("lock", "checkpoint.json"), ("linear",)])
def test_a_folder_of_something_else_is_no_state(planted, tmp_path, files):
    """Of a user, of a training, of the step `linear`."""
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in files:
        (mine / name).write_text("kept")
    with pytest.raises(StateError, match="mine is not empty and no state of a fit"):
        fit(planted.store, tmp_path / "out", state=mine)
    assert sorted(path.name for path in mine.iterdir()) == sorted(files)


@pytest.mark.parametrize("others", [(), ("notes.txt", "linear_old", ".hidden")])
def test_only_what_a_fit_has_made_is_removed(planted, tmp_path, monkeypatch, others):
    state = tmp_path / "state"

    def done(*_):
        made = ("linear", "network", "network.state", ".linear.x1y2", ".network.state.removed")
        for name in (*made, *others):
            (state / name).mkdir()
            (state / name / "file").touch()
        return {}

    monkeypatch.setattr("tomopipe.analysis.fit._fit", done)
    fit(planted.store, tmp_path / "out", state=state)
    assert state.exists() == bool(others)
    if others:
        assert {path.name for path in state.iterdir()} == set(others)


@pytest.mark.fault(
    "Two fits are started on one state",
    "The second waits for five seconds, then stops with a sentence that names the process and the "
    "machine of the first, which goes on undisturbed.",
)
def test_two_fits_on_one_state(planted, tmp_path, monkeypatch):
    monkeypatch.setattr("tomopipe.io.lock._WAIT_SECONDS", 0.2)
    monkeypatch.delattr("tomopipe.analysis.fit.fit_linear")
    state = tmp_path / "out.state"
    with (
        locked(state / "fit.lock", state, "test"),
        pytest.raises(StateError, match=f"in use by another fit .process {os.getpid()} on"),
    ):
        fit(planted.store, tmp_path / "out", FitSettings(network="never"))


def test_settings_that_change_no_number_do_not_begin_anew(planted, tmp_path, monkeypatch):
    settings = FitSettings(network="always", linear=LINEAR, heterogeneous=SMALL)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tomopipe.analysis.fit.compare", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(planted.store, tmp_path / "out", settings)
    carried = {"memory_gb": 0.0, "tensorboard": True, "checkpoint_minutes": 1.0, "device": "cpu"}
    other = FitSettings(
        network="always",
        linear=LINEAR.model_copy(update={"scratch": str(tmp_path)}),
        heterogeneous=SMALL.model_copy(update=carried),
    )
    better = Comparison(mean=1.0, linear=0.9, network=0.8, sigmas=9.0, particles=100)
    monkeypatch.setattr("tomopipe.analysis.fit.compare", lambda *_: better)
    with monkeypatch.context() as patch:
        patch.delattr("tomopipe.analysis.fit.fit_linear")
        patch.delattr("tomopipe.analysis.fit.train_heterogeneous")
        assert fit(planted.store, tmp_path / "out", other)["model"] == "network"


def test_results_may_go_to_the_folder_one_is_in(planted, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)
    given = FitSettings(network="never", linear=LINEAR).model_dump_json()
    assert main(["fit", str(planted.store), "--out", ".", "--settings", given]) == 0
    assert (out / "fit.json").is_file()
    assert list(tmp_path.iterdir()) == [out]
    assert Path.cwd() == out
