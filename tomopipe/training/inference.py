"""Latents of particles, and how well the tilts that training never saw are predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.config.training import TrainingSettings
from tomopipe.dataset.batch import Batch
from tomopipe.dataset.reader import Reader
from tomopipe.dataset.store import Store
from tomopipe.models.homogeneous import HomogeneousModel
from tomopipe.models.image import ImageModel
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.distributed import Group
from tomopipe.training.encoding import COEFFICIENTS, Encoding, parts
from tomopipe.training.objective import prediction_error
from tomopipe.training.splits import TiltSplit, even_tilts, numpy_rng

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shells:
    """Squared errors and weights per particle and shell, each `(N, box / 2)` float64.

    N are the particles looked at; those without held-out tilts have zeros.
    """

    error: Tensor
    zero: Tensor  # error of predicting nothing
    weight: Tensor
    count: Tensor

    @property
    def loss(self) -> float:
        """Mean squared error, as in the training loss; NaN if nothing was held out."""
        return _share(self.error, self.count)

    @property
    def loss_of_zero(self) -> float:
        """The same for a volume of zeros: what is left to explain before anything is learned."""
        return _share(self.zero, self.count)

    def normalised(self) -> NDArray[np.float64]:
        """Error of each particle over what is usual in its shells: about 1, and NaN without tilts.

        The usual error is the mean over all particles, which is mostly noise and need not be white.
        """
        usual = self.error.sum(0) / self.weight.sum(0).clamp(min=1e-12)
        expected = (self.weight * usual).sum(1)
        ratio = self.error.sum(1) / expected
        return torch.where(expected > 0, ratio, torch.full_like(ratio, float("nan"))).numpy()


def _share(part: Tensor, count: Tensor) -> float:
    total = float(count.sum())
    return float(part.sum()) / total if total else float("nan")


def embed(
    model: HeterogeneousModel,
    store: Store,
    device: torch.device,
    group: Group | None = None,
    encoding: Encoding | None = None,
) -> tuple[Floats, Floats]:
    """Posterior mean and standard deviation `(N, zdim)` of every particle, from all its tilts.

    `encoding` is used instead of a new one, if given.
    """
    group = group or Group()
    encoding = encoding or Encoding(model, Reader(store, device))
    mine = np.arange(store.n_particles)[group.rank :: group.size]
    tilts = [even_tilts(np.arange(n), model.tilts) for n in store.images_per_particle[mine]]
    out = torch.zeros(2, store.n_particles, model.zdim)
    for chosen, mean, log_variance in encoding.all(mine, tilts):
        out[0, chosen] = mean.cpu()
        out[1, chosen] = (0.5 * log_variance).exp().cpu()
    out = group.sum(out.to(device)).cpu()
    return out[0].numpy(), out[1].numpy()


@torch.no_grad()
def held_out_error(
    model: HeterogeneousModel | HomogeneousModel,
    reader: Reader,
    split: TiltSplit,
    particles: NDArray[np.int64] | None = None,
    group: Group | None = None,
    fraction: float = 1.0,
    encoding: Encoding | None = None,
) -> Shells:
    """Squared error on held-out tilts of `particles` (default: all), in their order.

    Latents come from the training tilts alone. With a `fraction` below 1 a fixed draw of that share
    of the coefficients is looked at.
    """
    group, store = group or Group(), reader.store
    if isinstance(model, HeterogeneousModel) and encoding is None:
        encoding = Encoding(model, reader)
    everything = np.arange(store.n_particles) if particles is None else particles
    usable = np.flatnonzero([len(split.held_out[p]) > 0 for p in everything])
    mine = usable[group.rank :: group.size]
    shape = 4, len(everything), store.box // 2
    sums = torch.zeros(shape, dtype=torch.float64, device=reader.device)
    cost = [store.n_lattice * len(split.held_out[p]) for p in everything[mine]]
    for part in parts(cost, COEFFICIENTS):
        chosen = everything[mine[part]]
        held_out = [split.held_out[p] for p in chosen]
        draws = [numpy_rng(0, int(p)) for p in chosen]  # the same however particles are shared out
        target = reader.batch(chosen, tilts=held_out, inside=True, fraction=fraction, rng=draws)
        predicted = _predict(model, encoding, split, chosen, target)
        rows = torch.from_numpy(mine[part]).to(reader.device)
        _add_shells(sums, rows, target, predicted, model.settings)
    return Shells(*group.sum(sums).cpu())


def _predict(
    model: HeterogeneousModel | HomogeneousModel,
    encoding: Encoding | None,
    split: TiltSplit,
    chosen: NDArray[np.int64],
    target: Batch,
) -> Tensor:
    if isinstance(model, HomogeneousModel):
        return model.predict(target)
    assert encoding is not None
    z, _ = encoding(chosen, [even_tilts(split.training[p], model.tilts) for p in chosen])
    return model.predict(target, z)


def _add_shells(
    sums: Tensor, rows: Tensor, batch: Batch, predicted: Tensor, settings: TrainingSettings
) -> None:
    """Add a batch's errors, errors of zero, weights and counts to `(4, N, shells)`."""
    error = prediction_error(predicted, batch, settings).double()
    zero = prediction_error(torch.zeros_like(predicted), batch, settings).double()
    weight = ImageModel.of(batch, damage=settings.damage).weight.double()
    n_shells = sums.shape[-1]
    shell = batch.coefficient_shell().clamp(max=n_shells - 1)
    place = rows[batch.coefficient_particle()] * n_shells + shell
    for total, values in zip(sums, (error, zero, weight, torch.ones_like(error)), strict=True):
        total.view(-1).index_add_(0, place, values)
