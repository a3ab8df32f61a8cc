"""Encoders: from the tilts of each particle to the mean and log variance of its latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tomopipe.dataset.batch import Batch
from tomopipe.models.decoder import half_space_sign
from tomopipe.models.image import ImageModel
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.mlp import ResidualMLP
from tomopipe.models.pooling import make_pooling
from tomopipe.models.subspace import VoxelSubspace
from tomopipe.physics.fourier import fft3c, half_plane

# keeps the posterior from collapsing to a point or exploding in a bad step
_LOG_VARIANCE = 10.0


class TiltEncoder(nn.Module):
    """tomoDRGN's encoder: network A on every tilt, pooling, relu, network B.

    A tilt enters as the (Re, Im) of its phase-flipped coefficients up to `radius` on the half
    plane; coefficients that the store left out (dose mask) are 0.
    """

    def __init__(
        self,
        box: int,
        zdim: int,
        *,
        radius: int,
        hidden: int,
        layers: int,
        features: int,
        pooling: str,
        tilts: int,
    ) -> None:
        super().__init__()
        plane = half_plane(box)
        within = plane.count_within(torch.tensor(float(radius)))
        self.n_points = len(plane.points) if radius == 0 else int(within)
        self.each = ResidualMLP(2 * self.n_points, hidden, layers, features)
        self.pool, width = make_pooling(pooling, features, hidden, tilts)
        self.joint = ResidualMLP(width, hidden, layers, 2 * zdim)

    def forward(self, batch: Batch, mean: FixedVolumes, *, damage: bool) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each `(P, zdim)`; `mean` and `damage` are not used here."""
        each = self.each(self.pixels(batch))
        joined = self.pool(each, batch.image_particle, batch.n_particles)
        return _posterior(self.joint(torch.relu(joined)))

    def pixels(self, batch: Batch) -> Tensor:
        """Phase-flipped coefficients, dense: `(I, 2 · n_points)`."""
        inside = batch.coefficient_lattice < self.n_points
        flipped = batch.data * torch.where(batch.ctf < 0, -1.0, 1.0)[:, None]
        dense = flipped.new_zeros(batch.n_images, self.n_points, 2)
        where = batch.coefficient_image[inside], batch.coefficient_lattice[inside]
        return dense.index_put(where, flipped[inside]).flatten(1)


