"""Particles are called, and lie, as `tomopipe import` says of the same file."""

from __future__ import annotations

import numpy as np
import pytest

from tests.dataset.importing.conftest import make
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.particles import ParticleSet
from tomopipe.extract.particles import read_particles


def compare(star, out):
    import_star(star, out)
    made = ParticleSet.load(out).particles
    for path in (star, out):
        found = read_particles(path)
        assert found.uid.tolist() == made["uid"].tolist()
        assert found.tomogram.tolist() == made["tomogram"].tolist()
        # both count in Å as the file does, from corner or centre
        place = made[["x_angstrom", "y_angstrom", "z_angstrom"]].to_numpy(float)
        np.testing.assert_allclose(found.coordinate, place, rtol=1e-9)
    return found


def test_relion5(tmp_path):
    found = compare(make("relion5", tmp_path / "made").write(), tmp_path / "dataset")
    assert found.counted == "centre"


def test_warptools_real_data(shared_data, tmp_path):
    (star,) = (shared_data / "warptools_ribosome_32").glob("*_optimisation_set.star")
    found = compare(star, tmp_path / "dataset")
    assert found.counted == "corner" and len(found) == 40
    assert found.uid[0] == "Unt_083/1" and found.tomogram[0] == "Unt_083.tomostar"


def test_a_table_of_images_has_no_places(tmp_path):
    star = make("warp", tmp_path / "made").write()
    import_star(star, tmp_path / "dataset")
    with pytest.raises(Exception, match="give a RELION-5 or WarpTools particle STAR file"):
        read_particles(tmp_path / "dataset")
