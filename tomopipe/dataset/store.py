"""The packed store: half-plane coefficients of every image, memory-mapped, ready for models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.dataset.images import CTF_COLUMNS, column, ctf_parameters
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_parquet
from tomopipe.physics.ctf import ctf
from tomopipe.physics.dose import dose_weight
from tomopipe.physics.fourier import HalfPlane, half_plane

STEP_FORMAT = 1
_VIEW = [f"view_{i}{j}" for i in range(3) for j in range(3)]


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
        self._coefficients = np.load(path / "coefficients.npy", mmap_mode="r")

    @classmethod
    def open(cls, path: Path | str, uids: Sequence[str] | None = None) -> Store:
        """Open a store, all of it or the particles `uids`.

        Raises
        ------
        StateError
            If the store is missing, of another format, or lacks one of `uids`.
        """
        path = Path(path)
        meta = read_json(path / "store.json")
        if meta.get("step_format") != STEP_FORMAT:
            raise StateError(
                f"{path}/store.json has step_format {meta.get('step_format')}, this version reads "
                f"{STEP_FORMAT}: run `tomopipe prepare` again"
            )
        packed = path / "coefficients.npy"
        size = packed.stat().st_size if packed.exists() else 0
        if size != meta["bytes"]:
            raise StateError(
                f"{path}/coefficients.npy has {size} bytes instead of {meta['bytes']}: "
                "run `tomopipe prepare` again"
            )
        store = cls(
            path,
            meta,
            read_parquet(path / "particles.parquet"),
            read_parquet(path / "images.parquet"),
        )
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

    @cached_property
    def _start(self) -> NDArray[np.int64]:
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
    def views(self) -> Tensor:
        """`(n_images, 3, 3)` float32 view matrices."""
        return torch.from_numpy(
            self.images[_VIEW].to_numpy(np.float32, copy=True).reshape(-1, 3, 3)
        )

    @cached_property
    def _image_table(self) -> dict[str, Tensor]:
        table = ctf_parameters(self.images)
        for name in ("dose_e_per_A2", "tilt_degrees", "scale", "pixel_size_angstrom"):
            table[name] = column(self.images, name)
        for name in ("premultiplied", "dose_weighted"):
            table[name] = torch.from_numpy(self.images[name].to_numpy(bool, copy=True))
        return table

    def batch(
        self,
        particles: Sequence[int] | NDArray[np.integer] | Tensor,
        *,
        tilts: Sequence[NDArray[np.integer]] | None = None,
        first: int | None = None,
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
        device
            Where the tensors go.
        """
        chosen = np.asarray(particles, dtype=np.int64)
        starts = self.image_start[chosen]
        if tilts is None:
            lengths = self.images_per_particle[chosen]
            images = _ranges(starts, lengths)
        else:
            lengths = np.array([len(t) for t in tilts], dtype=np.int64)
            images = np.repeat(starts, lengths) + np.concatenate([np.asarray(t) for t in tilts])
        image_particle = np.repeat(np.arange(len(chosen)), lengths)
        return self._batch(chosen, images, image_particle, first).to(device)

    def _batch(
        self,
        particles: NDArray[np.int64],
        images: NDArray[np.int64],
        image_particle: NDArray[np.int64],
        first: int | None,
    ) -> Batch:
        counts = self.counts[images]
        if first is not None:
            counts = np.minimum(counts, first)
        lattice = torch.from_numpy(_ranges(np.zeros_like(counts), counts))
        owner = torch.from_numpy(np.repeat(np.arange(len(images)), counts))
        data = np.asarray(
            self._coefficients[_ranges(self._start[images], counts)], dtype=np.float32
        )
        index = torch.from_numpy(images)
        table = {k: v[index] for k, v in self._image_table.items()}
        transfer, prefilter, damage = self._transfer(table, lattice, owner)
        return Batch(
            particles=torch.from_numpy(particles),
            uids=list(self.uids[particles]),
            images=index,
            image_particle=torch.from_numpy(image_particle),
            image_start=torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])),
            coefficient_image=owner,
            coefficient_lattice=lattice,
            data=torch.from_numpy(data),
            ctf=transfer,
            prefilter=prefilter,
            damage=damage,
            weight=self._weight(table, damage, owner),
            kept=lattice < torch.from_numpy(self.kept_counts[images])[owner],
            view=self.views[index],
            dose=table["dose_e_per_A2"].float(),
            tilt=table["tilt_degrees"].float(),
            lattice=self.lattice,
            box=self.box,
        )

    def _transfer(
        self, table: dict[str, Tensor], lattice: Tensor, owner: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Transfer as stored, prefilter and damage of each coefficient, `(C,)` float32."""
        pixel = table["pixel_size_angstrom"][owner]
        s = self.lattice[lattice].double() / (self.box * pixel)[:, None]
        optics = {name: table[name][owner] for name in CTF_COLUMNS}
        value = ctf(s[:, None], **optics)[:, 0] * table["scale"][owner]
        value = torch.where(torch.isnan(value), torch.ones_like(value), value)
        dose, voltage = table["dose_e_per_A2"][owner], table["voltage_kv"][owner]
        damage = dose_weight(s.norm(dim=-1), dose, voltage)
        damage = torch.nan_to_num(damage, nan=1.0)
        ones = torch.ones_like(value)
        prefilter = torch.where(table["premultiplied"][owner], value, ones)
        prefilter = prefilter * torch.where(table["dose_weighted"][owner], damage, ones)
        return (value * prefilter).float(), prefilter.float(), damage.float()

    def _weight(self, table: dict[str, Tensor], damage: Tensor, owner: Tensor) -> Tensor:
        weight = torch.ones_like(damage)
        if self.meta["settings"]["dose_weighting"]:
            weight = weight * damage
        if self.meta["settings"]["tilt_weighting"]:
            cosine = torch.cos(torch.deg2rad(torch.nan_to_num(table["tilt_degrees"], nan=0.0)))
            weight = weight * cosine[owner].float()
        return weight


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """`starts[i] … starts[i] + lengths[i] - 1` for every i, in one array."""
    ends = np.cumsum(lengths)
    offsets = np.repeat(starts - (ends - lengths), lengths)
    return np.asarray(np.arange(len(offsets)) + offsets, dtype=np.int64)
