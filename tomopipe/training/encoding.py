"""Latents of particles from any of their tilts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.dataset.reader import Reader
from tomopipe.models.encoder import VolumeEncoder
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.splits import Tilts

Particles = NDArray[np.int64]

COEFFICIENTS = 1 << 18  # of a batch outside of training, about
_PARTICLES = 1 << 12


@dataclass(frozen=True)
class Rows:
    """Which rows of `Encoding`'s table of images a particle's posterior is the sum of.

    Attributes
    ----------
    images
        `(I,)` positions in the store, particle after particle.
    lengths
        `(P,)` images of each particle.
    """

    images: Tensor
    lengths: Tensor


class Encoding:
    """The encoder of a model on the particles of a store.

    For the encoder `volume` the sums that every image adds to its particle's posterior are made
    once, when first asked for: they depend on the subspace, which training does not change, so a
    step reads no coefficient to encode (600 bytes an image with 16 components, 108 with
    the 6 of a linear model, where its coefficients have thousands).
    """

    def __init__(self, model: HeterogeneousModel, reader: Reader) -> None:
        self.model, self.reader = model, reader

    def __call__(self, particles: Particles, tilts: Sequence[Tilts]) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents `(P, zdim)` of particles, from `tilts` of each."""
        return self.encode(self.prepare(particles, tilts))

    def prepare(self, particles: Particles, tilts: Sequence[Tilts]) -> Batch | Rows:
        """What `encode` needs of particles and `tilts` of each, ready on the device."""
        encoder = self.model.encoder
        if not isinstance(encoder, VolumeEncoder):
            return self.reader.batch(particles, tilts=tilts, first=encoder.n_points)
        lengths = np.array([len(t) for t in tilts], dtype=np.int64)
        first = np.repeat(self.reader.store.image_start[particles], lengths)
        return Rows(self.reader.sent(first + np.concatenate(tilts)), self.reader.sent(lengths))

    def encode(self, inputs: Batch | Rows) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents `(P, zdim)`."""
        if isinstance(inputs, Batch):
            return self.model.encode(inputs)
        encoder = self.model.encoder
        assert isinstance(encoder, VolumeEncoder)
        sums = torch.segment_reduce(
            self._images[inputs.images],
            "sum",
            lengths=inputs.lengths,
            axis=0,
            unsafe=True,  # lengths are right: checking them would wait for a GPU
        )
        return encoder.from_sums(sums)

    @torch.no_grad()
    def all(
        self, particles: Particles, tilts: Sequence[Tilts]
    ) -> Iterator[tuple[Particles, Tensor, Tensor]]:
        """Particles, means and log variances, a part of `particles` at a time."""
        table = isinstance(self.model.encoder, VolumeEncoder)
        size = _PARTICLES if table else COEFFICIENTS
        cost = [1 if table else len(t) * max(1, self.model.encoder.n_points) for t in tilts]
        for part in parts(cost, size):
            yield particles[part], *self(particles[part], tilts[part])

    @cached_property
    def _images(self) -> Tensor:
        """What each image adds to the sums that are kept: `(n_images, …)`."""
        encoder, store = self.model.encoder, self.reader.store
        assert isinstance(encoder, VolumeEncoder)
        kept, damage = encoder.places_kept(), self.model.settings.damage
        table = torch.empty(store.n_images, len(kept), device=self.reader.device)
        for part in parts(store.images_per_particle * encoder.n_points, COEFFICIENTS):
            batch = self.reader.batch(np.arange(store.n_particles)[part], first=encoder.n_points)
            sums = encoder.image_sums(batch, self.model.fixed, damage=damage)
            table[store.image_start[part.start] : store.image_start[part.stop]] = sums[:, kept]
        return table


def parts(cost: Sequence[int] | NDArray[np.int64], size: int) -> Iterator[slice]:
    """Runs of items, of a cost of about `size` each."""
    start, total = 0, 0
    for i, one in enumerate(cost):
        total += int(one)
        if total >= size or i == len(cost) - 1:
            yield slice(start, i + 1)
            start, total = i + 1, 0
