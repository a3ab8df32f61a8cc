"""One process or many: who this process is, and sums over all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
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

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add gradients up over processes, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = self.sum(torch.cat([g.reshape(-1) for g in gradients]))
        parts = torch.split(flat, [g.numel() for g in gradients])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


def pick_device(name: str) -> torch.device:
    """The device that a setting names; auto is CUDA where there is one (this process's), else CPU.

    Raises
    ------
    ConfigError
        If CUDA is asked for and not available.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "auto":
        return torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is {name!r}, but torch finds no CUDA GPU: use cpu or auto")
    return torch.device("cuda", local) if name == "cuda" else torch.device(name)
