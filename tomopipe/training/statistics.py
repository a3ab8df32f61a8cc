"""Sufficient statistics of the linear model: for each particle, what its images say of each voxel.

With fixed poses the likelihood of any volume V given a particle's images depends on the images only
through two numbers per Fourier voxel,

    power_pv = sum b          signal_pv = sum a y     (complex),

summed over the coefficients that fall into the voxel (a, b: `Batch.back_projection`). Both are
sparse (particle x voxel) and never change, so that a round of expectation maximisation is a few
sparse-dense products, whatever the number of tilts:

    log p(y | V) = sum_v (Re(conj(V_v) signal_pv) - power_pv |V_v|^2 / 2) / tau_v^2,

with tau^2 the noise variance of a real component in the voxel's shell. It stands outside of the
sums, so that one pass over the images gives them, and the noise follows from them.

What does not fit into memory exactly (16 bytes a coefficient) is packed (8 bytes), and what does
not fit packed either lies in a scratch file and is read in every pass.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.dataset.reader import Reader
from tomopipe.dataset.store import Store
from tomopipe.physics.grid import FourierGrid
from tomopipe.reconstruct.backproject import batches, chunks, open_on
from tomopipe.training.distributed import Group
from tomopipe.training.sparse import Entries, Spill, Transposed, memory_budget

_EXACT_BYTES, _PACKED_BYTES = 16, 8  # a coefficient; and 4 bytes a voxel in every chunk
_SMALLEST, _LARGEST = 2_000_000, 8_000_000  # coefficients of a chunk


@dataclass(frozen=True)
class Chunk:
    """Statistics of P particles.

    Attributes
    ----------
    particles
        `(P,)` positions in the store view.
    entries
        Sparse matrices voxel x particle `(n, P)`: power_pv and the two parts of signal_pv.
    """

    particles: NDArray[np.integer]
    entries: Entries

    @property
    def power(self) -> Transposed:
        """power_pv as the left side of products with `(n, k)`."""
        return self.entries.transposed(0)

    @property
    def real(self) -> Transposed:
        """Re signal_pv as the left side of products with `(n, k)`."""
        return self.entries.transposed(1)

    @property
    def imaginary(self) -> Transposed:
        """Im signal_pv as the left side of products with `(n, k)`."""
        return self.entries.transposed(2)

    @property
    def power_t(self) -> Tensor:
        """power_pv as a sparse `(n, P)` tensor."""
        return self.entries.matrix(0)

    @property
    def real_t(self) -> Tensor:
        """Re signal_pv as a sparse `(n, P)` tensor."""
        return self.entries.matrix(1)

    @property
    def imaginary_t(self) -> Tensor:
        """Im signal_pv as a sparse `(n, P)` tensor."""
        return self.entries.matrix(2)


class Statistics:
    """All chunks of a store: in memory exactly, packed, or packed on disk, as they fit.

    The noise variance is 1 everywhere until `whiten` says otherwise.

    Parameters
    ----------
    store
        This process's particles.
    grid
        Voxels.
    memory_gb
        What may be kept in memory of the device (None: `memory_budget`).
    device
        Where products are made.
    group
        The processes that hold the other particles; `sums`, `noise_per_shell` and the M-step add up
        over them.
    scratch
        Folder for what does not fit (by default the system's temporary folder).

    Attributes
    ----------
    weight
        `(n,)` 1 / tau^2 of each voxel.
    energy, count
        `(N,)` sum of |y|^2 / tau^2 of each particle's coefficients, and twice their number.

    Raises
    ------
    StateError
        If statistics fit neither into memory nor into `scratch`.
    """

    def __init__(
        self,
        store: Store,
        grid: FourierGrid,
        *,
        memory_gb: float | None,
        device: torch.device | str,
        group: Group | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.store, self.grid, self.device = store, grid, device
        self.group = group or Group()
        self.shell = grid.shell.clamp(max=grid.box // 2)
        size = min(max(_SMALLEST, 4 * grid.n), _LARGEST)
        self._sets = chunks(store, np.arange(store.n_particles), size)
        budget = memory_budget(memory_gb, device)
        self.packed = self.bytes(_EXACT_BYTES) > budget
        self._spill = None
        if self.bytes(_PACKED_BYTES) > budget:
            self._spill = Spill(scratch or Path(tempfile.gettempdir()), self.bytes(_PACKED_BYTES))
        shape = (store.n_particles, grid.box // 2 + 1)
        self._energy, self._counts = torch.zeros(2, *shape, device=device)
        own = torch.zeros(grid.n, 3, device=device)
        reader = open_on(store, device)
        self._kept = [self._keep(self._chunk(particles, reader), own) for particles in self._sets]
        self._sums = self.group.sum(own)
        self.count = 2 * self._counts.sum(1)
        self.whiten(torch.ones(shape[1], device=device))

    @property
    def spilled(self) -> bool:
        """Whether statistics lie on disk."""
        return self._spill is not None

    def __iter__(self) -> Iterator[Chunk]:
        """Chunks in the store's order, ready for products."""
        for number, chunk in enumerate(self._kept):
            entries = chunk.entries if self._spill is None else self._spill.read(number)
            yield replace(chunk, entries=entries.opened(self.device))

    def whiten(self, noise: Tensor) -> None:
        """Set the noise variance of a real component, `(box / 2 + 1,)` per shell."""
        self.noise = noise
        self.weight = (1 / noise)[self.shell]
        self.energy = self._energy @ (1 / noise)

    def sums(self) -> Tensor:
        """Power and signal (real, imaginary) over tau^2 of all particles together, `(n, 3)`."""
        return self._sums * self.weight[:, None]

    def noise_per_shell(self, mean: Tensor | None = None) -> Tensor:
        """Noise variance tau^2 of a real component per shell 0 … box / 2.

        It is the residual power after the mean volume's slices (`mean` `(n,)` on the voxels; None:
        the images' own power), which is what a shell's noise looks like where signal is weak.
        """
        own = torch.stack([t.sum(0, dtype=torch.float64) for t in (self._energy, self._counts)])
        power, count = self.group.sum(own)
        if mean is not None:
            v, sums = torch.view_as_real(mean).double(), self._sums.double()
            removed = 2 * (sums[:, 1:] * v).sum(1) - sums[:, 0] * v.square().sum(1)
            power = power.index_add(0, self.shell, -removed)
        return noise_variance(power, count)

    def bytes(self, per_coefficient: int) -> float:
        """Size of all chunks at so many bytes an entry, with where each voxel's begin."""
        voxels = 4.0 * self.grid.n * len(self._sets)
        return per_coefficient * float(self.store.kept_counts.sum()) + voxels

    def _chunk(self, particles: NDArray[np.integer], reader: Store | Reader) -> Chunk:
        """Statistics of consecutive `particles`; sets their energies and counts."""
        parts = []
        for batch in batches(self.store, particles, reader):
            part = _gridded(batch, self.grid, self.shell)
            self._energy[batch.particles], self._counts[batch.particles] = part.energy, part.count
            parts.append(part)
        offsets = np.cumsum([0, *(len(part.energy) for part in parts)])
        column = torch.cat([p.particle + int(o) for p, o in zip(parts, offsets, strict=False)])
        entries = Entries.of(
            torch.cat([p.voxel for p in parts]).long(),
            column,
            torch.cat([p.values for p in parts]),
            (self.grid.n, len(particles)),
        )
        return Chunk(particles, entries)

    def _keep(self, chunk: Chunk, total: Tensor) -> Chunk:
        """A chunk as it is kept: exact, packed, or without its entries; adds to the `total`."""
        ones = torch.ones(len(chunk.particles), 1, device=self.device)
        parts = (chunk.power_t, chunk.real_t, chunk.imaginary_t)
        total += torch.cat([part @ ones for part in parts], 1)
        if self.packed:
            chunk = replace(chunk, entries=chunk.entries.packed())
        if self._spill is None:
            return chunk
        self._spill.append(chunk.entries)
        return replace(chunk, entries=Entries.nothing())


def noise_variance(power: Tensor, count: Tensor) -> Tensor:
    """Variance of a real component per shell from summed |residual|^2 and its number of terms."""
    value: Tensor = (power / count.clamp(min=1) / 2).float()
    known = value[count > 0]
    # shells nobody saw (DC, beyond the dose mask) get a middle level
    value[count == 0] = known.median()
    return value.clamp(min=1e-6 * known.max().item())


@dataclass(frozen=True)
class _Gridded:
    """What the P particles of a batch add to the statistics.

    Of the C coefficients that fall on the grid: `voxel` and `particle` (0 … P-1), int32, and
    `values` `(C, 3)`, b and a y (real, imaginary). Of the particles `(P, box / 2 + 1)`: `energy`,
    the sum of |y|^2 in each shell in units of the noise's shape, and the `count` of coefficients.
    """

    voxel: Tensor
    particle: Tensor
    values: Tensor
    energy: Tensor
    count: Tensor


def _gridded(batch: Batch, grid: FourierGrid, shell: Tensor) -> _Gridded:
    """What a batch adds; `shell` `(n,)` of the voxels."""
    a, b = batch.back_projection()
    voxel, mirrored = grid.nearest(batch.points())
    y = batch.data
    y = torch.stack([y[:, 0], torch.where(mirrored, -y[:, 1], y[:, 1])], 1)
    values = torch.cat([b[:, None], a[:, None] * y], 1)
    precision = batch.noise_precision()
    # a prefilter that left nothing says nothing
    inside = (voxel >= 0) & (precision > 0)
    voxel, owner = voxel[inside], batch.coefficient_particle()[inside]
    length = grid.box // 2 + 1
    place = owner * length + shell[voxel]
    square = (y.square().sum(1) * precision)[inside]
    energy = square.new_zeros(batch.n_particles * length).index_add_(0, place, square)
    count = torch.bincount(place, minlength=len(energy)).to(energy)
    return _Gridded(
        voxel.int(), owner.int(), values[inside], energy.view(-1, length), count.view(-1, length)
    )
