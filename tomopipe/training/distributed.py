"""One process or many: who this process is, and sums over all of them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from tomopipe.errors import ConfigError


@dataclass(frozen=True)
class Group:
    """The processes that train together, and which is ours (`torchrun` sets RANK, WORLD_SIZE)."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Group:
        """Join the group that the environment names; alone if it names none."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(dist.destroy_process_group)
        return cls(dist.get_rank(), size)

    @property
    def leads(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Sum of `value` over all processes, in place; the value itself when alone."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def each(self, number: float, device: torch.device | str = "cpu") -> Tensor:
        """`(size,)` float64: a plain number of every process (`device` must be the group's)."""
        numbers = torch.zeros(self.size, dtype=torch.float64, device=device)
        numbers[self.rank] = number
        return self.sum(numbers)

    def share(self, sizes: NDArray[np.integer]) -> slice:
        """Our process's run of items, so that all have about the same sum of `sizes` `(N,)`.

        Runs follow each other by rank; with at least as many items as processes none is empty.
        """
        middle = np.cumsum(sizes) - np.asarray(sizes) / 2
        goals = np.arange(1, self.size) * (np.sum(sizes) / self.size)
        cuts = np.searchsorted(middle, goals)
        at_least = np.arange(1, self.size)
        cuts = np.clip(cuts, at_least, len(sizes) - at_least[::-1])
        # a cut moved by the limits must not pass the next one
        cuts = np.maximum.accumulate(cuts - at_least) + at_least
        bounds = [0, *cuts.tolist(), len(sizes)]
        return slice(bounds[self.rank], bounds[self.rank + 1])

    def gather(self, own: Tensor, rows: slice, total: int) -> Tensor:
        """Rows of all processes `(total, ...)`, of which ours `own` are at `rows`."""
        if self.size == 1:
            return own
        whole = own.new_zeros(total, *own.shape[1:])
        whole[rows] = own
        return self.sum(whole)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add gradients up over processes, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = self.sum(torch.cat([g.reshape(-1) for g in gradients]))
        parts = torch.split(flat, [g.numel() for g in gradients])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def share_out(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors, in place, by those of the leading process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


def pick_device(name: str) -> torch.device:
    """The device that a setting names; auto is CUDA where there is one (this process's), else CPU.

    Raises
    ------
    ConfigError
        If CUDA is asked for and not available, has no GPU of that number or fewer GPUs than there
        are processes here, or one GPU is named for many processes.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(f"device is {name!r}, but torch finds no CUDA GPU: use cpu or auto")
    number = _own_gpu() if name in ("auto", "cuda") else _named_gpu(name)
    device = torch.device("cuda", number)
    # else all processes of a node talk through GPU 0, whose name and kind would be recorded too
    torch.cuda.set_device(device)
    return device


def _own_gpu() -> int:
    """The GPU of this process among those of its node."""
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        raise ConfigError(
            f"process {number + 1} of this node finds {count} GPUs: start at most one process per "
            "GPU, or set the device to cpu"
        )
    return number


def _named_gpu(name: str) -> int:
    """The number in `cuda:N`."""
    number, count = int(name.removeprefix("cuda:")), torch.cuda.device_count()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise ConfigError(
            f"device is {name!r}, but {processes} processes would share it: use cuda or auto, "
            "which give each process its own"
        )
    if number >= count:
        raise ConfigError(
            f"device is {name!r}, but torch finds {count} GPUs, counted from cuda:0: use one of "
            "them, cuda or auto"
        )
    return number