class VolumeEncoder(nn.Module):
    """Encoder of what a particle's tilts say about its volume at low resolution.

    The tilts' residuals from the mean volume are back-projected into the Fourier voxels up to
    `radius`, in the particle's own frame: b = sum transfer (F - transfer · mean) and
    a = sum transfer^2 (matched filtering, RESEARCH §2). A linear subspace turns them into a
    posterior over `components` numbers, which accounts for poses, CTFs, missing wedges and the
    number of tilts before the network sees anything. The network begins as no change to the first
    `zdim` of them, and learns from there. Any number of tilts, in any order, will do.
    """

    corners: Tensor
    voxel: Tensor
    lattice: Tensor

    def __init__(
        self, box: int, zdim: int, *, radius: int, components: int, hidden: int, layers: int
    ) -> None:
        super().__init__()
        self.zdim = zdim
        self.radius = min(radius, box // 2 - 1)
        self.n_points = int(half_plane(box).count_within(torch.tensor(float(self.radius))))
        offsets = torch.cartesian_prod(*[torch.arange(2)] * 3)
        self.register_buffer("corners", offsets, persistent=False)
        voxel, lattice = _half_ball(self.radius)
        self.register_buffer("voxel", voxel, persistent=False)
        self.register_buffer("lattice", lattice, persistent=False)
        n = max(components, zdim)
        self.subspace = VoxelSubspace(len(lattice), n)
        self.network = ResidualMLP(2 * n, hidden, layers, 2 * zdim)
        nn.init.zeros_(self.network.last.weight)
        nn.init.zeros_(self.network.last.bias)

    def forward(self, batch: Batch, mean: FixedVolumes, *, damage: bool) -> tuple[Tensor, Tensor]:
        """Mean and log variance of each particle's latent, each `(P, zdim)`."""
        return self.from_sums(self.subspace.sums(*self.statistics(batch, mean, damage=damage)))

    def from_sums(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """The same from the subspace's sums over the tilts of each particle, `(P, …)`.

        All of them, or those at `places_kept`.
        """
        with torch.no_grad():
            linear, covariance = self.subspace.posterior(self._all_sums(sums))
            log_variance = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=1e-6).log()
        change = self.network(torch.cat([linear, log_variance], dim=-1))
        start = torch.cat([linear[:, : self.zdim], log_variance[:, : self.zdim]], dim=-1)
        return _posterior(start + change)

    @torch.no_grad()
    def image_sums(self, batch: Batch, mean: FixedVolumes, *, damage: bool) -> Tensor:
        """The subspace's sums of every image of a batch by itself, `(I, …)`.

        They do not change in training: what a step encodes is a sum of rows made once.
        """
        statistics = self.statistics(batch, mean, damage=damage, by_image=True)
        return self.subspace.sums(*statistics)

    def places_kept(self) -> Tensor:
        """Places among the subspace's sums of those that are not 0 for want of a component.

        With the directions of a linear model these are few.
        """
        components = self.subspace.components
        there = components.flatten(0, 1).any(0).nonzero()
        return _places(int(there.max()) + 1 if len(there) else 0, components)

    def _all_sums(self, kept: Tensor) -> Tensor:
        """The subspace's sums from those at `places_kept`."""
        # of k components there are k and k (k + 1) / 2
        places = _places((math.isqrt(9 + 8 * kept.shape[1]) - 3) // 2, self.subspace.components)
        n = self.subspace.components.shape[-1]
        return kept.new_zeros(len(kept), n * (n + 3) // 2).index_copy(1, places, kept)

    @torch.no_grad()
    def adopt(self, basis: Tensor) -> None:
        """Take the directions `(K, n, n, n)` of a linear model for the subspace's first ones.

        Latents then begin as that model's. Trilinear spreading multiplies volumes by sinc^2, so
        the directions are multiplied by it too.
        """
        n = basis.shape[-1]
        k = min(len(basis), self.subspace.components.shape[-1])
        x = torch.special.sinc((torch.arange(n, device=basis.device) - n // 2) / n) ** 2
        spread = fft3c(basis[:k] * x[:, None, None] * x[:, None] * x)
        z, y, x = (part + n // 2 for part in self.lattice.unbind(-1))
        self.subspace.components.zero_()
        self.subspace.components[..., :k] = torch.view_as_real(spread[:, z, y, x]).movedim(0, -1)
        self.subspace.offset.zero_()

    @torch.no_grad()
    def statistics(
        self, batch: Batch, mean: FixedVolumes, *, damage: bool, by_image: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Back-projected residuals b `(P, V, 2)` and their power a `(P, V)`.

        With `by_image`, of each image: `(I, V, 2)` and `(I, V)`.
        """
        inside = batch.lattice.square().sum(-1) <= self.radius**2
        batch = batch.where(inside[batch.coefficient_lattice])
        image = ImageModel.of(batch, damage=damage)
        points = batch.points()
        residual = batch.data - image.transfer[:, None] * mean(points)
        matched = (image.weight * image.transfer)[:, None] * residual
        power = (image.weight * image.transfer**2)[:, None]
        owner = batch.coefficient_image if by_image else batch.coefficient_particle()
        n = batch.n_images if by_image else batch.n_particles
        sums = self._insert(points * batch.box, owner, n, torch.cat([matched, power], dim=1))
        return sums[..., :2], sums[..., 2]

    def _insert(self, points: Tensor, owner: Tensor, n: int, values: Tensor) -> Tensor:
        """Trilinear sums `(n, n_voxels, 3)` of (Re, Im, power), all in the upper half of space.

        Points are in Fourier pixels; `owner` is the row of the sums that each belongs to.
        """
        sign = half_space_sign(points)
        values = values * torch.stack([torch.ones_like(sign), sign, torch.ones_like(sign)], dim=1)
        place = points * sign[:, None]
        floor = place.floor()
        part = (place - floor)[:, None]  # (C, 1, 3)
        share = torch.where(self.corners == 1, part, 1 - part).prod(-1)  # (C, 8)
        corner = floor.long()[:, None] + self.corners  # (C, 8, 3)
        x, y, z = (corner + corner.new_tensor([self.radius + 1, self.radius + 1, 0])).unbind(-1)
        voxel = self.voxel[z, y, x]
        n_voxels = len(self.lattice)
        row = owner[:, None] * (n_voxels + 1) + voxel
        sums = values.new_zeros(n * (n_voxels + 1), 3)
        sums.index_add_(0, row.flatten(), (share[..., None] * values[:, None]).flatten(0, 1))
        return sums.view(n, -1, 3)[:, :-1]


def _places(k: int, components: Tensor) -> Tensor:
    """Where the sums of the first `k` of all components stand (`VoxelSubspace.sums`)."""
    n = components.shape[-1]
    row, column = torch.triu_indices(k, k, device=components.device)
    triangle = n + row * n - row * (row - 1) // 2 + column - row
    return torch.cat([torch.arange(k, device=components.device), triangle])


def _half_ball(radius: int) -> tuple[Tensor, Tensor]:
    """Number of every voxel (z, y, x) with z >= 0 inside `radius`, and `(V, 3)` (z, y, x) of those.

    Voxels outside have the number V. The plane z = 0 keeps both halves: which of them a value
    falls into is only a convention.
    """
    k = torch.arange(-radius - 1, radius + 3)
    z, y, x = torch.meshgrid(torch.arange(radius + 2), k, k, indexing="ij")
    squared = x**2 + y**2 + z**2
    inside = squared <= radius**2
    n = int(inside.sum())
    voxel = torch.full(inside.shape, n)
    voxel[inside] = torch.arange(n)
    return voxel, torch.stack([z[inside], y[inside], x[inside]], dim=-1)


def _posterior(output: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = output.float().chunk(2, dim=-1)
    return mean, log_variance.clamp(-_LOG_VARIANCE, _LOG_VARIANCE)
