"""Weighted back-projection of any particles of a store, in half-sets by particle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.dataset.reader import Reader
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.progress import Progress
from tomopipe.physics.fourier import frequencies, gridding_envelope, ifft3c
from tomopipe.physics.fsc import shell_sum
from tomopipe.physics.mask import sphere_mask
from tomopipe.reconstruct.resolution import Curves, half_map_curves
from tomopipe.reconstruct.spread import empty_grid, mates, spread

_PADDING = 2
_CHUNK_COEFFICIENTS = 1_000_000
_THREAD_BYTES = 6 << 30  # for the sums of all threads together


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

    def mean_weights(self) -> Tensor:
        """Mean weight of each shell of the padded grid, `(m/2 - 1,)` for shells 1 …, on the CPU."""
        m = self.denominator.shape[-1]
        return shell_sum(self.denominator.cpu()) / shell_sum(torch.ones(m, m, m))

    def volume(self, prior: Tensor | None = None, *, floor_by_shell: bool = False) -> Tensor:
        """Real-space `(box, box, box)` map: numerator / (denominator + prior).

        `prior` `(box // 2 + 1,)` is the Wiener term per shell (1 / signal power, noise in units of
        the data); without it a thousandth of the mean weight keeps empty voxels at zero, with
        `floor_by_shell` of the mean in their shell: weights may differ by orders between shells.
        """
        m = self.numerator.shape[-1]
        shell = (frequencies(m, 3, self.numerator.device) / _PADDING).round().long()
        inside = shell <= self.box // 2 - 1
        if floor_by_shell:
            mean = self.mean_weights()
            fine = frequencies(m, 3, self.numerator.device).round().long().clamp(max=m // 2)
            term = 1e-3 * torch.cat([mean[:1], mean, mean[-1:]]).to(self.denominator)[fine]
        else:
            floor = 1e-3 * self.denominator[inside].mean()
            term = torch.full_like(self.denominator, float(floor))
        if prior is not None:
            term = term + prior.to(term)[shell.clamp(max=self.box // 2)]
        # without any particle all is 0
        transform = self.numerator / (self.denominator + term).clamp(min=1e-30) * inside
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


def accumulate(
    store: Store,
    particles: Sequence[int] | NDArray[np.integer],
    *,
    operators: Tensor | None = None,
    undamped: bool = False,
    device: torch.device | str = "cpu",
    reader: Store | Reader | None = None,
    progress: Progress | None = None,
) -> Sums:
    """Back-project `particles` (positions in the view), in batches of bounded size.

    On a CPU every thread sums batches of its own, as many threads as torch uses and memory allows.

    Parameters
    ----------
    store, particles
        What goes in.
    operators
        `(g, 3, 3)` rotations of a symmetry group: every image is put into the sums once for each.
    undamped
        Make up for what the signal has lost (`Batch.back_projection`) instead of counting weak
        images less (`Batch.map_weights`).
    device
        Where the sums are.
    reader
        From `open_on(store, device)`, for many groups of particles of one store.
    progress
        Told of every particle.
    """
    m = _PADDING * store.box
    parts = chunks(store, np.asarray(particles, dtype=np.int64))
    on_cpu = torch.device(device).type == "cpu"
    threads = torch.get_num_threads()
    fitting = _THREAD_BYTES // (24 * m**3)
    workers = max(1, min(threads, len(parts), fitting)) if on_cpu else 1
    source = open_on(store, device) if reader is None else reader

    def share(first: int) -> Tensor:
        if workers > 1:
            torch.set_num_threads(1)  # of this thread; the others have batches of their own
        total, fresh = empty_grid(m, 3, device), empty_grid(m, 3, device)
        for part in parts[first::workers]:
            # each batch by itself first: small terms would be lost beside a sum of millions
            batch = source.batch(part, inside=True)
            add_batch(batch, fresh.zero_(), m, operators, undamped=undamped)
            total += fresh
            if progress is not None:
                progress.advance(len(part))
        return total

    if workers <= 1:
        total = share(0)
    else:
        source.batch(parts[0][:1])  # what it keeps for later is made once, before the threads
        try:
            with ThreadPoolExecutor(workers) as pool:
                total, *rest = pool.map(share, range(workers))
        finally:
            torch.set_num_threads(threads)
        for other in rest:
            total += other
    return completed(total, store.box)


def completed(total: Tensor, box: int) -> Sums:
    """Sums of a grid `(3, ...)` of data and weights, with their Friedel mates."""
    m = _PADDING * box
    total = total[:, : m**3].reshape(3, m, m, m)
    total = total + mates(total) * total.new_tensor([1.0, -1.0, 1.0])[:, None, None, None]
    return Sums(torch.complex(total[0], total[1]), total[2].clone(), box)


def add_batch(
    batch: Batch, grid: Tensor, m: int, operators: Tensor | None, *, undamped: bool = False
) -> None:
    """Spread data (real, imaginary) and weights of a batch on the padded grid."""
    a, b = batch.back_projection() if undamped else batch.map_weights()
    values = [batch.data[:, 0] * a, batch.data[:, 1] * a, b]
    points = batch.points()
    if operators is None:
        spread(points, values, grid, m)
        return
    for operator in operators.to(points):
        # a volume with this symmetry has the same transform there
        spread(points @ operator, values, grid, m)


def chunks(
    store: Store, particles: NDArray[np.integer], coefficients: int = _CHUNK_COEFFICIENTS
) -> list[NDArray[np.integer]]:
    """`particles` in runs of at most `coefficients` stored coefficients (at least one particle)."""
    per_image = np.concatenate([[0], np.cumsum(store.counts)])
    size = per_image[store.image_start[particles + 1]] - per_image[store.image_start[particles]]
    group = np.cumsum(size) // coefficients
    return np.split(particles, np.flatnonzero(np.diff(group)) + 1) if len(particles) else []


def open_on(store: Store, device: torch.device | str) -> Store | Reader:
    """What makes batches of the store on a device."""
    return store if torch.device(device).type == "cpu" else Reader(store, device)


def batches(
    store: Store, particles: NDArray[np.integer], reader: Store | Reader
) -> Iterator[Batch]:
    """All coefficients of `particles` inside the dose mask, in batches of bounded size."""
    for part in chunks(store, particles):
        yield reader.batch(part, inside=True)


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
    mean = sums.mean_weights()[_PADDING - 1 :: _PADDING][: len(ratio)]
    term = mean * ratio
    return torch.cat([term[:1], term, term[-1:]])
