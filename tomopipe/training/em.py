"""Expectation maximisation of the linear model V = mean + sum_k z_k component_k, z ~ N(0, 1).

Probabilistic principal components of the volume with poses fixed: the tilt-series relative of 3DVA
(Punjani & Fleet 2021) and RECOVAR (Gilles & Singer 2024). Every tilt a particle has counts, so
uneven tilts cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tomopipe.physics.grid import FourierGrid
from tomopipe.training.statistics import Statistics

_MEAN_PRIOR = 10.0  # prior variance of the mean, in units of its own power: hardly shrunk
_BLOCK = 1 << 17  # voxels solved at once


@dataclass
class Latents:
    """Posterior of all particles: means `(N, K)`, covariances `(N, K, K)`, errors `(N,)`.

    `error` is the residual over the expected noise: 1 where the model explains a particle.
    """

    mean: Tensor
    covariance: Tensor
    error: Tensor


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


def maximise(statistics: Statistics, latents: Latents, precision: Tensor, mask: Tensor) -> Tensor:
    """M-step: mean and components on the voxels, `(n, K + 1)` complex, inside `mask`."""
    grid, k = statistics.grid, latents.mean.shape[1]
    upper = torch.triu_indices(k + 1, k + 1, device=latents.mean.device)
    left = latents.mean.new_zeros(grid.n, upper.shape[1])
    right = latents.mean.new_zeros(grid.n, k + 1, 2)
    for chunk in statistics:
        index = torch.as_tensor(chunk.particles, device=latents.mean.device)
        z = torch.cat([torch.ones_like(latents.mean[index, :1]), latents.mean[index]], 1)
        moment = z[:, :, None] * z[:, None]
        moment[:, 1:, 1:] += latents.covariance[index]
        left += chunk.power_t @ moment[:, upper[0], upper[1]].contiguous()
        right[..., 0] += chunk.real_t @ z
        right[..., 1] += chunk.imaginary_t @ z
    blocks = [slice(i, i + _BLOCK) for i in range(0, grid.n, _BLOCK)]
    solved = torch.cat([_solve(left[b], right[b], precision[b], upper) for b in blocks])
    return grid.to_fourier(grid.to_real(torch.view_as_complex(solved)) * mask)


def _solve(left: Tensor, right: Tensor, precision: Tensor, upper: Tensor) -> Tensor:
    """Symmetric `(v, K + 1, K + 1)` systems from their upper triangles plus a diagonal."""
    k = right.shape[1]
    matrix = left.new_zeros(len(left), k, k)
    matrix[:, upper[0], upper[1]] = left
    matrix[:, upper[1], upper[0]] = left
    solved: Tensor = torch.linalg.solve(matrix + torch.diag_embed(precision), right)
    return solved.contiguous()


def expect(statistics: Statistics, model: Tensor) -> Latents:
    """E-step: posterior of every particle's latents under mean and components `(n, K + 1)`."""
    mean, u = model[:, 0], model[:, 1:]
    k = u.shape[1]
    n = statistics.store.n_particles
    upper = torch.triu_indices(k, k, device=u.device)
    gram = (u[:, upper[0]].conj() * u[:, upper[1]]).real.contiguous()
    cross = (mean.conj()[:, None] * u).real.contiguous()
    size = (mean.abs() ** 2)[:, None].contiguous()
    ur, ui = u.real.contiguous(), u.imag.contiguous()
    out = Latents(u.real.new_zeros(n, k), u.real.new_zeros(n, k, k), u.real.new_zeros(n))
    for chunk in statistics:
        index = torch.as_tensor(chunk.particles, device=u.device)
        precision = torch.eye(k, device=u.device).repeat(len(index), 1, 1)
        products = chunk.power @ gram
        curvature = torch.zeros_like(precision)
        curvature[:, upper[0], upper[1]] = products
        curvature[:, upper[1], upper[0]] = products
        rhs = chunk.real @ ur + chunk.imaginary @ ui - chunk.power @ cross
        covariance = torch.linalg.inv(precision + curvature)
        z = (covariance @ rhs[:, :, None])[:, :, 0]
        fit = chunk.real @ mean.real[:, None] + chunk.imaginary @ mean.imag[:, None]
        explained = 2 * fit[:, 0] - (chunk.power @ size)[:, 0]
        bent = (z[:, None] @ curvature @ z[:, :, None])[:, 0, 0]
        explained = explained + 2 * (rhs * z).sum(1) - bent
        out.mean[index], out.covariance[index] = z, covariance
        out.error[index] = (chunk.energy - explained) / chunk.count.clamp(min=1)
    return out


def standardise(model: Tensor, latents: Latents) -> tuple[Tensor, Latents]:
    """Turn model and latents so that the latents have mean 0 and covariance 1 (no change of V).

    This parameter expansion makes expectation maximisation converge in a few rounds instead of
    dozens.
    """
    centre = latents.mean.mean(0)
    rest = latents.mean - centre
    spread = latents.covariance.mean(0) + rest.T @ rest / len(rest)
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
    sign = torch.sign(turned[torch.arange(k), turned.abs().argmax(1)])
    axes = (axes * sign).to(volumes.dtype)
    components = (axes.T @ volumes.reshape(k, -1)).reshape(volumes.shape)
    turned_latents = Latents(latents.mean @ axes, axes.T @ latents.covariance @ axes, latents.error)
    return components, turned_latents, values.clamp(min=0)
