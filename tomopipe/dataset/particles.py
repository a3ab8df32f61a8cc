"""The particle table: one row per particle, one row per image, joined by uid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_parquet, write_json, write_parquet

VIEW_COLUMNS = [f"view_{row}{column}" for row in range(3) for column in range(3)]

PARTICLE_COLUMNS = {
    "uid": "str",
    "tomogram": "str",
    "x_angstrom": "float64",
    "y_angstrom": "float64",
    "z_angstrom": "float64",
    "half": "int8",
    "source_row": "int64",
    "n_images": "int32",
}

IMAGE_COLUMNS = {
    "uid": "str",
    "stack": "str",
    "slot": "int32",
    **dict.fromkeys(VIEW_COLUMNS, "float64"),
    "shift_x_angstrom": "float64",
    "shift_y_angstrom": "float64",
    "defocus_u_angstrom": "float64",
    "defocus_v_angstrom": "float64",
    "astigmatism_degrees": "float64",
    "phase_shift_degrees": "float64",
    "dose_e_per_A2": "float64",
    "tilt_degrees": "float64",
    "scale": "float64",
    "bfactor_A2": "float64",
    "pixel_size_angstrom": "float64",
    "voltage_kv": "float64",
    "cs_mm": "float64",
    "amplitude_contrast": "float64",
    "optics": "str",
    "premultiplied": "bool",
    "dose_weighted": "bool",
    "source_row": "int64",
    "source_frame": "int32",
}


@dataclass(frozen=True)
class ParticleSet:
    """Particles and their images in the source's order, and what is known of their origin.

    `images` is grouped by particle, in the order of `particles`; `info` is import.json.
    """

    particles: pd.DataFrame
    images: pd.DataFrame
    info: dict[str, Any]

    def __len__(self) -> int:
        """Count the particles."""
        return len(self.particles)

    @classmethod
    def load(cls, directory: Path | str) -> ParticleSet:
        """Read an imported data set.

        Raises
        ------
        StateError
            If a table is missing, damaged, or lacks a column.
        """
        directory = Path(directory)
        particles = _checked(directory / "particles.parquet", PARTICLE_COLUMNS)
        images = _checked(directory / "images.parquet", IMAGE_COLUMNS)
        return cls(particles, images, read_json(directory / "import.json"))

    def save(self, directory: Path | str) -> None:
        """Write particles.parquet, images.parquet and import.json into `directory`."""
        directory = Path(directory)
        write_parquet(directory / "particles.parquet", self.particles)
        write_parquet(directory / "images.parquet", self.images)
        write_json(directory / "import.json", self.info)

    def subset(self, uids: Iterable[str]) -> ParticleSet:
        """Take the particles called `uids` with all their images, in the source's order.

        Raises
        ------
        StateError
            If a uid is not in this set.
        """
        wanted = set(uids)
        unknown = wanted.difference(self.particles["uid"])
        if unknown:
            raise StateError(
                f"{len(unknown)} particles are not in this data set, first {min(unknown)}: "
                "select from particles of the same import"
            )
        particles = self.particles[self.particles["uid"].isin(wanted)].reset_index(drop=True)
        images = self.images[self.images["uid"].isin(wanted)].reset_index(drop=True)
        return ParticleSet(particles, images, self.info)

    def views(self) -> NDArray[np.float64]:
        """View matrices of the images, `(n_images, 3, 3)`; they map object to view."""
        return self.images[VIEW_COLUMNS].to_numpy(dtype=np.float64).reshape(-1, 3, 3)


def mirrored(images: pd.DataFrame) -> pd.DataFrame:
    """Images of the mirrored world, z to -z: the same images give the mirrored map.

    With M = diag(1, 1, -1) views become M A M, which is a rotation again; the image plane, and so
    shifts and CTF, stay. Doing it twice changes nothing.
    """
    odd = ["view_02", "view_12", "view_20", "view_21", "tilt_degrees"]
    return images.assign(**{name: -images[name] for name in odd})


def typed(table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """`table` with exactly `columns`, in that order and with those types."""
    return table[list(columns)].astype(columns).reset_index(drop=True)


def _checked(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    table = read_parquet(path)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise StateError(f"{path} has no column {missing[0]}: import the data set again")
    return typed(table, columns)
