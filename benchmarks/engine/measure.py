"""How long a step takes, and how long its matrix products alone would."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.config.training import HeterogeneousSettings
from tomopipe.dataset.reader import Reader, open_reader
from tomopipe.dataset.store import Store
from tomopipe.models.allocation import keep_freed_memory
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.precision import product_dtype
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.ahead import ahead
from tomopipe.training.loop import clip, make_optimiser
from tomopipe.training.objective import HeterogeneousObjective, Step, total_loss, trainable
from tomopipe.training.splits import hold_out
from tomopipe.training.warmstart import fit_subspace

HERE = Path(__file__).resolve().parents[1]


class Bench:
    """A heterogeneous model with K directions under it, ready to take steps on a store."""

    def __init__(
        self,
        store: Store,
        settings: HeterogeneousSettings,
        device: torch.device,
        basis: int = 8,
        reader: Reader | None = None,
    ) -> None:
        keep_freed_memory()
        torch.manual_seed(0)
        self.store, self.settings, self.device = store, settings, device
        self.reader = reader or open_reader(store, device, settings.memory_gb)
        self.split = hold_out(list(store.uids), store.images_per_particle, 0.1, 0)
        n = store.box
        fixed = FixedVolumes(torch.randn(n, n, n), torch.randn(min(basis, settings.zdim), n, n, n))
        self.model = HeterogeneousModel(
            settings, box=n, pixel_size=store.pixel_size, scale=1.0, fixed=fixed
        ).to(device)
        fit_subspace(self.model, self.reader, self.split)
        self.objective = HeterogeneousObjective(self.model, self.reader, self.split)
        self.optimiser = make_optimiser(self.model, settings)
        self.coefficients: list[int] = []

    def run(self, count: int) -> None:
        """Steps 0 … count - 1 as the loop takes them: on a GPU the next is made meanwhile.

        As there, a loss is waited for when the next step has begun.
        """
        make = ahead if self.device.type == "cuda" else map
        before: Tensor | None = None
        for ready in make(self.prepare, range(count)):
            loss = self.take(ready)
            if before is not None:
                before.item()
            before = loss
        wait(self.device)

    def step(self, number: int, particles: NDArray[np.integer] | None = None) -> Tensor:
        """One training step on random particles or on these; the loss."""
        return self.take(self.prepare(number, particles))

    def prepare(self, number: int, particles: NDArray[np.integer] | None = None) -> Step:
        """Draw a step."""
        if particles is None:
            rng = np.random.default_rng(number)
            size = min(self.settings.batch, self.store.n_particles)
            particles = rng.choice(self.store.n_particles, size, replace=False)
        return self.objective.prepare(particles, (0, number))

    def take(self, ready: Step) -> Tensor:
        """Take a step; the loss."""
        terms = self.objective(ready)
        self.coefficients.append(int(terms.count))
        loss = total_loss(terms, (terms.count, terms.numbers), self.objective.beta)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip(trainable(self.model), self.settings.clip)
        self.optimiser.step()
        return loss.detach()

    def products(self) -> tuple[Callable[[], None], float]:
        """Matrix products of a mean step (same shapes and precision), and their FLOP."""
        decoder, encoder = self.model.decoder, self.model.encoder
        dtype = product_dtype(self.settings, self.device)
        points, particles = int(np.mean(self.coefficients)), self.settings.batch
        layers = [(points, len(decoder.first.weight), 2 * len(decoder.features), dtype, False)]
        layers += [(points, *layer.weight.shape, dtype, True) for layer in decoder.body]
        layers += [(points, *decoder.last.weight.shape, dtype, True)]
        network = encoder.network
        small = [network.first, *network.body, network.last]
        layers += [
            (particles, *layer.weight.shape, torch.float32, i > 0) for i, layer in enumerate(small)
        ]
        made = [_layer(*layer, self.device) for layer in layers]
        flop = sum(2.0 * m * n * k * (3 if back else 2) for m, n, k, _, back in layers)

        def run() -> None:
            for x, weight, gradient, back in made:
                x @ weight.T
                gradient.T @ x
                if back:
                    gradient @ weight

        return run, flop


def _layer(
    m: int, n: int, k: int, dtype: torch.dtype, back: bool, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, bool]:
    x, weight, gradient = (
        torch.randn(shape, device=device).to(dtype) for shape in ((m, k), (n, k), (m, n))
    )
    return x, weight, gradient, back


def seconds(work: Callable[[int], object], device: torch.device, repeats: int) -> float:
    """Median time of `work(i)`; on a GPU of the whole row, which runs without waiting."""
    for i in range(3):
        work(i)
    wait(device)
    if device.type == "cuda":
        start = time.perf_counter()
        for i in range(repeats):
            work(i)
        wait(device)
        return (time.perf_counter() - start) / repeats
    times = []
    for i in range(repeats):
        start = time.perf_counter()
        work(i)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def wait(device: torch.device) -> None:
    """Until the device has done what it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_rate(device: torch.device, dtype: torch.dtype, n: int) -> float:
    """FLOP per second of products of square matrices, `n` a side.

    A GPU needs 8192 to show its rate. CPUs that only emulate bfloat16 take minutes for that.
    """
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    return 2 * n**3 / seconds(lambda i: a @ b, device, 10)


def machine(device: torch.device) -> str:
    """What it ran on, when, and at which commit."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    name = f"{torch.get_num_threads()} threads, {platform.machine()}"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    cores = len(os.sched_getaffinity(0))
    return (
        f"{name}, {cores} cores, torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}, "
        f"commit {commit}"
    )
