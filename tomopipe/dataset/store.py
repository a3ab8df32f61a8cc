"""The packed store: half-plane coefficients of every image, memory-mapped, ready for models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.dataset.check import anew, check_all
from tomopipe.dataset.images import CTF_COLUMNS
from tomopipe.dataset.reader import Draws, Reader
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_parquet, read_sealed_json
from tomopipe.physics.fourier import HalfPlane, half_plane

STEP_FORMAT = 3
# what is not measured, or not found: all images show the signal alike
NO_FALLOFF = {"falloff_scale": 1.0, "falloff_bfactor_A2": 0.0, "falloff_angstrom": np.inf}
_VIEW = [f"view_{i}{j}" for i in range(3) for j in range(3)]
# names and origins of images, half of a large table, stay on disk
_COLUMNS = [
    *_VIEW,
    *CTF_COLUMNS,
    *("dose_e_per_A2", "tilt_degrees", "scale", "pixel_size_angstrom"),
    *("falloff_scale", "falloff_bfactor_A2", "falloff_angstrom"),
    *("premultiplied", "dose_weighted", "coefficient_start", "coefficient_count", "kept_count"),
]


class Store:
    """A store on disk, restricted to some of its particles in the store's order.

    Attributes
    ----------
    box, pixel_size
        Pixels and Å per pixel.
    scale
        The coefficients on disk are image transforms divided by this.
    uids, tomograms, half
        `(n_particles,)` uid, tomogram and half-set (1 or 2) of each particle.
    images
        Table of the view's images, grouped by particle.
    image_start
        `(n_particles + 1,)` where each particle's images begin in that table.
    coefficients
        `(n_coefficients, 2)` (Re, Im) of the whole store, mapped from disk.

    The size of the coefficients is checked when a store is opened, and each image's checksum when
    it is first read: to read hundreds of GB at every opening would cost more than the work.
    """

    def __init__(
        self, path: Path, meta: dict[str, Any], particles: pd.DataFrame, images: pd.DataFrame
    ) -> None:
        self.path = path
        self.meta = meta
        self.box: int = meta["box"]
        self.pixel_size: float = meta["pixel_size_angstrom"]
        self.scale: float = meta["scale"]
        self.particles = particles.reset_index(drop=True)
        self.images = images.reset_index(drop=True)
        self.uids: NDArray[np.object_] = self.particles["uid"].to_numpy(object)
        self.tomograms: NDArray[np.object_] = self.particles["tomogram"].to_numpy(object)
        self.half: NDArray[np.int8] = self.particles["half"].to_numpy(np.int8)
        self.images_per_particle: NDArray[np.int64] = self.particles["n_images"].to_numpy(np.int64)
        self.image_start = np.concatenate([[0], np.cumsum(self.images_per_particle)])
        self.coefficients: NDArray[np.float16] = _mapped(path / "coefficients.npy")

    @classmethod
    def open(cls, path: Path | str, uids: Sequence[str] | None = None) -> Store:
        """Open a store, all of it or the particles `uids`.

        Raises
        ------
        StateError
            If the store is missing, of another format, damaged, or lacks one of `uids`.
        """
        path = Path(path)
        meta = read_sealed_json(path / "store.json")
        if meta.get("step_format") != STEP_FORMAT:
            raise StateError(
                f"{path}/store.json has step_format {meta.get('step_format')}, this version reads "
                f"{STEP_FORMAT}: run `tomopipe prepare` again"
            )
        packed = path / "coefficients.npy"
        size = packed.stat().st_size if packed.exists() else 0
        if size != meta["bytes"]:
            raise StateError(f"{packed} has {size} bytes instead of {meta['bytes']}: {anew(path)}")
        particles = read_parquet(path / "particles.parquet")
        sums = ["crc32"] if meta.get("checksums") else []
        images = read_parquet(path / "images.parquet", _COLUMNS + sums)
        store = cls(path, meta, particles, images)
        return store if uids is None else store.subset(uids)

    def subset(self, uids: Sequence[str]) -> Store:
        """The particles `uids` of this view, in this view's order.

        Raises
        ------
        StateError
            If a uid is not in this store.
        """
        wanted = pd.Index(uids)
        missing = wanted.difference(pd.Index(self.uids))
        if len(missing):
            raise StateError(
                f"{self.path} lacks {len(missing)} of the {len(wanted)} selected particles, for "
                f"example {missing[0]!r}: prepare the data set that the selection was made on"
            )
        keep = self.particles["uid"].isin(wanted).to_numpy()
        rows = np.repeat(keep, self.images_per_particle)
        return Store(self.path, self.meta, self.particles[keep], self.images[rows])

    def with_columns(self, columns: Mapping[str, NDArray[np.float64]]) -> Store:
        """The same view with other values, `(n_images,)` each, in its table of images."""
        return Store(self.path, self.meta, self.particles, self.images.assign(**columns))

    @property
    def n_particles(self) -> int:
        """Number of particles of this view."""
        return len(self.particles)

    @property
    def n_images(self) -> int:
        """Number of images of this view."""
        return len(self.images)

    @property
    def plane(self) -> HalfPlane:
        """The half plane of image frequencies."""
        return half_plane(self.box)

    @property
    def lattice(self) -> Tensor:
        """`(n_lattice, 2)` (kx, ky)."""
        return self.plane.points

    @property
    def radius(self) -> Tensor:
        """`(n_lattice,)` |k| in lattice units."""
        return self.plane.radius

    @property
    def n_lattice(self) -> int:
        """Points in the half plane."""
        return len(self.lattice)

    @property
    def image_tomograms(self) -> NDArray[np.object_]:
        """`(n_images,)` tomogram of each image."""
        return np.repeat(self.tomograms, self.images_per_particle)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """`(n_images,)` where each image's coefficients begin in `coefficients`."""
        return self.images["coefficient_start"].to_numpy(np.int64)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """`(n_images,)` coefficients stored of each image."""
        return self.images["coefficient_count"].to_numpy(np.int64)

    @cached_property
    def kept_counts(self) -> NDArray[np.int64]:
        """`(n_images,)` coefficients of each image inside the dose mask."""
        return self.images["kept_count"].to_numpy(np.int64)

    @cached_property
    def checksums(self) -> NDArray[np.uint32] | None:
        """`(n_images,)` CRC-32 of each image's coefficients; none in stores of early versions."""
        if "crc32" not in self.images:
            return None
        return self.images["crc32"].to_numpy(np.uint32)

    @cached_property
    def views(self) -> Tensor:
        """`(n_images, 3, 3)` float32 view matrices."""
        return torch.from_numpy(
            self.images[_VIEW].to_numpy(np.float32, copy=True).reshape(-1, 3, 3)
        )

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self)

    def batch(
        self,
        particles: Sequence[int] | NDArray[np.integer] | Tensor,
        *,
        tilts: Sequence[NDArray[np.integer]] | None = None,
        first: int | None = None,
        inside: bool = False,
        fraction: float = 1.0,
        rng: Draws | None = None,
        device: torch.device | str = "cpu",
    ) -> Batch:
        """Everything about some particles, flat.

        Parameters
        ----------
        particles
            Positions in this view.
        tilts
            For each of them, which of its images (0 … n-1); all by default.
        first
            At most this many coefficients of each image: those of lowest frequency.
        inside
            Only coefficients inside the dose mask.
        fraction, rng
            Only a random share of the coefficients, and where it is drawn from.
        device
            Where the tensors go; made there at once by `dataset.reader.Reader`.
        """
        return self._reader.batch(
            particles, tilts=tilts, first=first, inside=inside, fraction=fraction, rng=rng
        ).to(device)


def _mapped(path: Path) -> NDArray[np.float16]:
    try:
        array: NDArray[np.float16] = np.load(path, mmap_mode="r")
    except (ValueError, EOFError):
        array = np.empty((0, 0), np.float16)
    if array.dtype != np.float16 or array.ndim != 2 or array.shape[1] != 2:
        raise StateError(f"{path} is damaged at its beginning: {anew(path.parent)}")
    return array


def check_store(path: Path | str) -> bool:
    """Read a whole store and compare every image with its checksum.

    Returns
    -------
    checked
        False where the store has no checksums, as those of early versions.

    Raises
    ------
    StateError
        If the store cannot be opened or an image is not what was packed.
    """
    return check_all(Store.open(path))
