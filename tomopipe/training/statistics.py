"""Sufficient statistics of the linear model: for each particle, what its images say of each voxel.

With fixed poses the likelihood of any volume V given a particle's images depends on the images only
through two numbers per Fourier voxel,

    power_pv = sum b / tau^2          signal_pv = sum a y / tau^2     (complex),

summed over the coefficients that fall into the voxel (a, b: `Batch.back_projection`, tau^2: noise
variance of a real component in the coefficient's shell). Both are sparse (particle x voxel) and
never change, so that a round of expectation maximisation is a few sparse-dense products,
whatever the number of tilts: log p(y | V) = sum_v Re(conj(V_v) signal_pv) - power_pv |V_v|^2 / 2.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.dataset.store import Store
from tomopipe.physics.grid import FourierGrid
from tomopipe.reconstruct.backproject import chunks

_BYTES_PER_COEFFICIENT = 64


@dataclass(frozen=True)
class Chunk:
    """Statistics of P particles as sparse matrices `(P, n)` and their transposes `(n, P)`.

    Attributes
    ----------
    particles
        `(P,)` positions in the store view.
    power, real, imaginary
        power_pv and the two parts of signal_pv.
    energy, count
        `(P,)` sum of |y|^2 / tau^2 of the whitened coefficients, and twice their number.
    """

    particles: NDArray[np.integer]
    power: Tensor
    real: Tensor
    imaginary: Tensor
    power_t: Tensor
    real_t: Tensor
    imaginary_t: Tensor
    energy: Tensor
    count: Tensor


class Statistics:
    """All chunks of a store, kept in memory where they fit, else built anew in every pass."""

    def __init__(
        self,
        store: Store,
        grid: FourierGrid,
        noise: Tensor,
        *,
        memory_gb: float,
        device: torch.device | str,
    ) -> None:
        self.store, self.grid, self.noise, self.device = store, grid, noise, device
        self._parts = chunks(store, np.arange(store.n_particles))
        needed = float(store.counts.sum()) * _BYTES_PER_COEFFICIENT / 1e9
        self._kept: list[Chunk] | None = list(self._build()) if needed <= memory_gb else None

    def __iter__(self) -> Iterator[Chunk]:
        """Chunks in the store's order."""
        return iter(self._kept) if self._kept is not None else self._build()

    def sums(self) -> Tensor:
        """`gridded_sums` of these statistics, `(n, 3)`."""
        total = torch.zeros(self.grid.n, 3, device=self.device)
        for chunk in self:
            ones = torch.ones(len(chunk.particles), 1, device=self.device)
            parts = (chunk.power_t, chunk.real_t, chunk.imaginary_t)
            total += torch.cat([part @ ones for part in parts], 1)
        return total

    def _build(self) -> Iterator[Chunk]:
        for part in self._parts:
            yield make_chunk(
                self.store.batch(part, device=self.device), part, self.grid, self.noise
            )


@dataclass(frozen=True)
class _Whitened:
    """Coefficients that fall on the grid, `(C,)` each: voxel, particle, and their three sums.

    `values` `(C, 3)` is b and a y (real, imaginary), `energy` |y|^2, all over the noise variance.
    """

    voxel: Tensor
    particle: Tensor
    values: Tensor
    energy: Tensor


def _whitened(batch: Batch, grid: FourierGrid, noise: Tensor) -> _Whitened:
    """What a batch adds to the statistics; `noise` `(box / 2 + 1,)` is tau^2 per shell."""
    batch = batch.where(batch.kept)
    a, b = batch.back_projection()
    voxel, mirrored = grid.nearest(batch.points())
    inside = voxel >= 0
    y = batch.data
    y = torch.stack([y[:, 0], torch.where(mirrored, -y[:, 1], y[:, 1])], 1)
    precision = 1 / noise.to(y)[_image_shell(batch)]
    values = torch.stack([b, a * y[:, 0], a * y[:, 1]], 1) * precision[:, None]
    energy = (y**2).sum(1) * batch.noise_precision() * precision
    owner = batch.coefficient_particle()
    return _Whitened(voxel[inside], owner[inside], values[inside], energy[inside])


