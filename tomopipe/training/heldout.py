"""Whether a network predicts tilts that training never saw better than the linear model does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tomopipe.config.training import HeterogeneousSettings
from tomopipe.dataset.batch import Batch
from tomopipe.dataset.reader import Reader
from tomopipe.dataset.store import Store
from tomopipe.models.linear import LinearModel
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.reconstruct.backproject import batches, open_on
from tomopipe.training.inference import held_out_error
from tomopipe.training.objective import prediction_error
from tomopipe.training.splits import TiltSplit, hold_out, numpy_rng
from tomopipe.training.statistics import noise_variance

_STREAM = 6
_PARTICLES = 2000  # looked at, at most
_BATCH = 16
_SIGMAS = 2.0  # of its standard error by which a network must be better


@dataclass(frozen=True)
class Comparison:
    """Squared errors per coefficient on held-out tilts, latents taken from the others.

    Attributes
    ----------
    mean, linear, network
        Of the mean volume, the linear model and the network.
    sigmas
        Difference of linear and network over its standard error between particles; positive where
        the network is better.
    particles
        How many were looked at.
    """

    mean: float
    linear: float
    network: float
    sigmas: float
    particles: int

    @property
    def network_wins(self) -> bool:
        """Whether the network is better beyond chance."""
        return self.sigmas > _SIGMAS

    @property
    def gain(self) -> float:
        """Network's gain over the linear model, over the linear model's gain over the mean."""
        explained = self.mean - self.linear
        return (self.linear - self.network) / explained if explained > 0 else float("nan")


def can_compare(store: Store, settings: HeterogeneousSettings) -> bool:
    """Whether training with these settings holds a tilt of any particle out."""
    split = _split(store, settings)
    return any(len(tilts) > 0 for tilts in split.held_out)


def compare(store: Store, linear: Path, network: Path, device: torch.device) -> Comparison:
    """Compare a linear model with the network that began from it.

    Both predict the tilts that the network's training held out of each particle, with latents from
    the particle's other tilts. The linear volumes were made with those tilts too, but so were the
    volumes that the network adds to.

    Raises
    ------
    StateError
        If a model is missing or of another kind.
    ValueError
        If no tilt was held out (see `can_compare`).
    """
    model = HeterogeneousModel.load(network).to(device)
    settings = model.settings
    usable = np.flatnonzero([len(tilts) > 0 for tilts in _split(store, settings).held_out])
    if not len(usable):
        raise ValueError("no particle has a held-out tilt to compare models on")
    order = numpy_rng(settings.seed, _STREAM).permutation(len(usable))[:_PARTICLES]
    # a particle has the same tilts held out in any view
    some = store.subset(store.uids[usable[order]].tolist())
    n, split, reader = some.n_particles, _split(some, settings), Reader(some, device)
    shells = held_out_error(model, reader, split)
    count = shells.count.sum(1)
    flat = _LinearError(store, linear, settings, device)
    errors = torch.cat(
        [
            flat(
                reader.batch(part, tilts=[split.training[p] for p in part], inside=True),
                reader.batch(part, tilts=[split.held_out[p] for p in part], inside=True),
            )
            for part in np.array_split(np.arange(n), -(-n // _BATCH))
        ]
    )
    by_network = shells.error.sum(1)
    difference = (errors[:, 1] - by_network) / count
    spread = float(difference.std()) / n**0.5
    total = float(count.sum())
    return Comparison(
        mean=float(errors[:, 0].sum()) / total,
        linear=float(errors[:, 1].sum()) / total,
        network=float(by_network.sum()) / total,
        sigmas=float(difference.mean()) / max(spread, 1e-30),
        particles=n,
    )


def _split(store: Store, settings: HeterogeneousSettings) -> TiltSplit:
    fraction, seed = settings.validation_fraction, settings.seed
    return hold_out(list(store.uids), store.images_per_particle, fraction, seed)


class _LinearError:
    """Errors of the mean volume and of the linear model on some tilts, from others."""

    def __init__(
        self, store: Store, path: Path, settings: HeterogeneousSettings, device: torch.device
    ) -> None:
        model = LinearModel.load(path)
        mean, basis = model.mean / store.scale, model.components / store.scale
        self.settings = settings
        self.fixed = FixedVolumes(mean, basis).to(device)
        self.noise = self._noise_per_shell(store, device)

    def __call__(self, known: Batch, hidden: Batch) -> Tensor:
        """`(P, 2)` float64 sums of squared errors on `hidden`, latents from the tilts `known`."""
        z = self._posterior(known)
        owner = hidden.coefficient_particle()
        mean = self.fixed(hidden.points())
        full = self.fixed.at(hidden.points(), owner, z)
        out = torch.zeros(hidden.n_particles, 2, dtype=torch.float64, device=z.device)
        for column, predicted in enumerate((mean, full)):
            error = prediction_error(predicted, hidden, self.settings).double()
            out[:, column].index_add_(0, owner, error)
        return out.cpu()

    def _noise_per_shell(self, store: Store, device: torch.device) -> Tensor:
        """As `Statistics.noise_per_shell`, of every image's shells and without statistics."""
        sums = torch.zeros(2, store.box // 2 + 1, dtype=torch.float64, device=device)
        for batch in batches(store, np.arange(store.n_particles), open_on(store, device)):
            seen = (batch.ctf * batch.damage)[:, None] * self.fixed(batch.points())
            precision = batch.noise_precision()
            square = (batch.data - seen).square().sum(1) * precision
            values = torch.stack([square, (precision > 0).to(square)]).double()
            sums.index_add_(1, batch.coefficient_shell(), values)
        return noise_variance(*sums)

    def _posterior(self, batch: Batch) -> Tensor:
        """Posterior means `(P, K)` of the latents, as in the E-step but at the exact points."""
        a, b = batch.back_projection()
        precision = 1 / self.noise[batch.coefficient_shell()]
        owner = batch.coefficient_particle()
        values = self.fixed.volumes_at(batch.points())
        mean, u = values[:, 0], values[:, 1:]
        rhs = torch.einsum(
            "ckr,cr->ck", u, (a[:, None] * batch.data - b[:, None] * mean) * precision[:, None]
        )
        unit = torch.eye(u.shape[1], device=u.device)
        total = rhs.new_zeros(batch.n_particles, len(unit)).index_add_(0, owner, rhs)
        # one particle at a time: a matrix for every coefficient would not fit in memory
        sizes = owner.bincount(minlength=batch.n_particles).tolist()
        parts = zip(torch.split(u, sizes), torch.split(b * precision, sizes), strict=True)
        gram = torch.stack(
            [unit + torch.einsum("ckr,clr->kl", v, v * w[:, None, None]) for v, w in parts]
        )
        z: Tensor = torch.linalg.solve(gram, total[:, :, None])[:, :, 0]
        return z
