"""What one step minimises: the sums that make the loss of a few particles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tomopipe.config.training import HeterogeneousSettings, TrainingSettings
from tomopipe.dataset.batch import Batch
from tomopipe.dataset.reader import Reader
from tomopipe.models.homogeneous import HomogeneousModel
from tomopipe.models.image import ImageModel
from tomopipe.models.losses import kl_divergence, sample_latent, squared_error
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.encoding import Encoding, Rows
from tomopipe.training.splits import Tilts, TiltSplit, draw_tilts, numpy_rng, split_tilts

Particles = NDArray[np.int64]


@dataclass(frozen=True)
class Terms:
    """Sums over some particles, to be divided by sums of counts (over all processes).

    loss = error / count + beta · kl / numbers
    """

    error: Tensor  # sum of squared_error
    count: int  # coefficients in it
    kl: Tensor  # sum of KL over particles
    numbers: int  # real numbers that the particles' kept coefficients hold


@dataclass(frozen=True)
class Step:
    """What a step works on, ready on its device: made ahead, while the step before is at work.

    Attributes
    ----------
    particles
        Positions in the store.
    encode
        What their latents are made from, if they have any.
    target
        Coefficients to predict.
    noise
        `(P, zdim)` standard normal numbers for the latents.
    """

    particles: Particles
    encode: Batch | Rows | None
    target: Batch
    noise: Tensor


class Objective(Protocol):
    """The loss of one kind of model."""

    beta: float

    def prepare(self, particles: Particles, place: tuple[int, ...]) -> Step:
        """Draw a step; `place` = (seed, stream, epoch, step) seeds its draws.

        Those of a particle depend on nothing else, so that they are the same in any process.
        """

    def __call__(self, step: Step) -> Terms:
        """Terms of a step."""


class HomogeneousObjective:
    """Squared error of one volume on the training tilts."""

    beta = 0.0

    def __init__(self, model: HomogeneousModel, reader: Reader, split: TiltSplit) -> None:
        self.model, self.reader, self.split = model, reader, split

    def prepare(self, particles: Particles, place: tuple[int, ...]) -> Step:
        """Draw a step."""
        tilts = [self.split.training[p] for p in particles]
        fraction = self.model.settings.fraction
        rng = _own_draws(particles, place)
        target = self.reader.batch(particles, tilts=tilts, inside=True, fraction=fraction, rng=rng)
        return Step(particles, None, target, torch.empty(0))

    def __call__(self, step: Step) -> Terms:
        """Terms of a step."""
        error = batch_error(self.model, step.target)
        return Terms(error, len(step.target.ctf), error.new_zeros(()), 1)


class HeterogeneousObjective:
    """Encode tilts, predict the same ones (reference) or the others (split, RESEARCH §3.1)."""

    def __init__(self, model: HeterogeneousModel, reader: Reader, split: TiltSplit) -> None:
        self.model, self.reader, self.split = model, reader, split
        self.encoding = Encoding(model, reader)
        beta = model.settings.beta
        self.beta = 1 / model.zdim if beta is None else beta
        store = reader.store
        self._kept = [
            int(store.kept_counts[first + tilts].sum())
            for first, tilts in zip(store.image_start[:-1], split.training, strict=True)
        ]

    def prepare(self, particles: Particles, place: tuple[int, ...]) -> Step:
        """Draw a step."""
        rng, fraction = _own_draws(particles, place), self.model.settings.fraction
        encode, predict = self.draw(particles, rng)
        target = self.reader.batch(
            particles, tilts=predict, inside=True, fraction=fraction, rng=rng
        )
        noise = np.stack([r.standard_normal(self.model.zdim, dtype=np.float32) for r in rng])
        inputs = self.encoding.prepare(particles, encode)
        return Step(particles, inputs, target, self.reader.sent(noise))

    def __call__(self, step: Step) -> Terms:
        """Terms of a step."""
        assert step.encode is not None
        mean, log_variance = self.encoding.encode(step.encode)
        z = sample_latent(mean, log_variance, step.noise)
        error = batch_error(self.model, step.target, z)
        numbers = 2 * sum(self._kept[p] for p in step.particles)
        kl = kl_divergence(mean, log_variance).sum()
        return Terms(error, len(step.target.ctf), kl, numbers)

    def draw(
        self, particles: Particles, rng: Sequence[np.random.Generator]
    ) -> tuple[list[Tilts], list[Tilts]]:
        """Tilts to encode and tilts to predict of each particle, drawn by its own generator."""
        settings = self.model.settings
        training = [self.split.training[p] for p in particles]
        if self.model.tilts:
            pairs = [draw_tilts(t, self.model.tilts, r) for t, r in zip(training, rng, strict=True)]
        elif settings.objective == "reference":
            return training, training
        else:
            share = settings.encode_fraction
            pairs = [split_tilts(t, share, r) for t, r in zip(training, rng, strict=True)]
        encode = [e for e, _ in pairs]
        if settings.objective == "reference":
            return encode, encode
        return encode, [p if len(p) else e for e, p in pairs]


def _own_draws(particles: Particles, place: tuple[int, ...]) -> list[np.random.Generator]:
    """A generator for each particle at a place of the training."""
    return [numpy_rng(*place, int(particle)) for particle in particles]


def concatenated_tilts(settings: HeterogeneousSettings, split: TiltSplit) -> int:
    """Tilts that concatenate pooling takes of every particle; 0 for poolings that take any number.

    The smallest count of the data set, as in tomoDRGN; half of it where the others are predicted.
    """
    if settings.encoder != "tilts" or settings.pooling != "concatenate":
        return 0
    fewest = min(len(t) for t in split.training)
    return fewest if settings.objective == "reference" else max(1, fewest // 2)


def batch_error(
    model: HeterogeneousModel | HomogeneousModel, batch: Batch, *latents: Tensor
) -> Tensor:
    """Sum of the squared errors of a batch, differentiable."""
    return model.squared_error(batch, *latents)


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
