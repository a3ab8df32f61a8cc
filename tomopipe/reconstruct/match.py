"""How much of the other half-set's map each image shows, shell by shell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.dataset.store import Store
from tomopipe.io.progress import Progress
from tomopipe.physics.fsc import fsc
from tomopipe.physics.mask import sphere_mask
from tomopipe.physics.project import padded_transform, sample
from tomopipe.reconstruct.backproject import accumulate, batches

Array = NDArray[np.float64]

LEAST_FSC = 0.143
_LEAST_NOISE = 1e-4  # of what white noise would leave; beyond it rounding would weigh


@dataclass(frozen=True)
class Match:
    """Sums over the coefficients of each image and shell, in units of the noise.

    Attributes
    ----------
    data
        `(n_images, S)` Re(P* y), y the image and P the other half's map as the image would show
        it.
    model
        `(n_images, S)` Re(P* P'), P' of the map of the image's own half.
    squared
        `(S,)` frequency squared of the shells, 1/Å^2.
    """

    data: Array
    model: Array
    squared: Array


def match_halves(shown: Store, plain: Store, progress: Progress | None = None) -> Match:
    """Make maps of both half-sets of `shown` and compare each image of `plain` with them.

    Both are the same particles; `plain` has the transfer that the images are compared under.
    Shells are the first ones in a row whose FSC of half-maps is above 0.143, and count by it.
    """
    mask = sphere_mask(plain.box, 0.45 * plain.box - 3)
    grids = [
        accumulate(shown, np.flatnonzero(shown.half == half), undamped=True, progress=progress)
        for half in (1, 2)
    ]
    volumes = [grid.volume(floor_by_shell=True) * mask for grid in grids]
    curve = fsc(*volumes).clamp(min=0).numpy()
    first, shells = _agreeing(curve)
    transforms = [padded_transform(volume) for volume in volumes]
    sums = np.zeros((2, plain.n_images, shells))
    power, count = np.zeros((2, shells))
    for batch in batches(plain, np.arange(plain.n_particles), plain):
        images, values = _of_batch(batch, plain.half, transforms, shells)
        sums[:, images] = values[:2]
        power += values[2].sum(0)
        count += values[3].sum(0)
        if progress is not None:
            progress.advance(batch.n_particles)
    data, model = sums[:, :, first:]
    variance = power[first:] / np.maximum(count[first:], 1)
    weight = curve[first - 1 : shells - 1] / np.maximum(variance, 1e-30)
    frequency = np.arange(first, shells) / (plain.box * plain.pixel_size)
    return Match(data * weight, model * weight, frequency**2)


def _agreeing(curve: Array) -> tuple[int, int]:
    """The first shell whose half-maps agree, and the first behind it that does not.

    The first shells of all may not: the CTF leaves little there, and some stacks are high-passed.
    """
    above = np.append(curve >= LEAST_FSC, False)
    first = int(above.argmax())
    stop = first + int((~above[first:]).argmax())
    return first + 1, stop + 1


def _of_batch(
    batch: Batch, half: NDArray[np.int8], transforms: list[Tensor], shells: int
) -> tuple[NDArray[np.int64], Array]:
    """Images of a batch and their sums `(4, I, shells)`: data, model, power of data, count."""
    shell = batch.coefficient_shell()
    batch = batch.where(shell < shells)
    shell = shell[shell < shells]
    points, transfer = batch.points(), batch.ctf * batch.damage
    first, second = (transfer * sample(transform, points) for transform in transforms)
    of_first = torch.from_numpy(half == 1)[batch.particles][batch.coefficient_particle()]
    other = torch.view_as_real(torch.where(of_first, second, first))
    own = torch.view_as_real(torch.where(of_first, first, second))
    noise = batch.noise.clamp(min=_LEAST_NOISE)
    values = (
        (other * batch.data).sum(1) / noise,
        (other * own).sum(1) / noise,
        batch.data.square().sum(1) / noise,
        torch.full_like(noise, 2.0),
    )
    cell = batch.coefficient_image * shells + shell
    empty = torch.zeros(batch.n_images * shells, dtype=torch.float64)
    sums = [empty.index_add(0, cell, value.double()).view(-1, shells) for value in values]
    return batch.images.numpy(), torch.stack(sums).numpy()
