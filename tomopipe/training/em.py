"""Expectation maximisation of the linear model V = mean + sum_k z_k component_k, z ~ N(0, 1).

Probabilistic principal components of the volume with poses fixed: the tilt-series relative of 3DVA
(Punjani & Fleet 2021) and RECOVAR (Gilles & Singer 2024). Every tilt a particle has counts, so
uneven tilts cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tomopipe.physics.grid import FourierGrid
from tomopipe.training.distributed import Group
from tomopipe.training.statistics import Statistics

_MEAN_PRIOR = 10.0  # prior variance of the mean, in units of its own power: hardly shrunk
_BLOCK = 1 << 14  # voxels worked on at once: what stays in the processor's cache


@dataclass
class Latents:
    """Posterior of this process's particles.

    Means `(N, K)`, covariances `(N, K, K)`, errors `(N,)`. An error is the residual over the
    expected noise: 1 where the model explains a particle.
    """

    mean: Tensor
    covariance: Tensor
    error: Tensor

    def fields(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means, covariances and errors."""
        return self.mean, self.covariance, self.error


def mean_volume(sums: Tensor, grid: FourierGrid, mask: Tensor) -> Tensor:
    """Mean volume on the grid's voxels `(n,)` inside `mask`: signal over power, lightly damped.

    `sums` `(n, 3)` are power and signal of all particles together.
    """
    power, signal = sums[:, 0], torch.view_as_complex(sums[:, 1:].contiguous())
    value = signal / (power + 0.01 * power.mean())
    return grid.to_fourier(grid.to_real(value[:, None]) * mask)[:, 0]


