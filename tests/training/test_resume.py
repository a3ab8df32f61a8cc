"""A run that is killed goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import tomopipe.training.loop as loop
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.errors import StateError, TrainingError
from tomopipe.io.atomic import read_json, read_parquet
from tomopipe.models.files import load_tensors
from tomopipe.training.neural import train_heterogeneous

SETTINGS = HeterogeneousSettings(
    zdim=2,
    epochs=3,
    batch=3,
    hidden=32,
    layers=1,
    encoder_hidden=16,
    encoder_radius=4,
    encoder_components=3,
    dtype="float32",
    device="cpu",
    checkpoint_minutes=0,
)


@pytest.fixture
def store(make_store):
    return make_store(["body", "whole"] * 6, [5, 7, 4, 6] * 3, noise=60.0).path


def same_result(a: Path, b: Path, epochs: int = SETTINGS.epochs) -> None:
    first, second = (load_tensors(d / "model.safetensors") for d in (a, b))
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert read_parquet(a / "latents.parquet").equals(read_parquet(b / "latents.parquet"))
    for epoch in range(1, epochs + 1):
        name = f"snapshots/epoch_{epoch:03d}.safetensors"
        assert torch.equal(load_tensors(a / name)["z"], load_tensors(b / name)["z"])


class Killed(BaseException):
    pass


@pytest.mark.fault(
    "Training is interrupted after any step",
    "The next start goes on from the last checkpoint and ends with exactly the same numbers.",
)
@pytest.mark.parametrize("steps", [1, 4, 6, 11])
def test_interrupted_run_gives_identical_numbers(store, tmp_path, monkeypatch, steps):
    train_heterogeneous(store, tmp_path / "straight", SETTINGS)
    step, count = loop._train_step, 0

    def dying(*args):
        nonlocal count
        count += 1
        if count > steps:
            raise Killed
        return step(*args)

    monkeypatch.setattr(loop, "_train_step", dying)
    with pytest.raises(Killed):
        train_heterogeneous(store, tmp_path / "resumed", SETTINGS)
    assert not (tmp_path / "resumed" / "model.safetensors").exists()
    monkeypatch.setattr(loop, "_train_step", step)
    torch.rand(17)  # the world's random state does not matter
    train_heterogeneous(store, tmp_path / "resumed", SETTINGS)
    same_result(tmp_path / "straight", tmp_path / "resumed")
    assert not (tmp_path / "resumed.state").exists()


def test_interrupted_at_the_end_of_an_epoch_gives_the_same_metrics(store, tmp_path, monkeypatch):
    train_heterogeneous(store, tmp_path / "straight", SETTINGS)

    def dying(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_finish_epoch", dying)
        with pytest.raises(Killed):
            train_heterogeneous(store, tmp_path / "resumed", SETTINGS)
    train_heterogeneous(store, tmp_path / "resumed", SETTINGS)
    texts = [(tmp_path / d / "metrics.jsonl").read_text() for d in ("straight", "resumed")]
    for lines in zip(*(text.splitlines() for text in texts), strict=True):
        one, other = ({k: v for k, v in json.loads(t).items() if "sec" not in k} for t in lines)
        assert one == other


SCRIPT = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.training.neural import train_heterogeneous
settings = HeterogeneousSettings.model_validate_json(sys.argv[3])
train_heterogeneous(Path(sys.argv[1]), Path(sys.argv[2]), settings)
"""


STEPS = 4  # of an epoch: 12 particles, 3 of them a step


def steps_done(state: Path) -> int:
    """Where the last checkpoint of a run is; 0 before there is one."""
    if not (state / "checkpoint.json").is_file():
        return 0
    position = read_json(state / "checkpoint.json")["position"]
    return STEPS * position["epoch"] + position["step"]


