"""Latents of particles from any of their tilts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.reader import Reader
from tomopipe.models.encoder import VolumeEncoder
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.splits import Tilts

Particles = NDArray[np.int64]

COEFFICIENTS = 1 << 18  # of a batch outside of training, about
_PARTICLES = 1 << 12


class Encoding:
    """The encoder of a model on the particles of a store.

    For the encoder `volume` the sums that every image adds to its particle's posterior are made
    once, when first asked for: they depend on the subspace, which training does not change, so a
    step reads no coefficient to encode (600 bytes an image with 16 components, where its
    coefficients have thousands).
    """

    def __init__(self, model: HeterogeneousModel, reader: Reader) -> None:
        self.model, self.reader = model, reader

    def __call__(self, particles: Particles, tilts: Sequence[Tilts]) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents `(P, zdim)` of particles, from `tilts` of each."""
        encoder = self.model.encoder
        if not isinstance(encoder, VolumeEncoder):
            batch = self.reader.batch(particles, tilts=tilts, first=encoder.n_points)
            return self.model.encode(batch)
        lengths = np.array([len(t) for t in tilts], dtype=np.int64)
        first = np.repeat(self.reader.store.image_start[particles], lengths)
        images = torch.from_numpy(first + np.concatenate(tilts)).to(self._images.device)
        sums = torch.segment_reduce(
            self._images[images],
            "sum",
            lengths=torch.from_numpy(lengths).to(images.device),
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
        """What each image adds to the sums: `(n_images, …)`."""
        encoder, store = self.model.encoder, self.reader.store
        assert isinstance(encoder, VolumeEncoder)
        rows = []
        damage = self.model.settings.damage
        for part in parts(store.images_per_particle * encoder.n_points, COEFFICIENTS):
            batch = self.reader.batch(np.arange(store.n_particles)[part], first=encoder.n_points)
            rows.append(encoder.image_sums(batch, self.model.fixed, damage=damage))
        return torch.cat(rows)


def parts(cost: Sequence[int] | NDArray[np.int64], size: int) -> Iterator[slice]:
    """Runs of items, of a cost of about `size` each."""
    start, total = 0, 0
    for i, one in enumerate(cost):
        total += int(one)
        if total >= size or i == len(cost) - 1:
            yield slice(start, i + 1)
            start, total = i + 1, 0
