"""Weighted back-projection of any particles of a store, in half-sets by particle."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.dataset.reader import Reader
from tomopipe.dataset.store import Store
from tomopipe.io.progress import Progress
from tomopipe.physics.fourier import frequencies, gridding_envelope, ifft3c
from tomopipe.physics.fsc import fsc, shell_sum
from tomopipe.physics.mask import sphere_mask

_PADDING = 2
_CHUNK_COEFFICIENTS = 1_000_000


@dataclass(frozen=True)
class Sums:
    """Sums of a back-projection on a padded Fourier grid.

    Attributes
    ----------
    numerator
        `(m, m, m)` complex, CTF-weighted data.
    denominator
        `(m, m, m)`, CTF^2 weights.
    box
        Box in pixels; m = 2 box.
    """

    numerator: Tensor
    denominator: Tensor
    box: int

    def __add__(self, other: Sums) -> Sums:
        """Sums of both groups of particles."""
        return Sums(
            self.numerator + other.numerator, self.denominator + other.denominator, self.box
        )

    def volume(self, prior: Tensor | None = None) -> Tensor:
        """Real-space `(box, box, box)` map: numerator / (denominator + prior).

        `prior` `(box // 2 + 1,)` is the Wiener term per shell (1 / signal power, noise in units of
        the data); without it a thousandth of the mean weight keeps empty voxels at zero.
        """
        m = self.numerator.shape[-1]
        shell = (frequencies(m, 3, self.numerator.device) / _PADDING).round().long()
        inside = shell <= self.box // 2 - 1
        floor = 1e-3 * self.denominator[inside].mean()
        term = torch.full_like(self.denominator, float(floor))
        if prior is not None:
            term = term + prior.to(term)[shell.clamp(max=self.box // 2)]
        transform = self.numerator / (self.denominator + term) * inside
        volume = ifft3c(transform).real
        lo = m // 2 - self.box // 2
        s = slice(lo, lo + self.box)
        # trilinear spreading multiplied the map by sinc^2, which is divided out
        return volume[s, s, s] / gridding_envelope(self.box, m, 2).to(volume)


@dataclass(frozen=True)
class HalfMaps:
    """A map, its two half-maps (by particle) and their FSC.

    Attributes
    ----------
    map, half1, half2
        `(box, box, box)` in units of the images, protein positive.
    fsc, fsc_masked
        `(box / 2 - 1,)` for shells 1 …; masked is inside the sphere mask.
    n_particles, n_images
        What went in.
    """

    map: Tensor
    half1: Tensor
    half2: Tensor
    fsc: Tensor
    fsc_masked: Tensor
    mask: Tensor
    n_particles: int
    n_images: int


def accumulate(
    store: Store,
    particles: Sequence[int] | NDArray[np.integer],
    *,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Sums:
    """Back-project `particles` (positions in the view), in batches of bounded size."""
    m = _PADDING * store.box
    total = torch.zeros(m**3, 3, device=device)
    for batch in batches(store, np.asarray(particles), device):
        # each batch by itself first: small terms would be lost beside a sum of millions
        total += _spread(batch, m)
        if progress is not None:
            progress.advance(batch.n_particles)
    total = total.reshape(m, m, m, 3)
    total += _mates(total) * total.new_tensor([1.0, -1.0, 1.0])
    numerator = torch.view_as_complex(total[..., :2].contiguous())
    return Sums(numerator, total[..., 2].contiguous(), store.box)


def chunks(
    store: Store, particles: NDArray[np.integer], coefficients: int = _CHUNK_COEFFICIENTS
) -> list[NDArray[np.integer]]:
    """`particles` in runs of at most `coefficients` stored coefficients (at least one particle)."""
    per_image = np.concatenate([[0], np.cumsum(store.counts)])
    size = per_image[store.image_start[particles + 1]] - per_image[store.image_start[particles]]
    group = np.cumsum(size) // coefficients
    return np.split(particles, np.flatnonzero(np.diff(group)) + 1) if len(particles) else []


def batches(
    store: Store, particles: NDArray[np.integer], device: torch.device | str
) -> Iterator[Batch]:
    """All coefficients of `particles` inside the dose mask, in batches of bounded size."""
    reader = store if torch.device(device).type == "cpu" else Reader(store, device)
    for part in chunks(store, particles):
        yield reader.batch(part, inside=True)


def _spread(batch: Batch, m: int) -> Tensor:
    """Coefficients of a batch spread over their 8 neighbours each: `(m^3, 3)`.

    The three are data (real, imaginary) and weights. Friedel mates are not spread: see `_mates`.
    """
    a, b = batch.back_projection()
    values = torch.cat([batch.data * a[:, None], b[:, None]], 1)
    position = batch.points() * m + m // 2
    base = position.floor()
    rest = position - base
    # per axis x, y, z: the two neighbours and their shares
    shares = [(1 - r, r) for r in rest.unbind(1)]
    # beyond the last voxel, outside the kept sphere, they come round
    places = [(c % m, (c + 1) % m) for c in base.long().unbind(1)]
    total = values.new_zeros(m**3, 3)
    for dx, dy, dz in itertools.product((0, 1), repeat=3):
        share = shares[0][dx] * shares[1][dy] * shares[2][dz]
        index = (places[2][dz] * m + places[1][dy]) * m + places[0][dx]
        total.index_add_(0, index, values * share[:, None])
    return total


def _mates(total: Tensor) -> Tensor:
    """`total` `(m, m, m, 3)` at the opposite frequencies: index i goes to m - i, 0 stays.

    Spreading a coefficient's Friedel mate gives the mirror image of spreading the coefficient, so
    that the sums are mirrored once instead of spreading everything twice.
    """
    return total.flip(0, 1, 2).roll((1, 1, 1), (0, 1, 2))


def half_maps(
    store: Store,
    particles: Sequence[int] | NDArray[np.integer] | None = None,
    *,
    mask_diameter_angstrom: float | None = None,
    wiener: float = 1.0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> HalfMaps:
    """Back-project `particles` in their two half-sets; FSC; and the Wiener-filtered whole.

    The two half-sets never share a particle, so that their FSC measures what is reproducible
    between particles; halves of tilts would share each particle's structure and its errors.
    """
    chosen = np.arange(store.n_particles) if particles is None else np.asarray(particles)
    halves = store.half[chosen]
    sums = [
        accumulate(store, chosen[halves == h], device=device, progress=progress) for h in (1, 2)
    ]
    radius = (mask_diameter_angstrom or 0.9 * store.box * store.pixel_size) / store.pixel_size / 2
    mask = sphere_mask(store.box, min(radius, store.box / 2 - 3))
    plain = [s.volume().cpu() for s in sums]
    curve, masked = fsc(plain[0], plain[1]), fsc(plain[0], plain[1], mask)
    prior = wiener * _wiener_term(sums[0] + sums[1], masked, store.box)
    half_prior = prior / 2
    return HalfMaps(
        map=(sums[0] + sums[1]).volume(prior).cpu() * store.scale,
        half1=sums[0].volume(half_prior).cpu() * store.scale,
        half2=sums[1].volume(half_prior).cpu() * store.scale,
        fsc=curve,
        fsc_masked=masked,
        mask=mask,
        n_particles=len(chosen),
        n_images=int(store.images_per_particle[chosen].sum()),
    )


def _wiener_term(sums: Sums, curve: Tensor, box: int) -> Tensor:
    """Wiener term per shell 0 … box/2: mean weight x (1 - FSC) / (2 FSC) of the half-maps.

    SSNR of the whole = 2 FSC / (1 - FSC) (Scheres 2012); weight / SSNR is noise over signal.
    """
    value = curve.clamp(0.01, 0.999).float().cpu()
    ratio = (1 - value) / (2 * value)
    m = sums.denominator.shape[-1]
    ones = shell_sum(torch.ones(m, m, m))
    weights = shell_sum(sums.denominator.cpu()) / ones
    mean = weights[_PADDING - 1 :: _PADDING][: len(ratio)]
    term = mean * ratio
    return torch.cat([term[:1], term, term[-1:]])