def killed_at(step: int, command: list[str], state: Path) -> int:
    """Start a training and kill it when it has a checkpoint of that step or a later one: which."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            end = time.monotonic() + 60
            while steps_done(state) < step and child.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
        finally:
            child.kill()
    assert child.returncode == -signal.SIGKILL  # neither done nor ended by an error
    assert steps_done(state) >= step
    return steps_done(state)


@pytest.mark.fault(
    "Training is killed (SIGKILL) at random moments",
    "The next start goes on from the last checkpoint and ends with exactly the same numbers.",
)
def test_killed_process_gives_identical_numbers(store, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    epochs, out, state = 60, tmp_path / "killed", tmp_path / "killed.state"
    settings = SETTINGS.model_copy(update={"epochs": epochs})
    seldom = settings.model_copy(update={"checkpoint_minutes": 5})
    train_heterogeneous(store, tmp_path / "straight", seldom)
    given = [str(store), str(out), settings.model_dump_json()]
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    draw, reached = random.Random(seed), 0
    for _ in range(2):  # of 240 steps of about 10 ms: it cannot end between two looks
        step = reached + draw.randint(1, 60)
        reached = killed_at(step, [sys.executable, "-c", SCRIPT, *given], state)
    assert not (out / "model.safetensors").exists()
    step, taken = loop._train_step, []
    monkeypatch.setattr(loop, "_train_step", lambda *args: taken.append(1) or step(*args))
    train_heterogeneous(store, out, settings)
    assert len(taken) == STEPS * epochs - reached
    same_result(tmp_path / "straight", out, epochs)


def interrupt(store: Path, out: Path, monkeypatch, settings=SETTINGS) -> None:
    step, count = loop._train_step, 0

    def dying(*args):
        nonlocal count
        count += 1
        if count > 5:
            raise Killed
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_train_step", dying)
        with pytest.raises(Killed):
            train_heterogeneous(store, out, settings)


@pytest.mark.fault(
    "A training is started on the state of another one, with other settings or particles",
    "It is refused with a sentence that names the setting, both values and the folder to remove.",
)
def test_state_of_other_settings_is_refused(store, tmp_path, monkeypatch):
    interrupt(store, tmp_path / "out", monkeypatch)
    other = SETTINGS.model_copy(update={"learning_rate": 5e-4})
    with pytest.raises(StateError, match=r"learning_rate 0\.001, not 0\.0005"):
        train_heterogeneous(store, tmp_path / "out", other)
    with pytest.raises(StateError, match="particles"):
        train_heterogeneous(store, tmp_path / "out", SETTINGS, uids=["t/0000", "t/0001", "t/0002"])
    harmless = SETTINGS.model_copy(update={"checkpoint_minutes": 3.0})
    train_heterogeneous(store, tmp_path / "out", harmless)


@pytest.mark.fault(
    "Two trainings are started on one state",
    "The second waits for five seconds, then stops with a sentence that names the process and the "
    "machine of the first, which goes on undisturbed.",
)
def test_two_writers_are_refused(store, tmp_path, monkeypatch):
    from tomopipe.training.state import RunState

    monkeypatch.setattr("tomopipe.io.lock._WAIT_SECONDS", 0.2)
    with (
        RunState(tmp_path / "out.state", {}).locked(),
        pytest.raises(StateError, match=f"process {os.getpid()}"),
    ):
        train_heterogeneous(store, tmp_path / "out", SETTINGS)


@pytest.mark.fault(
    "A checkpoint is cut off, or a bit of it has changed",
    "A sentence names the file and the folder to remove to train from the beginning; nothing is "
    "trained from wrong numbers.",
)
def test_damaged_checkpoint_is_one_sentence(store, tmp_path, monkeypatch):
    out, state = tmp_path / "out", tmp_path / "out.state"
    interrupt(store, out, monkeypatch)
    (tensors,) = state.glob("checkpoint_*.safetensors")
    whole, record = tensors.read_bytes(), (state / "checkpoint.json").read_text()
    flipped = bytearray(whole)
    flipped[-9] ^= 1
    for damaged in (whole[:100], bytes(flipped)):
        tensors.write_bytes(damaged)
        with pytest.raises(StateError, match=rf"{tensors.name} is damaged .*: remove {state} to"):
            train_heterogeneous(store, out, SETTINGS)
    tensors.write_bytes(whole)
    for damaged in (record[:100], record.replace('"step": 1', '"step": 2')):
        (state / "checkpoint.json").write_text(damaged)
        with pytest.raises(StateError, match=rf"checkpoint\.json .*: remove {state} to"):
            train_heterogeneous(store, out, SETTINGS)
    (state / "checkpoint.json").write_text(record)
    train_heterogeneous(store, out, SETTINGS)


def test_loss_that_is_not_finite_stops_and_names_everything(store, tmp_path, monkeypatch):
    batch_error = "tomopipe.training.objective.batch_error"
    from tomopipe.training.objective import batch_error as error

    seen = 0

    def poisoned(*args):
        nonlocal seen
        seen += 1
        return error(*args) * (float("nan") if seen == 6 else 1.0)

    monkeypatch.setattr(batch_error, poisoned)
    with pytest.raises(TrainingError) as caught:
        train_heterogeneous(store, tmp_path / "out", SETTINGS)
    message = str(caught.value)
    record = read_json(tmp_path / "out.state" / "checkpoint.json")
    assert "epoch 2, step 2" in message
    assert message.count("t/00") == 3
    assert record["tensors"] in message
    assert all(
        torch.isfinite(v).all()
        for v in load_tensors(tmp_path / "out.state" / record["tensors"]).values()
    )
