"""The training loop, the same for every model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tomopipe.config.training import TrainingSettings
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError, TrainingError
from tomopipe.io.progress import Progress
from tomopipe.training.ahead import ahead
from tomopipe.training.distributed import Group
from tomopipe.training.metrics import Board, write_metrics
from tomopipe.training.objective import Objective, Step, Terms, total_loss, trainable
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
    ahead: bool = False  # draw and read the next step in a thread

    @property
    def steps(self) -> int:
        """Steps of an epoch, few enough that every process has a particle of each."""
        n = self.store.n_particles
        return min(-(-n // self.settings.batch), n // self.group.size)


def fit(run: Run) -> list[dict[str, Any]]:
    """Train from the last checkpoint, or the beginning, to the end; the metrics of every epoch.

    Raises
    ------
    TrainingError
        If the loss or its gradient is no longer finite.
    StateError
        If the checkpoint belongs to other settings or data, or processes read different ones.
    """
    optimiser = make_optimiser(run.model, run.settings)
    position = run.state.restore(run.model, optimiser)
    _check_same_position(run, position)
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


def _check_same_position(run: Run, position: Position) -> None:
    """All processes must go on from one step: their sums would be of different things."""
    done = position.epoch * run.steps + position.step
    device = next(run.model.parameters()).device
    found = run.group.each(done, device).tolist()
    if len(set(found)) > 1:
        raise StateError(
            f"{run.state.record}: processes read checkpoints of {len(set(found))} different steps "
            "(a file system that shows them late?): start again"
        )


def _train_epoch(
    run: Run, optimiser: torch.optim.Optimizer, position: Position, progress: Progress
) -> None:
    """The steps that are left of the current epoch.

    A step's numbers are looked at when the next one has begun, so that a GPU never waits for them.
    """
    run.model.train()
    saved = start = time.monotonic()
    before = position.seconds
    pending: _Done | None = None
    for step, particles, ready in _steps(run, position):
        done = _train_step(run, optimiser, position, particles, ready)
        note = _settle(run, position, pending)
        pending = done
        position.step = step + 1
        position.seconds = before + time.monotonic() - start
        if time.monotonic() - saved > 60 * run.settings.checkpoint_minutes and run.group.leads:
            _settle(run, position, pending)
            pending = None
            run.state.save(run.model, optimiser, position)
            saved = time.monotonic()
        progress.advance(note=note)
    _settle(run, position, pending)


def _steps(run: Run, position: Position) -> Iterator[tuple[int, NDArray[np.int64], Step]]:
    """Number, particles (of all processes) and draws of each step that is left of the epoch.

    On a GPU a step is drawn, read and sent while the one before it is at work; on a CPU the two
    would only take each other's cores.
    """
    settings, group, epoch = run.settings, run.group, position.epoch
    order = numpy_rng(settings.seed, _ORDER, epoch).permutation(run.store.n_particles)
    batches = np.array_split(order, run.steps)

    def prepare(step: int) -> Step:
        place = (settings.seed, _DRAW, epoch, step)
        return run.objective.prepare(batches[step][group.rank :: group.size], place)

    left = range(position.step, run.steps)
    made = ahead(prepare, left) if run.ahead else map(prepare, left)
    for step, ready in zip(left, made, strict=True):
        yield step, batches[step], ready


@dataclass(frozen=True)
class _Done:
    """A step that has been launched, and numbers that may not have been computed yet."""

    number: int
    particles: NDArray[np.int64]
    numbers: Tensor  # error, coefficients, KL, numbers of the KL's share, norm of the gradient


def _train_step(
    run: Run,
    optimiser: torch.optim.Optimizer,
    position: Position,
    particles: NDArray[np.int64],
    ready: Step,
) -> _Done:
    """One step on a batch that is shared out over the processes."""
    settings, group = run.settings, run.group
    optimiser.param_groups[0]["lr"] = _learning_rate(run, position.epoch, position.step)
    terms = run.objective(ready)
    counts = _summed_counts(group, terms)
    loss = total_loss(terms, counts, run.objective.beta)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    group.sum_gradients(trainable(run.model))
    norm = clip(trainable(run.model), settings.clip)
    optimiser.step()
    error, kl = group.sum(torch.stack([terms.error, terms.kl]).detach().double())
    count, numbers = (error.new_full((), c) for c in counts)
    return _Done(position.step, particles, torch.stack([error, count, kl, numbers, norm.double()]))


def _learning_rate(run: Run, epoch: int, step: int) -> float:
    settings = run.settings
    return learning_rate(
        epoch * run.steps + step,
        settings.epochs * run.steps,
        peak=settings.learning_rate,
        warmup=settings.warmup,
        schedule=settings.schedule,
    )


def _summed_counts(group: Group, terms: Terms) -> tuple[float, float]:
    """Coefficients and numbers of a step, over all processes."""
    if group.size == 1:
        return float(terms.count), float(terms.numbers)
    own = terms.error.new_tensor([terms.count, terms.numbers], dtype=torch.float64)
    count, numbers = group.sum(own).tolist()
    return count, numbers


def clip(parameters: list[nn.Parameter], largest: float) -> Tensor:
    """Scale gradients so that their common norm is at most `largest` (0 = any); norm before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if largest:
        torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp(max=1.0))
    return norm


def _settle(run: Run, position: Position, done: _Done | None) -> str:
    """Wait for a step's numbers, add them to the epoch's sums; what progress says of them.

    Raises
    ------
    TrainingError
        If they are not finite.
    """
    if done is None:
        return ""
    error, count, kl, numbers, norm = done.numbers.tolist()
    value = error / count + run.objective.beta * kl / numbers
    if not np.isfinite(value + norm):
        raise _not_finite(run, position, done)
    position.sums = [s + v for s, v in zip(position.sums, (error, count, kl, numbers), strict=True)]
    return f"epoch {position.epoch + 1}, loss {value:.4f}"


def _not_finite(run: Run, position: Position, done: _Done) -> TrainingError:
    uids = ", ".join(str(u) for u in run.store.uids[done.particles])
    return TrainingError(
        f"loss or gradient is not finite in epoch {position.epoch + 1}, step {done.number + 1}, "
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
        "lr": _learning_rate(run, position.epoch, run.steps - 1),
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
