"""Sufficient statistics of the linear model: for each particle, what its images say of each voxel.

With fixed poses the likelihood of any volume V given a particle's images depends on the images only
through two numbers per Fourier voxel,

    power_pv = sum b / tau^2          signal_pv = sum a y / tau^2     (complex),

summed over the coefficients that fall into the voxel (a, b: `Batch.back_projection`, tau^2: noise
variance of a real component in the coefficient's shell). Both are sparse (particle x voxel) and
never change, so that a round of expectation maximisation is a few sparse-dense products,
whatever the number of tilts: log p(y | V) = sum_v Re(conj(V_v) signal_pv) - power_pv |V_v|^2 / 2.

They are made once. What does not fit into memory exactly (16 bytes a coefficient) is packed (8
bytes), and what does not fit packed either lies in a scratch file and is read in every pass.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.dataset.store import Store
from tomopipe.physics.grid import FourierGrid
from tomopipe.reconstruct.backproject import batches, chunks
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
    energy, count
        `(P,)` sum of |y|^2 / tau^2 of the whitened coefficients, and twice their number.
    """

    particles: NDArray[np.integer]
    entries: Entries
    energy: Tensor
    count: Tensor

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

    Parameters
    ----------
    store
        This process's particles.
    grid, noise
        Voxels; `(box / 2 + 1,)` noise variance tau^2 per shell.
    memory_gb
        What may be kept in memory of the device (None: `memory_budget`).
    device
        Where products are made.
    group
        The processes that hold the other particles; `sums` and the M-step add up over them.
    scratch
        Folder for what does not fit (by default the system's temporary folder).

    Raises
    ------
    StateError
        If statistics fit neither into memory nor into `scratch`.
    """

    def __init__(
        self,
        store: Store,
        grid: FourierGrid,
        noise: Tensor,
        *,
        memory_gb: float | None,
        device: torch.device | str,
        group: Group | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.store, self.grid, self.noise, self.device = store, grid, noise, device
        self.group = group or Group()
        size = min(max(_SMALLEST, 4 * grid.n), _LARGEST)
        self._sets = chunks(store, np.arange(store.n_particles), size)
        budget = memory_budget(memory_gb, device)
        self.packed = self.bytes(_EXACT_BYTES) > budget
        self._spill = None
        if self.bytes(_PACKED_BYTES) > budget:
            self._spill = Spill(scratch or Path(tempfile.gettempdir()), self.bytes(_PACKED_BYTES))
        self._kept = [self._keep(chunk) for chunk in self._build()]

    @property
    def spilled(self) -> bool:
        """Whether statistics lie on disk."""
        return self._spill is not None

    def __iter__(self) -> Iterator[Chunk]:
        """Chunks in the store's order, ready for products."""
        for number, chunk in enumerate(self._kept):
            entries = chunk.entries if self._spill is None else self._spill.read(number)
            yield replace(chunk, entries=entries.opened(self.device))

    def sums(self) -> Tensor:
        """`gridded_sums` of these statistics, `(n, 3)`."""
        total = torch.zeros(self.grid.n, 3, device=self.device)
        for chunk in self:
            ones = torch.ones(len(chunk.particles), 1, device=self.device)
            parts = (chunk.power_t, chunk.real_t, chunk.imaginary_t)
            total += torch.cat([part @ ones for part in parts], 1)
        return self.group.sum(total)

    def bytes(self, per_coefficient: int) -> float:
        """Size of all chunks at so many bytes an entry, with where each voxel's begin."""
        voxels = 4.0 * self.grid.n * len(self._sets)
        return per_coefficient * float(self.store.kept_counts.sum()) + voxels

    def _build(self) -> Iterator[Chunk]:
        for particles in self._sets:
            parts = [
                _whitened(batch, self.grid, self.noise)
                for batch in batches(self.store, particles, self.device)
            ]
            yield _chunk(parts, particles, self.grid)

    def _keep(self, chunk: Chunk) -> Chunk:
        """A chunk as it is kept: exact, packed, or only what is small."""
        if self.packed:
            chunk = replace(chunk, entries=chunk.entries.packed())
        if self._spill is None:
            return chunk
        self._spill.append(chunk.entries)
        return replace(chunk, entries=Entries.nothing())


@dataclass(frozen=True)
class _Whitened:
    """What the P particles of a batch add to the statistics.

    Of the C coefficients that fall on the grid: `voxel` and `particle` (0 … P-1), int32, and
    `values` `(C, 3)`, b and a y (real, imaginary) over the noise variance. Of the particles:
    `energy` and `count` as in `Chunk`.
    """

    voxel: Tensor
    particle: Tensor
    values: Tensor
    energy: Tensor
    count: Tensor


def _whitened(batch: Batch, grid: FourierGrid, noise: Tensor) -> _Whitened:
    """What a batch, all inside the dose mask, adds; `noise` `(box / 2 + 1,)`: tau^2 per shell."""
    a, b = batch.back_projection()
    voxel, mirrored = grid.nearest(batch.points())
    inside = voxel >= 0
    y = batch.data
    y = torch.stack([y[:, 0], torch.where(mirrored, -y[:, 1], y[:, 1])], 1)
    precision = 1 / noise.to(y)[image_shell(batch)]
    values = torch.stack([b, a * y[:, 0], a * y[:, 1]], 1) * precision[:, None]
    energy = (y**2).sum(1) * batch.noise_precision() * precision
    owner = batch.coefficient_particle()[inside]
    total = energy.new_zeros(batch.n_particles).index_add_(0, owner, energy[inside])
    count = 2 * torch.bincount(owner, minlength=batch.n_particles).to(energy)
    return _Whitened(voxel[inside].int(), owner.int(), values[inside], total, count)


def gridded_sums(
    store: Store,
    grid: FourierGrid,
    noise: Tensor,
    *,
    device: torch.device | str = "cpu",
    group: Group | None = None,
) -> Tensor:
    """Power and signal (real, imaginary) of all particles together on the voxels, `(n, 3)`."""
    total = torch.zeros(grid.n, 3, device=device)
    for batch in batches(store, np.arange(store.n_particles), device):
        white = _whitened(batch, grid, noise)
        # each batch by itself first: small terms would be lost beside a sum of millions
        total += torch.zeros_like(total).index_add_(0, white.voxel, white.values)
    return (group or Group()).sum(total)


def _chunk(parts: Sequence[_Whitened], particles: NDArray[np.integer], grid: FourierGrid) -> Chunk:
    """Statistics of consecutive batches of `particles` together."""
    offsets = np.cumsum([0, *(len(part.energy) for part in parts)])
    column = torch.cat([p.particle + int(o) for p, o in zip(parts, offsets, strict=False)])
    entries = Entries.of(
        torch.cat([p.voxel for p in parts]).long(),
        column,
        torch.cat([p.values for p in parts]),
        (grid.n, len(particles)),
    )
    energy, count = (torch.cat([getattr(p, f) for p in parts]) for f in ("energy", "count"))
    return Chunk(particles, entries, energy, count)


def noise_per_shell(
    store: Store,
    grid: FourierGrid,
    mean: Tensor | None,
    *,
    device: torch.device | str = "cpu",
    group: Group | None = None,
) -> Tensor:
    """Noise variance tau^2 of a real component per image shell 0 … box / 2.

    It is the residual power after the mean volume's slices (`mean` `(n,)` on the grid; None: the
    images' own power), which is what a shell's noise looks like where signal is weak.
    """
    length = store.box // 2 + 1
    sums = torch.zeros(2, length, dtype=torch.float64, device=device)
    for batch in batches(store, np.arange(store.n_particles), device):
        residual = torch.view_as_complex(batch.data)
        if mean is not None:
            voxel, mirrored = grid.nearest(batch.points())
            seen = mean[voxel.clamp(min=0)] * (voxel >= 0)
            seen = torch.where(mirrored, seen.conj(), seen)
            residual = residual - batch.ctf * batch.damage * seen
        shell = image_shell(batch)
        precision = batch.noise_precision()
        square = residual.abs() ** 2 * precision
        sums[0] += torch.bincount(shell, square.double(), minlength=length)
        sums[1] += torch.bincount(shell, (precision > 0).double(), minlength=length)
    power, count = (group or Group()).sum(sums).float()
    value: Tensor = power / count.clamp(min=1) / 2
    known = value[count > 0]
    # shells nobody saw (DC, beyond the dose mask) get a middle level
    value[count == 0] = known.median()
    return value.clamp(min=1e-6 * known.max().item())


def image_shell(batch: Batch) -> Tensor:
    """Shell 0 … box / 2 of each coefficient in its image's plane."""
    radius: Tensor = torch.linalg.vector_norm(batch.lattice.double(), dim=-1)
    return radius.round().long()[batch.coefficient_lattice]
