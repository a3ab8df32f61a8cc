"""What one step minimises: the sums that make the loss of a few particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tomopipe.config.training import HeterogeneousSettings, TrainingSettings
from tomopipe.dataset.batch import Batch
from tomopipe.dataset.store import Store
from tomopipe.models.homogeneous import HomogeneousModel
from tomopipe.models.image import ImageModel
from tomopipe.models.losses import kl_divergence, sample_latent, squared_error
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.splits import (
    Tilts,
    TiltSplit,
    draw_tilts,
    numpy_rng,
    split_tilts,
    torch_rng,
)

Particles = NDArray[np.int64]


@dataclass(frozen=True)
class Terms:
    """Sums over some particles, to be divided by sums of counts (over all processes).

    loss = error / count + beta · kl / numbers
    """

    error: Tensor  # sum of squared_error
    count: Tensor  # coefficients in it
    kl: Tensor  # sum of KL over particles
    numbers: Tensor  # real numbers that the particles' kept coefficients hold


class Objective(Protocol):
    """The loss of one kind of model."""

    beta: float

    def __call__(self, particles: Particles, place: tuple[int, ...]) -> Terms:
        """Terms for particles of the store; `place` = (seed, epoch, step, rank) seeds its draws."""


class HomogeneousObjective:
    """Squared error of one volume on the training tilts."""

    beta = 0.0

    def __init__(
        self, model: HomogeneousModel, store: Store, split: TiltSplit, device: torch.device
    ) -> None:
        self.model, self.store, self.split, self.device = model, store, split, device

    def __call__(self, particles: Particles, place: tuple[int, ...]) -> Terms:
        """Terms for a step."""
        tilts = [self.split.training[p] for p in particles]
        batch = self.store.batch(particles, tilts=tilts)
        batch = thin(batch, self.model.settings, torch_rng(*place)).to(self.device)
        error = prediction_error(self.model.predict(batch), batch, self.model.settings)
        zero = error.new_zeros(())
        return Terms(error.sum(), error.new_tensor(len(error)), zero, zero + 1)


class HeterogeneousObjective:
    """Encode tilts, predict the same ones (reference) or the others (split, RESEARCH §3.1)."""

    def __init__(
        self, model: HeterogeneousModel, store: Store, split: TiltSplit, device: torch.device
    ) -> None:
        self.model, self.store, self.split, self.device = model, store, split, device
        beta = model.settings.beta
        self.beta = 1 / model.zdim if beta is None else beta

    def __call__(self, particles: Particles, place: tuple[int, ...]) -> Terms:
        """Terms for a step."""
        generator = torch_rng(*place)
        encode, predict = self.draw(particles, numpy_rng(*place))
        first = self.model.encoder.n_points
        source = self.store.batch(particles, tilts=encode, first=first)
        same = predict is encode and first >= self.store.n_lattice
        target = source if same else self.store.batch(particles, tilts=predict)
        target = thin(target, self.model.settings, generator).to(self.device)
        mean, log_variance = self.model.encode(source.to(self.device))
        z = sample_latent(mean, log_variance, generator)
        error = prediction_error(self.model.predict(target, z), target, self.model.settings)
        numbers = 2 * sum(self._kept(p) for p in particles)
        return Terms(
            error.sum(),
            error.new_tensor(len(error)),
            kl_divergence(mean, log_variance).sum(),
            error.new_tensor(numbers),
        )

    def draw(
        self, particles: Particles, rng: np.random.Generator
    ) -> tuple[list[Tilts], list[Tilts]]:
        """Tilts to encode and tilts to predict of each particle."""
        settings = self.model.settings
        training = [self.split.training[p] for p in particles]
        if self.model.tilts:
            pairs = [draw_tilts(t, self.model.tilts, rng) for t in training]
        elif settings.objective == "reference":
            return training, training
        else:
            pairs = [split_tilts(t, settings.encode_fraction, rng) for t in training]
        encode = [e for e, _ in pairs]
        if settings.objective == "reference":
            return encode, encode
        return encode, [p if len(p) else e for e, p in pairs]

    def _kept(self, particle: int) -> int:
        first = self.store.image_start[particle]
        return int(self.store.kept_counts[first + self.split.training[particle]].sum())


def concatenated_tilts(settings: HeterogeneousSettings, split: TiltSplit) -> int:
    """Tilts that concatenate pooling takes of every particle; 0 for poolings that take any number.

    The smallest count of the data set, as in tomoDRGN; half of it where the others are predicted.
    """
    if settings.encoder != "tilts" or settings.pooling != "concatenate":
        return 0
    fewest = min(len(t) for t in split.training)
    return fewest if settings.objective == "reference" else max(1, fewest // 2)


def thin(batch: Batch, settings: TrainingSettings, generator: torch.Generator) -> Batch:
    """The coefficients inside the dose mask, or a random share of them."""
    draw = torch.rand(len(batch.kept), generator=generator)
    return batch.where(batch.kept & (draw < settings.fraction))


def prediction_error(predicted: Tensor, batch: Batch, settings: TrainingSettings) -> Tensor:
    """Squared error of every coefficient `(C,)`."""
    image = ImageModel.of(batch, damage=settings.damage)
    return squared_error(predicted, batch.data, image.transfer, image.weight)


def total_loss(terms: Terms, counts: tuple[float, float], beta: float) -> Tensor:
    """Our process's part of the loss; `counts` = (coefficients, numbers) over all processes."""
    return terms.error / counts[0] + beta * terms.kl / counts[1]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that are optimised, in a fixed order."""
    return [p for p in model.parameters() if p.requires_grad]
