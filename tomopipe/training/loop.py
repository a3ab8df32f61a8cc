"""The training loop, the same for every model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tomopipe.config.training import TrainingSettings
from tomopipe.dataset.store import Store
from tomopipe.errors import TrainingError
from tomopipe.io.progress import Progress
from tomopipe.training.distributed import Group
from tomopipe.training.metrics import Board, write_metrics
from tomopipe.training.objective import Objective, total_loss, trainable
from tomopipe.training.schedule import learning_rate
from tomopipe.training.splits import numpy_rng
from tomopipe.training.state import Position, RunState

_DRAW, _ORDER = 1, 2  # streams of random numbers

EndOfEpoch = Callable[[int], dict[str, Any]]  # epoch (from 1) -> numbers for metrics.jsonl
Stop = Callable[[list[dict[str, Any]]], bool]


@dataclass
class Run:
    """Everything a training run needs."""

    model: nn.Module
    objective: Objective
    store: Store
    settings: TrainingSettings
    state: RunState
    group: Group
    end_of_epoch: EndOfEpoch
    stop: Stop

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.store.n_particles // self.settings.batch)


def fit(run: Run) -> list[dict[str, Any]]:
    """Train from the last checkpoint, or the beginning, to the end; the metrics of every epoch.

    Raises
    ------
    TrainingError
        If the loss or its gradient is no longer finite.
    StateError
        If the checkpoint belongs to other settings or data.
    """
    optimiser = make_optimiser(run.model, run.settings)
    position = run.state.restore(run.model, optimiser)
    board = Board(run.state.directory / "tensorboard", run.settings.tensorboard and run.group.leads)
    total = run.settings.epochs * run.steps
    with Progress(total, f"train {type(run.model).__name__}") as progress:
        progress.start_at(position.epoch * run.steps + position.step)
        while position.epoch < run.settings.epochs and not position.stopped:
            _train_epoch(run, optimiser, position, progress)
            _finish_epoch(run, optimiser, position, progress, board)
    board.close()
    return position.metrics


def make_optimiser(model: nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW over the trainable parameters."""
    return torch.optim.AdamW(
        trainable(model),
        lr=settings.learning_rate,
        eps=settings.adam_epsilon,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def _train_epoch(
    run: Run, optimiser: torch.optim.Optimizer, position: Position, progress: Progress
) -> None:
    """The steps that are left of the current epoch."""
    run.model.train()
    order = numpy_rng(run.settings.seed, _ORDER, position.epoch).permutation(run.store.n_particles)
    batches = np.array_split(order, run.steps)
    saved = start = time.monotonic()
    before = position.seconds
    for step in range(position.step, run.steps):
        loss = _train_step(run, optimiser, position, batches[step])
        position.step = step + 1
        position.seconds = before + time.monotonic() - start
        if time.monotonic() - saved > 60 * run.settings.checkpoint_minutes and run.group.leads:
            run.state.save(run.model, optimiser, position)
            saved = time.monotonic()
        progress.advance(note=f"epoch {position.epoch + 1}, loss {loss:.4f}")


def _train_step(
    run: Run, optimiser: torch.optim.Optimizer, position: Position, batch: NDArray[np.int64]
) -> float:
    """One step on a batch that is shared out over the processes; its loss."""
    settings, group = run.settings, run.group
    rate = learning_rate(
        position.epoch * run.steps + position.step,
        settings.epochs * run.steps,
        peak=settings.learning_rate,
        warmup=settings.warmup,
        schedule=settings.schedule,
    )
    optimiser.param_groups[0]["lr"] = rate
    place = (settings.seed, _DRAW, position.epoch, position.step, group.rank)
    terms = run.objective(batch[group.rank :: group.size], place)
    parts = torch.stack([terms.error, terms.count, terms.kl, terms.numbers]).detach().double()
    error, count, kl, numbers = group.sum(parts).tolist()
    loss = total_loss(terms, (count, numbers), run.objective.beta)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    group.sum_gradients(trainable(run.model))
    norm = nn.utils.clip_grad_norm_(trainable(run.model), settings.clip or float("inf"))
    value = float(error / count + run.objective.beta * kl / numbers)
    _check_finite(run, position, batch, value + float(norm))
    optimiser.step()
    position.sums = [s + v for s, v in zip(position.sums, (error, count, kl, numbers), strict=True)]
    return value


def _check_finite(run: Run, position: Position, batch: NDArray[np.int64], value: float) -> None:
    if np.isfinite(value):
        return
    uids = ", ".join(str(u) for u in run.store.uids[batch])
    raise TrainingError(
        f"loss or gradient is not finite in epoch {position.epoch + 1}, step {position.step + 1}, "
        f"with particles {uids}; {run.state.last()}: lower learning_rate (now "
        f"{run.settings.learning_rate:g}) or leave these particles out"
    )


def _finish_epoch(
    run: Run,
    optimiser: torch.optim.Optimizer,
    position: Position,
    progress: Progress,
    board: Board,
) -> None:
    """Evaluate, log, save."""
    run.model.eval()
    start = time.monotonic()
    epoch = position.epoch + 1
    error, count, kl, numbers = position.sums
    more = run.end_of_epoch(epoch)
    position.seconds += time.monotonic() - start
    row = {
        "epoch": epoch,
        "loss": error / count + run.objective.beta * kl / numbers,
        "reconstruction": error / count,
        "kl": kl / run.store.n_particles,
        **more,
        "lr": optimiser.param_groups[0]["lr"],
        "seconds": round(position.seconds, 3),
        "seconds_left": round(position.seconds * (run.settings.epochs - epoch), 3),
    }
    position.metrics.append(row)
    position.epoch, position.step, position.sums, position.seconds = epoch, 0, [0.0] * 4, 0.0
    position.stopped = run.stop(position.metrics)
    if run.group.leads:
        run.state.save(run.model, optimiser, position)
        write_metrics(run.state.directory / "metrics.jsonl", position.metrics)
    board.add(row)
