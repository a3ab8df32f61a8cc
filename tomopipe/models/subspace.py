"""A linear subspace over low-resolution Fourier voxels: the Gaussian posterior of its latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VoxelSubspace(nn.Module):
    """V = offset + U z with z ~ N(0, 1), observed as b = a V + noise of variance a, voxel by voxel.

    The posterior of z takes every voxel for what it is worth (`a` is 0 in the missing wedge), so it
    is right for any tilts; with few or noisy ones it shrinks towards 0.

    Attributes
    ----------
    components
        `(V, 2, K)` U; zeros until `fit`.
    offset
        `(V, 2)` what the mean volume misses.
    """

    components: Tensor
    offset: Tensor

    def __init__(self, n_voxels: int, n_components: int) -> None:
        super().__init__()
        self.register_buffer("components", torch.zeros(n_voxels, 2, n_components))
        self.register_buffer("offset", torch.zeros(n_voxels, 2))

    def forward(self, matched: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean `(P, K)` and covariance `(P, K, K)`.

        Parameters
        ----------
        matched
            `(P, V, 2)` b.
        power
            `(P, V)` a.
        """
        return self.posterior(self.sums(matched, power))

    def sums(self, matched: Tensor, power: Tensor) -> Tensor:
        """What the posterior needs of some images, `(n, K + K (K + 1) / 2)`: it adds up over them.

        The first K are U · (b - a offset), the others the upper triangle of U^T a U.
        """
        u = self.components
        residual = matched - power[..., None] * self.offset
        row, column = self._triangle()
        squared = (u[..., row] * u[..., column]).sum(1)  # (V, K (K + 1) / 2)
        return torch.cat([residual.flatten(1) @ u.flatten(0, 1), power @ squared], dim=1)

    def posterior(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean `(P, K)` and covariance `(P, K, K)` from the sums of each particle."""
        k = self.components.shape[-1]
        row, column = self._triangle()
        precision = sums.new_zeros(len(sums), k, k)
        precision[:, row, column] = sums[:, k:]
        precision[:, column, row] = sums[:, k:]
        precision.diagonal(dim1=-2, dim2=-1).add_(1)
        covariance, _ = torch.linalg.inv_ex(precision)  # inv would wait for a GPU, to check
        return (covariance @ sums[:, :k, None])[..., 0], covariance

    def _triangle(self) -> tuple[Tensor, Tensor]:
        k = self.components.shape[-1]
        row, column = torch.triu_indices(k, k, device=self.components.device)
        return row, column

    @torch.no_grad()
    def fit(self, matched: Tensor, power: Tensor, prior: Tensor, rounds: int) -> None:
        """Expectation maximisation from principal components (RESEARCH §2).

        Parameters
        ----------
        matched, power
            `(N, V, 2)` and `(N, V)` of the particles to learn from.
        prior
            `(V,)` prior variance of a component in each voxel.
        rounds
            Rounds of expectation maximisation.
        """
        total = power.sum(0)
        self.offset.copy_(matched.sum(0) / (total + 1 / prior)[:, None])
        z, covariance = self._first_latents(matched, power)
        for _ in range(rounds):
            self._maximise(matched, power, prior, z, covariance)
            z, covariance = self(matched, power)
        self._orient(z, covariance, total)

    def _first_latents(self, matched: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
        """Unit principal components of the whitened statistics."""
        n, k = len(matched), self.components.shape[-1]
        residual = matched - power[..., None] * self.offset
        white = (residual * torch.rsqrt(power + power.mean())[..., None]).flatten(1)
        left, _, _ = torch.svd_lowrank(white, q=min(k, n))
        z = white.new_zeros(n, k)
        z[:, : left.shape[1]] = left * n**0.5
        return z, torch.zeros(n, k, k, device=z.device)

    def _maximise(
        self, matched: Tensor, power: Tensor, prior: Tensor, z: Tensor, covariance: Tensor
    ) -> None:
        """Offset and components of every voxel, given the latents' posterior."""
        k = z.shape[1]
        one = torch.cat([torch.ones_like(z[:, :1]), z], dim=1)  # (N, K + 1)
        moment = torch.einsum("nk,nl->nkl", one, one)
        moment[:, 1:, 1:] += covariance
        left = (power.T @ moment.flatten(1)).view(-1, k + 1, k + 1)
        left += torch.diag_embed((1 / prior)[:, None].expand(-1, k + 1))
        right = torch.einsum("nvc,nk->vkc", matched, one)
        solved = torch.linalg.solve(left, right)  # (V, K + 1, 2)
        self.offset.copy_(solved[:, 0])
        self.components.copy_(solved[:, 1:].transpose(1, 2))

    def _orient(self, z: Tensor, covariance: Tensor, total: Tensor) -> None:
        """Turn the components so that latents have unit variance and the strongest come first."""
        spread = (z.T @ z + covariance.sum(0)) / len(z)
        root = torch.linalg.cholesky(spread)
        u = self.components @ root
        energy = torch.einsum("vck,v,vcl->kl", u, total, u)
        _, axes = torch.linalg.eigh(energy)
        self.components.copy_(u @ axes.flip(-1))
