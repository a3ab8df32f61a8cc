"""Many processes give what one gives, and share the work evenly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.workflow.plan import ROOT
from tomopipe.config.linear import LinearSettings
from tomopipe.config.training import HomogeneousSettings
from tomopipe.errors import ConfigError, StateError
from tomopipe.io.mrc import read_volume
from tomopipe.models import load_model
from tomopipe.training.distributed import Group, pick_device
from tomopipe.training.linear import fit_linear
from tomopipe.training.loop import Run, _check_same_position
from tomopipe.training.neural import train_homogeneous
from tomopipe.training.state import Position


def two_processes(*arguments: str) -> None:
    """Run a verb as the rules do when they have two GPUs, here without any."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *launcher, "-m", "tomopipe", *arguments, "--threads", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_all_particles_in_turn_and_even(size):
    sizes = np.random.default_rng(size).integers(1, 50, 200)
    shares = [Group(rank, size).share(sizes) for rank in range(size)]
    assert shares[0].start == 0
    assert shares[-1].stop == len(sizes)
    assert all(a.stop == b.start for a, b in pairwise(shares))
    loads = [sizes[share].sum() for share in shares]
    assert max(loads) - min(loads) <= 2 * sizes.max()


@pytest.mark.parametrize("sizes", [[100, 1, 1, 1], [1, 1, 1, 100], [0, 0, 0, 0], [5, 5, 5, 5]])
def test_no_share_is_empty_while_there_are_particles(sizes):
    shares = [Group(rank, 4).share(np.array(sizes)) for rank in range(4)]
    assert [(s.start, s.stop) for s in shares] == [(0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("batch", [8, 9, 30])
def test_every_process_has_particles_of_every_step(size, batch):
    for n in range(batch, 100):
        run = SimpleNamespace(
            store=SimpleNamespace(n_particles=n),
            settings=SimpleNamespace(batch=batch),
            group=Group(0, size),
        )
        steps = Run.steps.fget(run)
        assert min(len(part) for part in np.array_split(np.arange(n), steps)) >= size
        assert steps == -(-n // batch) or steps == n // size


def test_processes_that_read_different_checkpoints_are_refused(monkeypatch):
    position = Position(epoch=1, step=2)
    run = SimpleNamespace(
        steps=5, model=torch.nn.Linear(1, 1), group=Group(), state=SimpleNamespace(record="c.json")
    )
    _check_same_position(run, position)
    late = torch.tensor([7.0, 5.0])
    monkeypatch.setattr(Group, "each", lambda *_: late)
    with pytest.raises(StateError, match="2 different steps"):
        _check_same_position(run, position)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="finds 2 GPUs"):
        pick_device("auto")
    assert pick_device("cpu") == torch.device("cpu")


def test_two_processes_fit_the_linear_model_like_one(tiny, tmp_path):
    """Each holds half of the statistics, here on disk; the other side of the test in memory."""
    settings = LinearSettings(components=2, rounds=8)
    fit_linear(tiny.store_path, tmp_path / "one", settings.model_copy(update={"memory_gb": 1e-9}))
    packed = settings.model_copy(update={"memory_gb": 1e-9}).model_dump_json()
    out = tmp_path / "two"
    two_processes("linear", str(tiny.store_path), "--out", str(out), "--settings", packed)
    one, two = (pd.read_parquet(d / "latents.parquet") for d in (tmp_path / "one", out))
    assert list(one["uid"]) == list(two["uid"])
    numbers = one.columns.drop("uid")
    np.testing.assert_allclose(one[numbers], two[numbers], atol=2e-3)
    a, b = (load_model(d).components for d in (tmp_path / "one", out))
    assert float((a - b).norm() / a.norm()) < 2e-3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]  # no scratch is left


def test_two_processes_train_the_same_map_as_one(tiny, tmp_path):
    """Without random draws the sums over processes are those of one process with the same batch."""
    settings = HomogeneousSettings(
        epochs=2, batch=6, hidden=32, layers=1, dtype="float32", device="cpu", fraction=1.0
    )
    uids = list(tiny.truth.index[:30])
    table = tmp_path / "selected.parquet"
    pd.DataFrame({"uid": uids, "kept": True}).to_parquet(table)
    train_homogeneous(tiny.store_path, tmp_path / "one", settings, uids=uids)
    two_processes(
        *("train", str(tiny.store_path), "--model", "homogeneous", "--particles", str(table)),
        *("--out", str(tmp_path / "two"), "--settings", settings.model_dump_json()),
    )
    one, two = (
        [json.loads(line) for line in (tmp_path / d / "metrics.jsonl").read_text().splitlines()]
        for d in ("one", "two")
    )
    for a, b in zip(one, two, strict=True):
        for name in ("loss", "validation"):
            assert a[name] == pytest.approx(b[name], rel=1e-4)
    first, second = (read_volume(tmp_path / d / "map.mrc")[0] for d in ("one", "two"))
    assert np.linalg.norm(first - second) < 1e-2 * np.linalg.norm(first)
