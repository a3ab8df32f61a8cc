"""Batches of a store on a device: from disk, or from coefficients that lie there already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.config.prepare import PrepareSettings
from tomopipe.dataset.batch import Batch
from tomopipe.dataset.check import Check
from tomopipe.dataset.images import column
from tomopipe.dataset.memory import free_memory
from tomopipe.dataset.pages import Pages
from tomopipe.dataset.transfer import TransferTable

if TYPE_CHECKING:
    from tomopipe.dataset.store import Store

Indices = NDArray[np.int64]
# one generator for everything, or one for each particle, whose draws then depend on no other
Draws = np.random.Generator | Sequence[np.random.Generator]

_SLAB_IMAGES = 1 << 14
_LEVELS = 1 << 16  # of the random numbers that choose coefficients


@dataclass(frozen=True)
class Choice:
    """Some coefficients of some particles: what a batch is made of.

    Attributes
    ----------
    particles, images, image_particle
        As in `Batch`.
    counts
        `(I,)` coefficients chosen of each image.
    lattice
        `(C,)` lattice points, image after image.
    """

    particles: Indices
    images: Indices
    image_particle: Indices
    counts: Indices
    lattice: Indices


def choose(
    store: Store,
    particles: Sequence[int] | NDArray[np.integer] | Tensor,
    *,
    tilts: Sequence[NDArray[np.integer]] | None = None,
    first: int | None = None,
    inside: bool = False,
    fraction: float = 1.0,
    rng: Draws | None = None,
) -> Choice:
    """Choose coefficients; arguments are those of `Store.batch`."""
    chosen = np.asarray(particles, dtype=np.int64)
    starts = store.image_start[chosen]
    if tilts is None:
        lengths = store.images_per_particle[chosen]
        images = _ranges(starts, lengths)
    else:
        lengths = np.array([len(t) for t in tilts], dtype=np.int64)
        images = np.repeat(starts, lengths) + np.concatenate([np.asarray(t) for t in tilts])
    counts = (store.kept_counts if inside else store.counts)[images]
    if first is not None:
        counts = np.minimum(counts, first)
    owner = np.repeat(np.arange(len(chosen)), lengths)
    if fraction < 1:
        sizes = np.bincount(owner, counts, minlength=len(chosen)).astype(np.int64)
        draw = _levels(sizes, np.random.default_rng() if rng is None else rng)
        counts, lattice = _thinned(counts, fraction, draw)
    else:
        lattice = _ranges(np.zeros_like(counts), counts)
    return Choice(chosen, images, owner, counts, lattice)


def _levels(sizes: Indices, rng: Draws) -> NDArray[np.uint16]:
    """Random numbers for `sizes` coefficients of each particle."""
    if isinstance(rng, np.random.Generator):
        return rng.integers(0, _LEVELS, size=int(sizes.sum()), dtype=np.uint16)
    drawn = [
        r.integers(0, _LEVELS, size=n, dtype=np.uint16) for r, n in zip(rng, sizes, strict=True)
    ]
    return np.concatenate(drawn)


def _thinned(counts: Indices, fraction: float, draw: NDArray[np.uint16]) -> tuple[Indices, Indices]:
    """The `fraction` of the first `counts[i]` lattice points of each image i that `draw` names."""
    ends = np.cumsum(counts)
    places = np.flatnonzero(draw < round(fraction * _LEVELS))
    new_ends = np.searchsorted(places, ends)
    new = np.diff(new_ends, prepend=0)
    return new, places - np.repeat(ends - counts, new)


def _window_radius(store: Store) -> float:
    """Radius (pixels) of the window that `prepare` laid over the images, at half of its edge.

    At most that of a disc with the area of the box.
    """
    settings = PrepareSettings.model_validate(store.meta["settings"])
    half = 0.25 * (settings.window_inner + settings.window_outer)
    radius: float = store.box * min(half, 1 / math.sqrt(math.pi))
    return radius


class Reader:
    """Makes batches of a store on a device.

    Tables of the images live on the device, and what follows from them is computed there for the
    chosen coefficients alone.

    Parameters
    ----------
    store
        Where the particles are.
    device
        Where the batches go.
    resident
        Keep all coefficients of the view on the device, in half precision: no batch then waits
        for disk or bus.
    """

    def __init__(
        self, store: Store, device: torch.device | str = "cpu", *, resident: bool = False
    ) -> None:
        self.store = store
        self.device = torch.device(device)
        self._transfer = TransferTable(
            store.images, store.lattice, store.box, _window_radius(store), self.device
        )
        self._lattice = store.lattice.to(self.device)
        self._views = store.views.to(self.device)
        self._kept = torch.from_numpy(store.kept_counts.copy()).to(self.device)
        self._dose = column(store.images, "dose_e_per_A2").float().to(self.device)
        self._tilt = column(store.images, "tilt_degrees").float().to(self.device)
        settings = store.meta["settings"]
        self._dose_weighting: bool = settings["dose_weighting"]
        self._cosine: Tensor | None = None
        if settings["tilt_weighting"]:
            self._cosine = torch.cos(torch.deg2rad(self._tilt.nan_to_num(nan=0.0)))
        self._pages = Pages(store.path / "coefficients.npy")
        self._header = int(getattr(store.coefficients, "offset", 0))  # of a memory map
        self._check = Check(store)
        self._data = _all_coefficients(store, self._check, self.device) if resident else None
        if resident:
            starts = np.cumsum(store.counts) - store.counts
            self._start = torch.from_numpy(starts).to(self.device)

    @property
    def resident(self) -> bool:
        """Whether the coefficients lie on the device."""
        return self._data is not None

    def batch(
        self,
        particles: Sequence[int] | NDArray[np.integer] | Tensor,
        *,
        tilts: Sequence[NDArray[np.integer]] | None = None,
        first: int | None = None,
        inside: bool = False,
        fraction: float = 1.0,
        rng: Draws | None = None,
    ) -> Batch:
        """Some particles, flat, on the device; arguments are those of `Store.batch`."""
        return self.make(
            choose(
                self.store,
                particles,
                tilts=tilts,
                first=first,
                inside=inside,
                fraction=fraction,
                rng=rng,
            )
        )

    def make(self, choice: Choice) -> Batch:
        """The batch of a choice."""
        image = self.sent(choice.images)
        counts = self.sent(choice.counts)
        lattice = self.sent(choice.lattice)
        total = len(choice.lattice)
        owner = torch.repeat_interleave(counts, output_size=total)
        row = image[owner]
        transfer, noise, damage, falloff = self._transfer(row, lattice)
        weight = damage if self._dose_weighting else torch.ones_like(damage)
        if self._cosine is not None:
            weight = weight * self._cosine[row]
        return Batch(
            particles=self.sent(choice.particles),
            uids=list(self.store.uids[choice.particles]),
            images=image,
            image_particle=self.sent(choice.image_particle),
            image_start=self.sent(np.concatenate([[0], np.cumsum(choice.counts)])),
            coefficient_image=owner,
            coefficient_lattice=lattice,
            data=self._coefficients(choice, row, lattice),
            ctf=transfer if falloff is None else transfer * falloff,
            noise=noise,
            damage=damage,
            falloff=falloff,
            weight=weight,
            kept=lattice < self._kept[row],
            view=self._views[image],
            dose=self._dose[image],
            tilt=self._tilt[image],
            lattice=self._lattice,
            box=self.store.box,
        )

    def sent(self, values: NDArray[Any]) -> Tensor:
        """Values on the device: neither copy nor, on a GPU, the work before it is waited for."""
        value = torch.from_numpy(values)
        if self.device.type != "cuda":
            return value.to(self.device)
        return value.pin_memory().to(self.device, non_blocking=True)

    def _coefficients(self, choice: Choice, row: Tensor, lattice: Tensor) -> Tensor:
        """Data `(C, 2)` float32 of the coefficients."""
        if self._data is not None:
            return self._data[self._start[row] + lattice].float()
        data, places = self._read(choice)
        return self.sent(data[np.repeat(places, choice.counts) + choice.lattice]).float()

    def _read(self, choice: Choice) -> tuple[NDArray[np.float16], Indices]:
        """Coefficients from disk, to the last one chosen of each image, and where images begin.

        An image is read whole the first time, to be checked.
        """
        some = choice.counts > 0
        images = choice.images[some]
        stop = choice.lattice[np.cumsum(choice.counts)[some] - 1] + 1
        new = self._check.due(images)
        stop[new] = self.store.counts[images[new]]
        size = self.store.coefficients[:1].nbytes
        starts = self._header + size * self.store.starts[images]
        buffer, found = self._pages.read(starts, starts + size * stop)
        self._check(images[new], buffer, found[new], size * stop[new])
        places = np.zeros(len(some), dtype=np.int64)
        places[some] = found // size
        return buffer.view(np.float16).reshape(-1, 2), places


def open_reader(store: Store, device: torch.device, memory_gb: float | None = None) -> Reader:
    """A reader whose coefficients lie on the device, where they fit.

    Parameters
    ----------
    memory_gb
        How much memory they may take (GB = 1e9 bytes). None: half of what is free on a GPU, and
        nothing on a CPU, where the system keeps what it reads from disk in free memory anyway.
    """
    if memory_gb is None:
        memory_gb = free_memory(device) / 2 / 1e9 if device.type == "cuda" else 0.0
    needed = 4 * int(store.counts.sum())
    return Reader(store, device, resident=needed <= memory_gb * 1e9)


def _all_coefficients(store: Store, check: Check, device: torch.device) -> Tensor:
    """All coefficients of the view, image after image, `(sum of counts, 2)` float16."""
    data = torch.empty(int(store.counts.sum()), 2, dtype=torch.float16, device=device)
    end = 0
    for first in range(0, store.n_images, _SLAB_IMAGES):
        part = slice(first, first + _SLAB_IMAGES)
        counts = store.counts[part]
        packed = store.coefficients[_ranges(store.starts[part], counts)]
        size = packed[:1].nbytes
        begin = size * (np.cumsum(counts) - counts)
        images = np.arange(first, first + len(counts))
        check(images, packed.view(np.uint8).reshape(-1), begin, size * counts)
        data[end : end + len(packed)] = torch.from_numpy(packed).to(device)
        end += len(packed)
    return data


def _ranges(starts: Indices, lengths: Indices) -> Indices:
    """`starts[i] … starts[i] + lengths[i] - 1` for every i, in one array."""
    ends = np.cumsum(lengths)
    offsets = np.repeat(starts - (ends - lengths), lengths)
    return np.asarray(np.arange(len(offsets)) + offsets, dtype=np.int64)
