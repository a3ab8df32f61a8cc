"""Weighted back-projection of any particles of a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.dataset.reader import Reader
from tomopipe.dataset.store import Store
from tomopipe.io.progress import Progress
from tomopipe.physics.fourier import frequencies, gridding_envelope, ifft3c
from tomopipe.physics.fsc import shell_sum
from tomopipe.reconstruct.spread import empty_grid, mates, spread

PADDING = 2
_CHUNK_COEFFICIENTS = 1_000_000
_THREAD_BYTES = 6 << 30  # for the sums of all threads together


@dataclass(frozen=True)
class Sums:
    """Sums of a back-projection on a padded Fourier grid.

    Attributes
    ----------
    numerator
        `(m, m, m)` complex, CTF-weighted data.
    denominator
        `(m, m, m)`, CTF^2 weights.
    box
        Box in pixels; m = 2 box.
    """

    numerator: Tensor
    denominator: Tensor
    box: int

    def __add__(self, other: Sums) -> Sums:
        """Sums of both groups of particles."""
        return Sums(
            self.numerator + other.numerator, self.denominator + other.denominator, self.box
        )

    def mean_weights(self) -> Tensor:
        """Mean weight of each shell of the padded grid, `(m/2 - 1,)` for shells 1 …, on the CPU."""
        m = self.denominator.shape[-1]
        return shell_sum(self.denominator.cpu()) / shell_sum(torch.ones(m, m, m))

    def volume(self, prior: Tensor | None = None, *, floor_by_shell: bool = False) -> Tensor:
        """Real-space `(box, box, box)` map: numerator / (denominator + prior).

        `prior` `(box // 2 + 1,)` is the Wiener term per shell (1 / signal power, noise in units of
        the data); without it a thousandth of the mean weight keeps empty voxels at zero, with
        `floor_by_shell` of the mean in their shell: weights may differ by orders between shells.
        """
        m = self.numerator.shape[-1]
        shell = (frequencies(m, 3, self.numerator.device) / PADDING).round().long()
        inside = shell <= self.box // 2 - 1
        if floor_by_shell:
            mean = self.mean_weights()
            fine = frequencies(m, 3, self.numerator.device).round().long().clamp(max=m // 2)
            term = 1e-3 * torch.cat([mean[:1], mean, mean[-1:]]).to(self.denominator)[fine]
        else:
            floor = 1e-3 * self.denominator[inside].mean()
            term = torch.full_like(self.denominator, float(floor))
        if prior is not None:
            term = term + prior.to(term)[shell.clamp(max=self.box // 2)]
        # without any particle all is 0
        transform = self.numerator / (self.denominator + term).clamp(min=1e-30) * inside
        volume = ifft3c(transform).real
        lo = m // 2 - self.box // 2
        s = slice(lo, lo + self.box)
        # trilinear spreading multiplied the map by sinc^2, which is divided out
        return volume[s, s, s] / gridding_envelope(self.box, m, 2).to(volume)


def accumulate(
    store: Store,
    particles: Sequence[int] | NDArray[np.integer],
    *,
    operators: Tensor | None = None,
    undamped: bool = False,
    device: torch.device | str = "cpu",
    reader: Store | Reader | None = None,
    progress: Progress | None = None,
) -> Sums:
    """Back-project `particles` (positions in the view), in batches of bounded size.

    On a CPU every thread sums batches of its own, as many threads as torch uses and memory allows.

    Parameters
    ----------
    store, particles
        What goes in.
    operators
        `(g, 3, 3)` rotations of a symmetry group: every image is put into the sums once for each.
    undamped
        Make up for what the signal has lost (`Batch.back_projection`) instead of counting weak
        images less (`Batch.map_weights`).
    device
        Where the sums are.
    reader
        From `open_on(store, device)`, for many groups of particles of one store.
    progress
        Told of every particle.
    """
    m = PADDING * store.box
    parts = chunks(store, np.asarray(particles, dtype=np.int64))
    threads = torch.get_num_threads()
    workers = _workers(len(parts), m, device)
    source = open_on(store, device) if reader is None else reader

    def share(first: int) -> Tensor:
        if workers > 1:
            torch.set_num_threads(1)  # of this thread; the others have batches of their own
        total, fresh = empty_grid(m, 3, device), empty_grid(m, 3, device)
        for part in parts[first::workers]:
            # each batch by itself first: small terms would be lost beside a sum of millions
            batch = source.batch(part, inside=True)
            add_batch(batch, fresh.zero_(), m, operators, undamped=undamped)
            total += fresh
            if progress is not None:
                progress.advance(len(part))
        return total

    if workers <= 1:
        total = share(0)
    else:
        source.batch(parts[0][:1])  # what it keeps for later is made once, before the threads
        try:
            with ThreadPoolExecutor(workers) as pool:
                total, *rest = pool.map(share, range(workers))
        finally:
            torch.set_num_threads(threads)
        for other in rest:
            total += other
    return completed(total, store.box)


def _workers(n_parts: int, m: int, device: torch.device | str) -> int:
    """How many threads have a grid of their own."""
    if torch.device(device).type != "cpu":
        return 1
    return max(1, min(n_parts, torch.get_num_threads(), _THREAD_BYTES // (24 * m**3)))


def completed(total: Tensor, box: int) -> Sums:
    """Sums of a grid `(3, ...)` of data and weights, with their Friedel mates."""
    m = PADDING * box
    total = total[:, : m**3].reshape(3, m, m, m)
    total = total + mates(total) * total.new_tensor([1.0, -1.0, 1.0])[:, None, None, None]
    return Sums(torch.complex(total[0], total[1]), total[2].clone(), box)


def add_batch(
    batch: Batch, grid: Tensor, m: int, operators: Tensor | None, *, undamped: bool = False
) -> None:
    """Spread data (real, imaginary) and weights of a batch on the padded grid."""
    a, b = batch.back_projection() if undamped else batch.map_weights()
    values = [batch.data[:, 0] * a, batch.data[:, 1] * a, b]
    points = batch.points()
    if operators is None:
        spread(points, values, grid, m)
        return
    for operator in operators.to(points):
        # a volume with this symmetry has the same transform there
        spread(points @ operator, values, grid, m)


def chunks(
    store: Store, particles: NDArray[np.integer], coefficients: int = _CHUNK_COEFFICIENTS
) -> list[NDArray[np.integer]]:
    """`particles` in runs of at most `coefficients` stored coefficients (at least one particle)."""
    per_image = np.concatenate([[0], np.cumsum(store.counts)])
    size = per_image[store.image_start[particles + 1]] - per_image[store.image_start[particles]]
    group = np.cumsum(size) // coefficients
    return np.split(particles, np.flatnonzero(np.diff(group)) + 1) if len(particles) else []


def open_on(store: Store, device: torch.device | str) -> Store | Reader:
    """What makes batches of the store on a device."""
    return store if torch.device(device).type == "cpu" else Reader(store, device)


def batches(
    store: Store, particles: NDArray[np.integer], reader: Store | Reader
) -> Iterator[Batch]:
    """All coefficients of `particles` inside the dose mask, in batches of bounded size."""
    for part in chunks(store, particles):
        yield reader.batch(part, inside=True)