def ridge(grid: FourierGrid, mean: Tensor, prior: float, components: int) -> Tensor:
    """Prior precision of mean and components per voxel, `(n, K + 1)`.

    It follows the mean's power per shell. A prior from the components' own power would collapse
    weak components to nothing (RESEARCH §2). The grid has padding^3 voxels for each degree of
    freedom of the box, which share one prior.
    """
    power = grid.shell_mean(mean.abs() ** 2 / 2)
    power = power.clamp(min=1e-6 * float(power.max()))[grid.shell.clamp(max=grid.box // 2)]
    share = 1 / (power * grid.padding**3)
    own = (share / prior)[:, None].expand(-1, components)
    return torch.cat([share[:, None] / _MEAN_PRIOR, own], 1)


def maximise(
    statistics: Statistics,
    latents: Latents,
    precision: Tensor,
    mask: Tensor,
    shrink: Callable[[Tensor], Tensor] | None = None,
    chosen: Tensor | None = None,
) -> Tensor:
    """M-step: mean and components on the voxels, `(n, K + 1)` complex, inside `mask`.

    `shrink` is applied to the real components `(K, box, box, box)`; `chosen` `(N,)` tells which of
    the particles take part (all by default). The sums over particles are
    those of all processes, so that every process gets the same volumes.
    """
    grid, k = statistics.grid, latents.mean.shape[1]
    upper = torch.triu_indices(k + 1, k + 1, device=latents.mean.device)
    left = latents.mean.new_zeros(grid.n, upper.shape[1])
    right = latents.mean.new_zeros(2, grid.n, k + 1)
    for chunk in statistics:
        index = torch.as_tensor(chunk.particles, device=latents.mean.device)
        z = torch.cat([torch.ones_like(latents.mean[index, :1]), latents.mean[index]], 1)
        moment = z[:, :, None] * z[:, None]
        moment[:, 1:, 1:] += latents.covariance[index]
        if chosen is not None:
            part = chosen[index].to(z)
            z, moment = z * part[:, None], moment * part[:, None, None]
        left.addmm_(chunk.power_t, moment[:, upper[0], upper[1]].contiguous())
        right[0].addmm_(chunk.real_t, z)
        right[1].addmm_(chunk.imaginary_t, z)
    left = statistics.group.sum(left).mul_(statistics.weight[:, None])
    right = statistics.group.sum(right).mul_(statistics.weight[:, None]).movedim(0, 2)
    solved = torch.cat([_solve(left[b], right[b], precision[b]) for b in _blocks(grid.n)])
    volumes = grid.to_real(torch.view_as_complex(solved)) * mask
    if shrink is not None:
        volumes[1:] = shrink(volumes[1:])
    return grid.to_fourier(volumes)


def _blocks(n: int) -> list[slice]:
    return [slice(i, i + _BLOCK) for i in range(0, n, _BLOCK)]


def _solve(left: Tensor, right: Tensor, precision: Tensor) -> Tensor:
    """Symmetric `(v, K + 1, K + 1)` systems from their upper triangles, row by row, and a diagonal.

    Gauss's elimination, every step for all voxels at once: several times faster than a library
    call for each of so many small systems. A positive definite matrix needs no pivoting.
    """
    k = right.shape[1]
    a = left.new_zeros(k, k, len(left))  # its lower triangle is never read
    for i, row in enumerate(torch.split(left.T, list(range(k, 0, -1)))):
        a[i, i:] = row
    a.diagonal().add_(precision)
    b = right.permute(1, 2, 0).contiguous()
    for i in range(k):
        factor = a[i, i + 1 :] / a[i, i]
        a[i + 1 :, i + 1 :].addcmul_(factor[:, None], a[i, None, i + 1 :], value=-1)
        b[i + 1 :].addcmul_(factor[:, None], b[i, None], value=-1)
    for i in reversed(range(k)):
        b[i] /= a[i, i]
        b[:i].addcmul_(a[:i, i, None], b[i, None], value=-1)
    return b.permute(2, 0, 1).contiguous()


def expect(statistics: Statistics, model: Tensor) -> Latents:
    """E-step: posterior of this process's particles under mean and components `(n, K + 1)`."""
    k, n = model.shape[1] - 1, statistics.store.n_particles
    upper = torch.triu_indices(k, k, device=model.device)
    # one product each for power, real and imaginary part: entries are read once
    weight = statistics.weight[:, None]
    quadratic = torch.cat([_quadratic(model[b], upper) for b in _blocks(len(model))]).mul_(weight)
    linear = torch.cat([model[:, 1:], model[:, :1]], 1) * weight
    real, imaginary = linear.real.contiguous(), linear.imag.contiguous()
    out = Latents(real.new_zeros(n, k), real.new_zeros(n, k, k), real.new_zeros(n))
    for chunk in statistics:
        index = torch.as_tensor(chunk.particles, device=model.device)
        products = chunk.power @ quadratic
        products, across, size = torch.split(products, [upper.shape[1], k, 1], 1)
        curvature = products.new_zeros(len(index), k, k)
        curvature[:, upper[0], upper[1]] = products
        curvature[:, upper[1], upper[0]] = products
        fit = chunk.real @ real + chunk.imaginary @ imaginary
        rhs = fit[:, :k] - across
        covariance = torch.linalg.inv(curvature + torch.eye(k, device=model.device))
        z = (covariance @ rhs[:, :, None])[:, :, 0]
        explained = 2 * fit[:, k] - size[:, 0]
        bent = (z[:, None] @ curvature @ z[:, :, None])[:, 0, 0]
        explained = explained + 2 * (rhs * z).sum(1) - bent
        out.mean[index], out.covariance[index] = z, covariance
        energy, count = statistics.energy[index], statistics.count[index]
        out.error[index] = (energy - explained) / count.clamp(min=1)
    return out


def _quadratic(model: Tensor, upper: Tensor) -> Tensor:
    """Products of volumes on v voxels, `(v, K (K + 1) / 2 + K + 1)`.

    Of components with each other (upper triangle), of the mean with components, and with itself.
    """
    re, im = model.real.T.contiguous(), model.imag.T.contiguous()
    ur, ui = re[1:], im[1:]
    gram = ur[upper[0]] * ur[upper[1]] + ui[upper[0]] * ui[upper[1]]
    cross = re[:1] * re + im[:1] * im
    return torch.cat([gram, cross[1:], cross[:1]]).T.contiguous()


def standardise(
    model: Tensor, latents: Latents, group: Group | None = None
) -> tuple[Tensor, Latents]:
    """Turn model and latents so that the latents have mean 0 and covariance 1 (no change of V).

    This parameter expansion makes expectation maximisation converge in a few rounds instead of
    dozens. Mean and covariance are those of all processes of the group.
    """
    group = group or Group()
    count = float(group.each(len(latents.mean), latents.mean.device).sum())
    centre = group.sum(latents.mean.sum(0)) / count
    rest = latents.mean - centre
    spread = group.sum(latents.covariance.sum(0) + rest.T @ rest) / count
    root = torch.linalg.cholesky(spread)
    inverse = torch.linalg.inv(root)
    u = model[:, 1:]
    mean = model[:, :1] + u @ centre.to(u.dtype)[:, None]
    turned = torch.cat([mean, u @ root.to(u.dtype)], 1)
    return turned, Latents(
        rest @ inverse.T, inverse @ latents.covariance @ inverse.T, latents.error
    )


def orthogonalise(volumes: Tensor, latents: Latents) -> tuple[Tensor, Latents, Tensor]:
    """Turn components `(K, n, n, n)` into orthogonal ones, the strongest first.

    Latents stay standardised. The sign is fixed by the component's largest voxel being positive.

    Returns
    -------
    components, latents, eigenvalues
        Eigenvalues `(K,)` are the components' squared norms: variances of the volume.
    """
    k = len(volumes)
    flat = volumes.reshape(k, -1).double()
    values, axes = torch.linalg.eigh(flat @ flat.T)
    values, axes = values.flip(0), axes.flip(1)
    turned = axes.T @ flat
    largest = turned[torch.arange(k), turned.abs().argmax(1)]
    sign = torch.where(largest < 0, -1.0, 1.0)  # 1 for a component that was shrunk to nothing
    axes = (axes * sign).to(volumes.dtype)
    components = (axes.T @ volumes.reshape(k, -1)).reshape(volumes.shape)
    turned_latents = Latents(latents.mean @ axes, axes.T @ latents.covariance @ axes, latents.error)
    return components, turned_latents, values.clamp(min=0)
