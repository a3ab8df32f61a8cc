"""Half-maps: back-projections of the two half-sets of particles, their FSC, the filtered whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.progress import Progress
from tomopipe.physics.mask import sphere_mask
from tomopipe.reconstruct.backproject import PADDING, Sums, accumulate, open_on
from tomopipe.reconstruct.resolution import Curves, half_map_curves


@dataclass(frozen=True)
class HalfMaps:
    """A map, its two half-maps (by particle) and their FSC.

    Attributes
    ----------
    map, half1, half2
        `(box, box, box)` in units of the images, protein positive.
    unfiltered
        The two half-maps without the Wiener filter, in any unit; FSC are theirs.
    curves
        FSC of the half-maps, inside the mask and without it.
    mask
        `(box, box, box)`.
    n_particles, n_images
        What went in.
    """

    map: Tensor
    half1: Tensor
    half2: Tensor
    unfiltered: tuple[Tensor, Tensor]
    curves: Curves
    mask: Tensor
    n_particles: int
    n_images: int

    @property
    def fsc(self) -> Tensor:
        """Without mask, `(box / 2 - 1,)` for shells 1 …."""
        return self.curves.unmasked

    @property
    def fsc_masked(self) -> Tensor:
        """Inside the mask, `(box / 2 - 1,)`."""
        return self.curves.masked


def check_halves(store: Store) -> None:
    """Raise `StateError` unless both half-sets have particles."""
    if len(set(store.half.tolist())) < 2:
        raise StateError(
            f"{store.path}: all {store.n_particles} selected particles are in half-set "
            f"{store.half[:1].tolist()}: select particles of both halves (rlnRandomSubset)"
        )


def half_sums(
    store: Store,
    particles: NDArray[np.integer],
    *,
    operators: Tensor | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[Sums, Sums]:
    """Sums of both half-sets of `particles` (rlnRandomSubset where the source has it).

    The two half-sets never share a particle, so that their FSC measures what is reproducible
    between particles; halves of tilts would share each particle's structure and its errors.
    """
    halves = store.half[particles]
    reader = open_on(store, device)
    first, second = (
        accumulate(
            store,
            particles[halves == h],
            operators=operators,
            device=device,
            reader=reader,
            progress=progress,
        )
        for h in (1, 2)
    )
    return first, second


def half_maps(
    store: Store,
    particles: Sequence[int] | NDArray[np.integer] | None = None,
    *,
    mask_diameter_angstrom: float | None = None,
    wiener: float = 1.0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> HalfMaps:
    """Back-project `particles` in their two half-sets; FSC; and the Wiener-filtered whole."""
    chosen = np.arange(store.n_particles) if particles is None else np.asarray(particles)
    sums = half_sums(store, chosen, device=device, progress=progress)
    radius = (mask_diameter_angstrom or 0.9 * store.box * store.pixel_size) / store.pixel_size / 2
    mask = sphere_mask(store.box, min(radius, store.box / 2 - 3))
    plain = (sums[0].volume().cpu(), sums[1].volume().cpu())
    curves = half_map_curves(*plain, mask)
    both = sums[0] + sums[1]
    prior = wiener * wiener_term(both, curves.masked)
    half_prior = prior / 2
    return HalfMaps(
        map=both.volume(prior).cpu() * store.scale,
        half1=sums[0].volume(half_prior).cpu() * store.scale,
        half2=sums[1].volume(half_prior).cpu() * store.scale,
        unfiltered=plain,
        curves=curves,
        mask=mask,
        n_particles=len(chosen),
        n_images=int(store.images_per_particle[chosen].sum()),
    )


def wiener_term(sums: Sums, curve: Tensor) -> Tensor:
    """Wiener term per shell 0 … box/2: mean weight x (1 - FSC) / (2 FSC) of the half-maps.

    SSNR of the whole = 2 FSC / (1 - FSC) (Scheres 2012); weight / SSNR is noise over signal.
    """
    value = curve.clamp(0.01, 0.999).float().cpu()
    ratio = (1 - value) / (2 * value)
    mean = sums.mean_weights()[PADDING - 1 :: PADDING][: len(ratio)]
    term = mean * ratio
    return torch.cat([term[:1], term, term[-1:]])
