"""Two tomograms with opposite hands, extracted once for many tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from tests.extract.world import World, make_world, write_star
from tomopipe.config.extract import ExtractSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.particles import ParticleSet
from tomopipe.extract.extract import extract
from tomopipe.extract.particles import read_particles


@dataclass
class Data:
    """Tilt images and a particle STAR file on disk."""

    folder: Path
    worlds: dict[str, World]
    star: Path

    def series(self, **given):
        return {name: world.series(self.folder, **given) for name, world in self.worlds.items()}

    def extract(self, out: Path, *, star=None, series=None, select=None, **settings) -> Path:
        # without noise there is no background to normalise by
        usual = {"box": 48, "pixel_size_angstrom": 6.5, "normalize": False}
        chosen = ExtractSettings(**(usual | settings))
        particles = read_particles(star or self.star, chosen.coordinates_pixel_size_angstrom)
        particles = particles if select is None else particles.select(select)
        extract(series or self.series(), particles, out, chosen)
        return out


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Data:
    folder = tmp_path_factory.mktemp("world")
    worlds = {"TS_1": make_world("TS_1", 0, hand=-1), "TS_2": make_world("TS_2", 1, hand=1)}
    for world in worlds.values():
        world.write_images(folder)
    rows = [row for world in worlds.values() for row in world.rows()]
    # the order of rows is not that of tomograms
    star = write_star(folder / "particles.star", rows[::2] + rows[1::2])
    return Data(folder, worlds, star)


@pytest.fixture(scope="session")
def plain(data, tmp_path_factory) -> Path:
    """Extracted without normalisation, in float32: comparable in absolute numbers."""
    out = tmp_path_factory.mktemp("plain")
    return data.extract(out / "out", normalize=False, dtype="float32")


def imported(out: Path, **settings) -> ParticleSet:
    import_star(out / "optimisation_set.star", out / "dataset", **settings)
    return ParticleSet.load(out / "dataset")


def images_of(data: Data, made: ParticleSet):
    """(world, particle, tilt, image, row of the image table) of all images."""
    for row in made.images.itertuples():
        name, number = row.uid.split("/")
        with mrcfile.open(row.stack, permissive=True) as mrc:
            image = np.array(mrc.data[row.slot], dtype=np.float64)
        yield data.worlds[name], int(number) - 1, row.source_frame, image, row


def correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
