"""Is what lies in a store what was packed? Asked of each image when it is first read, or of all."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomopipe.dataset.pages import Pages
from tomopipe.errors import StateError

if TYPE_CHECKING:
    from tomopipe.dataset.store import Store

Indices = NDArray[np.int64]

_SLAB_IMAGES = 1 << 12


class Check:
    """Compares images of a view with their checksums, each once; stores without any pass."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._due = np.full(store.n_images, store.checksums is not None)

    def due(self, images: Indices) -> NDArray[np.bool_]:
        """Which of `images` have not been checked yet."""
        return self._due[images]

    def __call__(
        self, images: Indices, data: NDArray[np.uint8], begin: Indices, length: Indices
    ) -> None:
        """Check `images`, whose coefficients are `length[i]` bytes from `begin[i]` of `data`.

        Raises
        ------
        StateError
            If one is not what was packed.
        """
        sums = self.store.checksums
        if sums is None:
            return
        for image, at, size in zip(images, begin, length, strict=True):
            if zlib.crc32(data.data[at : at + size]) != sums[image]:
                raise _damaged(self.store, int(image))
        self._due[images] = False


def check_all(store: Store) -> bool:
    """Read and check every image; False where there is nothing to compare with."""
    if store.checksums is None:
        return False
    check, pages = Check(store), Pages(store.path / "coefficients.npy")
    header = int(getattr(store.coefficients, "offset", 0))  # of a memory map
    size = store.coefficients[:1].nbytes
    for first in range(0, store.n_images, _SLAB_IMAGES):
        images = np.arange(first, min(first + _SLAB_IMAGES, store.n_images))
        begin, length = header + size * store.starts[images], size * store.counts[images]
        data, found = pages.read(begin, begin + length)
        check(images, data, found, length)
    return True


def anew(path: Path) -> str:
    """What to do with a damaged store."""
    return f"remove {path} and pack it again, by the workflow or `tomopipe prepare`"


def _damaged(store: Store, image: int) -> StateError:
    particle = int(np.searchsorted(store.image_start, image, "right")) - 1
    number = image - int(store.image_start[particle]) + 1
    return StateError(
        f"{store.path}/coefficients.npy is damaged in image {number} of particle "
        f"{store.uids[particle]}: {anew(store.path)}"
    )
