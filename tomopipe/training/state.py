"""The state of a training run on disk: checkpoints that survive any kill, and a lock."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tomopipe.errors import StateError
from tomopipe.io.atomic import read_sealed_json, remove_directory, write_sealed_json
from tomopipe.io.lock import locked
from tomopipe.io.unfinished import check_own
from tomopipe.models.files import load_tensors, save_tensors
from tomopipe.training.distributed import Group
from tomopipe.training.objective import trainable

STEP_FORMAT = 3


@dataclass
class Position:
    """How far a run has come. Random draws follow from it, so no random state is kept.

    Attributes
    ----------
    epoch, step
        Epochs done, and steps done of the one after them.
    sums
        Error, coefficients, KL and numbers summed over those steps.
    seconds
        Time spent on those steps, over all interruptions.
    metrics
        One dictionary for each epoch done.
    stopped
        True when the stopping rule ended training.
    """

    epoch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    seconds: float = 0.0
    metrics: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False


class RunState:
    """The directory of a run: `checkpoint.json`, the tensors that it names, `snapshots/`.

    The tensors are written first under a new name, then `checkpoint.json` is replaced: whatever is
    killed when, the JSON names a file that is whole. `identity` holds what the run depends on.
    """

    def __init__(self, directory: Path, identity: dict[str, Any]) -> None:
        self.directory = directory
        self.identity = {"step_format": STEP_FORMAT, **identity}

    @property
    def snapshots(self) -> Path:
        """Where latents and decoders of each epoch go."""
        return self.directory / "snapshots"

    @property
    def record(self) -> Path:
        """The JSON that names the current checkpoint."""
        return self.directory / "checkpoint.json"

    def last(self) -> str:
        """The last good checkpoint, for messages."""
        if not self.record.is_file():
            return "there is no checkpoint yet"
        return f"the last good checkpoint is {self.directory / self._read()['tensors']}"

    def save(self, model: nn.Module, optimiser: torch.optim.Optimizer, position: Position) -> None:
        """Write a checkpoint; the one before it is removed after."""
        name = f"checkpoint_{position.epoch:04d}_{position.step:07d}.safetensors"
        # fixed volumes come from the inputs, which `identity` vouches for
        weights = {k: v for k, v in model.state_dict().items() if not k.startswith("fixed.")}
        tensors = {f"model.{k}": v for k, v in weights.items()}
        tensors |= _moments(model, optimiser)
        save_tensors(self.directory / name, tensors)
        write_sealed_json(
            self.record, {"identity": self.identity, "tensors": name, "position": asdict(position)}
        )
        for old in self.directory.glob("checkpoint_*.safetensors"):
            if old.name != name:
                old.unlink()

    def restore(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> Position:
        """Bring model and optimiser to the last checkpoint; a new position if there is none.

        Raises
        ------
        StateError
            If the checkpoint was made with other settings, particles or data, or is damaged.
        """
        if not self.record.is_file():
            return Position()
        record = self._read()
        self._check(record["identity"])
        try:
            tensors = load_tensors(self.directory / record["tensors"])
        except StateError as error:
            raise self._damaged(error) from None
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")},
            strict=False,
        )
        _restore_moments(model, optimiser, tensors)
        return Position(**record["position"])

    def _read(self) -> dict[str, Any]:
        try:
            return read_sealed_json(self.record)
        except StateError as error:
            raise self._damaged(error) from None

    def _damaged(self, error: StateError) -> StateError:
        """The error of a reader, with what helps here: half a state is worth nothing."""
        found = str(error).rsplit(": ", 1)[0]
        return StateError(f"{found}: remove {self.directory} to train from the beginning")

    def _check(self, found: dict[str, Any]) -> None:
        wanted = self.identity
        for name in sorted(set(wanted) | set(found)):
            if wanted.get(name) != found.get(name):
                raise StateError(
                    f"{self.record} belongs to a run with {name} {found.get(name)!r}, not "
                    f"{wanted.get(name)!r}: remove {self.directory} to begin anew, or set it back"
                )

    def put_away(self, out: Path) -> None:
        """Remove the state of a run that is done; TensorBoard's files go to the model in `out`."""
        events = self.directory / "tensorboard"
        if events.is_dir():
            shutil.copytree(events, out / "tensorboard", dirs_exist_ok=True)
        remove_directory(self.directory)

    @contextmanager
    def held(self, group: Group) -> Iterator[None]:
        """Hold the directory for a group of processes: the leading one locks it for all.

        The others wait for it, so that none reads what a run before is still writing.
        """
        with self.locked() if group.leads else nullcontext():
            group.barrier()
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory against a second writer; released by the system if we are killed.

        Raises
        ------
        StateError
            If another process holds it, or it holds something else than a training's state.
        """
        check_own(self.directory, (self.record.name, "lock"), "training state")
        with locked(self.directory / "lock", self.directory, "training run"):
            yield


def _moments(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's moments and step counts, by parameter number."""
    tensors = {}
    for i, parameter in enumerate(trainable(model)):
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{i}.{key}"] = torch.as_tensor(value)
    return tensors


def _restore_moments(
    model: nn.Module, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
