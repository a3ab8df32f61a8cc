"""How much of the consensus each particle shows in its own images."""

from __future__ import annotations

import numpy as np
import torch

from tomopipe.analysis.latent import Array
from tomopipe.dataset.store import Store
from tomopipe.io.progress import Progress
from tomopipe.physics.project import padded_transform, sample

_CHUNK = 16


def consensus_signal(store: Store, half_maps: Array, radius: float) -> Array:
    """Contrast with which the consensus stands in each particle's images: `(n_particles,)`.

    The least-squares amplitude a of `images = a x CTF x slice of the map + noise`, over all tilts,
    CTF- and dose-weighted: near 1 for a good particle, near 0 for a false pick. A particle is
    compared with the half-map of the *other* half-set, so its own noise is not in the map.

    Parameters
    ----------
    store
        n particles.
    half_maps
        `(2, box, box, box)` half-maps 1 and 2 in units of the images.
    radius
        Frequencies beyond this (lattice units) are left out.
    """
    transforms = [padded_transform(torch.as_tensor(m).float() / store.scale) for m in half_maps]
    amplitude = np.zeros(store.n_particles)
    with Progress(store.n_particles, "signal of particles") as progress:
        for half in (1, 2):
            members = np.flatnonzero(store.half == half)
            for part in np.array_split(members, max(1, -(-len(members) // _CHUNK))):
                if len(part):
                    amplitude[part] = _amplitudes(store, part, transforms[2 - half], radius)
                    progress.advance(len(part))
    return amplitude


def _amplitudes(store: Store, members: Array, transform: torch.Tensor, radius: float) -> Array:
    batch = store.batch(members)
    batch = batch.where(store.radius[batch.coefficient_lattice] <= radius)
    model = sample(transform, batch.points())
    numerator, denominator = batch.back_projection()
    match = numerator * (model.real * batch.data[:, 0] + model.imag * batch.data[:, 1])
    power = denominator * model.abs() ** 2
    owner = batch.coefficient_particle()
    zeros = torch.zeros(batch.n_particles, dtype=torch.float64)
    match = zeros.index_add(0, owner, match.double())
    power = zeros.index_add(0, owner, power.double())
    return (match / power.clamp(min=1e-30)).numpy()