def gridded_sums(
    store: Store, grid: FourierGrid, noise: Tensor, *, device: torch.device | str = "cpu"
) -> Tensor:
    """Power and signal (real, imaginary) of all particles together on the voxels, `(n, 3)`."""
    total = torch.zeros(grid.n, 3, device=device)
    for part in chunks(store, np.arange(store.n_particles)):
        white = _whitened(store.batch(part, device=device), grid, noise)
        total.index_add_(0, white.voxel, white.values)
    return total


def make_chunk(
    batch: Batch, particles: NDArray[np.integer], grid: FourierGrid, noise: Tensor
) -> Chunk:
    """Statistics of the particles of a batch; `noise` `(box / 2 + 1,)` is tau^2 per shell."""
    white, n_particles = _whitened(batch, grid, noise), batch.n_particles
    energy = white.energy.new_zeros(n_particles).index_add_(0, white.particle, white.energy)
    key = white.particle * grid.n + white.voxel
    unique, inverse = torch.unique(key, return_inverse=True)
    summed = white.values.new_zeros(len(unique), 3).index_add_(0, inverse, white.values)
    rows, columns = unique // grid.n, unique % grid.n
    forward = [_csr(rows, columns, v, (n_particles, grid.n)) for v in summed.unbind(1)]
    order = torch.argsort(columns, stable=True)
    backward = [
        _csr(columns[order], rows[order], v[order], (grid.n, n_particles)) for v in summed.unbind(1)
    ]
    count = 2 * torch.bincount(white.particle, minlength=n_particles).to(energy)
    power, real, imaginary = forward
    power_t, real_t, imaginary_t = backward
    return Chunk(particles, power, real, imaginary, power_t, real_t, imaginary_t, energy, count)


def noise_per_shell(
    store: Store,
    grid: FourierGrid,
    mean: Tensor | None,
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Noise variance tau^2 of a real component per image shell 0 … box / 2.

    It is the residual power after the mean volume's slices (`mean` `(n,)` on the grid; None: the
    images' own power), which is what a shell's noise looks like where signal is weak.
    """
    length = store.box // 2 + 1
    total = torch.zeros(length, device=device)
    count = torch.zeros(length, device=device)
    for part in chunks(store, np.arange(store.n_particles)):
        batch = store.batch(part, device=device)
        batch = batch.where(batch.kept)
        residual = torch.view_as_complex(batch.data)
        if mean is not None:
            voxel, mirrored = grid.nearest(batch.points())
            value = mean[voxel.clamp(min=0)] * (voxel >= 0)
            value = torch.where(mirrored, value.conj(), value)
            residual = residual - batch.ctf * batch.damage * value
        shell = _image_shell(batch)
        precision = batch.noise_precision()
        total.index_add_(0, shell, residual.abs() ** 2 * precision)
        count.index_add_(0, shell, (precision > 0).to(precision))
    value = total / count.clamp(min=1) / 2
    seen = value[count > 0]
    # shells nobody saw (DC, beyond the dose mask) get a middle level
    value[count == 0] = seen.median()
    return value.clamp(min=1e-6 * seen.max().item())


def _image_shell(batch: Batch) -> Tensor:
    """Shell 0 … box / 2 of each coefficient in its image's plane."""
    radius: Tensor = torch.linalg.vector_norm(batch.lattice.double(), dim=-1)
    return radius.round().long()[batch.coefficient_lattice]


def _csr(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """CSR matrix of entries sorted by row."""
    start = torch.zeros(shape[0] + 1, dtype=torch.int64, device=rows.device)
    start[1:] = torch.bincount(rows, minlength=shape[0]).cumsum(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            start, columns, values.contiguous(), size=shape, check_invariants=False
        )
