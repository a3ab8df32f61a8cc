"""Which tilts are encoded, predicted and held out. Every draw is a function of seed and place."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tilts = NDArray[np.int64]


@dataclass(frozen=True)
class TiltSplit:
    """For each particle the positions (0 … n-1) of tilts to train on, and of those held out."""

    training: list[Tilts]
    held_out: list[Tilts]


def hold_out(
    uids: Sequence[str], images_per_particle: NDArray[np.int64], fraction: float, seed: int
) -> TiltSplit:
    """Hold a fixed share of every particle's tilts out.

    The draw depends on seed and uid only, so a particle keeps its held-out tilts in any subset. At
    least one tilt is held out of four or more, and at least two are left to train on.
    """
    training, held_out = [], []
    for uid, n in zip(uids, images_per_particle, strict=True):
        count = min(max(round(fraction * n), 1), n - 2) if fraction > 0 and n >= 4 else 0
        order = np.random.default_rng([seed, zlib.crc32(uid.encode())]).permutation(n)
        held_out.append(np.sort(order[:count]))
        training.append(np.sort(order[count:]))
    return TiltSplit(training, held_out)


def split_tilts(tilts: Tilts, fraction: float, rng: np.random.Generator) -> tuple[Tilts, Tilts]:
    """A random share of `tilts` to encode, and the rest to predict; they never overlap.

    A single tilt is both: with one image per particle there is nothing else to predict.
    """
    n = len(tilts)
    if n == 1:
        return tilts, tilts
    count = int(np.clip(np.floor(fraction * n + rng.random()), 1, n - 1))
    order = rng.permutation(n)
    return tilts[np.sort(order[:count])], tilts[np.sort(order[count:])]


def draw_tilts(tilts: Tilts, count: int, rng: np.random.Generator) -> tuple[Tilts, Tilts]:
    """`count` random tilts in random order, and the rest in theirs (concatenate pooling)."""
    order = rng.permutation(len(tilts))
    return tilts[order[:count]], tilts[np.sort(order[count:])]


def even_tilts(tilts: Tilts, count: int) -> Tilts:
    """`count` tilts at an even stride (all of them for 0): the deterministic choice."""
    if count == 0 or count >= len(tilts):
        return tilts
    chosen: Tilts = tilts[np.linspace(0, len(tilts) - 1, count).round().astype(int)]
    return chosen


def numpy_rng(*place: int) -> np.random.Generator:
    """Random numbers that depend on seed, epoch, step … and on nothing that came before.

    Nothing about random state needs to be saved for a run to continue as if never interrupted.
    """
    return np.random.default_rng(list(place))
