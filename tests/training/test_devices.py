"""Which GPU a name means, without any."""

from __future__ import annotations

import pytest
import torch

from tomopipe.errors import ConfigError
from tomopipe.models.precision import _fast
from tomopipe.training.distributed import pick_device


@pytest.fixture
def used(monkeypatch) -> list[torch.device]:
    """Two GPUs; the devices that were made the current one."""
    made: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    for name in ("LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.mark.parametrize(("name", "number"), [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_the_gpu_in_use_is_the_current_one(used, name, number):
    """What asks the current GPU for its name or its abilities asks this one."""
    assert pick_device(name) == torch.device("cuda", number)
    assert used == [torch.device("cuda", number)]


def test_a_gpu_that_is_not_there_is_refused(used):
    with pytest.raises(ConfigError, match="'cuda:2', but torch finds 2 GPUs, counted from cuda:0"):
        pick_device("cuda:2")
    assert not used


def test_one_gpu_for_many_processes_is_refused(used, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ConfigError, match="'cuda:1', but 2 processes would share it: use cuda"):
        pick_device("cuda:1")
    assert pick_device("cuda") == torch.device("cuda", 1)


def test_bfloat16_goes_by_the_gpu_in_use(monkeypatch):
    kinds = {0: (7, 5), 1: (9, 0)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: kinds[device.index])
    _fast.cache_clear()
    assert [_fast(torch.device("cuda", i)) for i in (0, 1)] == [False, True]
    _fast.cache_clear()
