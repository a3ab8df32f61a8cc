"""Densities of atomic models, against the sum of Gaussians written out."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from tomopipe.config.simulate import SimulateSettings
from tomopipe.errors import InputError
from tomopipe.simulate.maps import Trajectory
from tomopipe.simulate.models import ModelFrame, frames_of
from tomopipe.simulate.particles import simulate_particles, true_volume

ELEMENTS = ("C", "N", "O", "P")


def write_model(path, positions, names=None, water=True):
    """A chain of one-atom residues, and a water far away that must not count."""
    structure = gemmi.Structure()
    model, chain = gemmi.Model("1"), gemmi.Chain("A")
    places = [*positions, [500.0, 500.0, 500.0]] if water else positions
    for i, place in enumerate(places):
        residue = gemmi.Residue()
        last = water and i == len(places) - 1
        residue.name = "HOH" if last else "ALA"
        residue.seqid = gemmi.SeqId(str(i + 1 if names is None or last else names[i]))
        atom = gemmi.Atom()
        atom.name = "O" if last else ELEMENTS[i % 4]
        atom.element = gemmi.Element("O" if last else ELEMENTS[i % 4])
        atom.pos = gemmi.Position(*place)
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    if path.suffix == ".cif":
        structure.make_mmcif_document().write_file(str(path))
    else:
        structure.write_pdb(str(path))
    return str(path)


def weights(n):
    return np.array([gemmi.Element(ELEMENTS[i % 4]).atomic_number for i in range(n)], float)


@pytest.fixture
def atoms():
    return np.round(np.random.default_rng(0).uniform(-12, 12, (40, 3)) + np.array([30, -20, 10]), 3)


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_density_is_the_sum_of_gaussians_about_the_centre_of_mass(tmp_path, atoms, suffix):
    path = write_model(tmp_path / f"a{suffix}", atoms)
    resolution = 8.0
    data, pixel = ModelFrame(path, path, 0.0, resolution, path).density()
    width = resolution / (np.pi * np.sqrt(2))
    mass = weights(len(atoms))
    centred = atoms - (mass[:, None] * atoms).sum(0) / mass.sum()
    line = (np.arange(len(data)) - len(data) // 2) * pixel
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    expected = np.zeros_like(x)
    for (ax, ay, az), m in zip(centred, mass, strict=True):
        away = (x - ax) ** 2 + (y - ay) ** 2 + (z - az) ** 2
        expected += m * np.exp(-away / (2 * width**2)) / (2 * np.pi * width**2) ** 1.5
    # Gaussians end at four standard deviations
    np.testing.assert_allclose(data, expected, atol=2e-3 * expected.max())
    assert data.sum() * pixel**3 == pytest.approx(mass.sum(), rel=1e-3)


def test_projections_of_a_model_are_the_transform_of_its_atoms(tmp_path, atoms):
    import torch

    path = write_model(tmp_path / "a.pdb", atoms)
    grid = Trajectory((ModelFrame(path, path, 0.0, 12.0, path),), 0.0, 32, 4.0)
    frequency = torch.fft.fftshift(torch.fft.fftfreq(32, 4.0))
    ours = grid.projections(torch.eye(3)[None], frequency)[0]
    mass = weights(len(atoms))
    centred = atoms - (mass[:, None] * atoms).sum(0) / mass.sum()
    k = frequency.numpy()
    wave = [np.exp(-2j * np.pi * np.outer(centred[:, axis], k)) for axis in (0, 1)]
    width = 12.0 / (np.pi * np.sqrt(2))
    exact = np.einsum("n,ny,nx->yx", mass, wave[1], wave[0])
    exact *= np.exp(-2 * (np.pi * width) ** 2 * (k[:, None] ** 2 + k**2)) / 4.0**3
    inside = np.hypot(*np.meshgrid(k, k)) < 0.45 / 4.0
    error = np.abs(ours.numpy() - exact)[inside].max() / np.abs(exact).max()
    assert error < 0.01


def test_all_states_keep_the_frame_of_the_first_model(tmp_path, atoms):
    whole = write_model(tmp_path / "whole.pdb", atoms)
    part = write_model(tmp_path / "part.pdb", atoms[:20])
    settings = SimulateSettings(
        particles=4,
        box=16,
        pixel_size_angstrom=4.0,
        model_resolution_angstrom=12.0,
        states={
            "whole": {"population": 1, "models": [whole]},
            "part": {"population": 1, "models": [part]},
        },
    )
    # atoms of the part are where the whole has them: what is left of it is the other atoms
    rest = true_volume(settings, "whole") - true_volume(settings, "part")
    assert rest.min() > -0.02 * rest.max()


def test_between_two_models_atoms_are_on_a_straight_line(tmp_path, atoms):
    other = np.round(atoms + np.array([0, 8, 0]), 3)
    paths = (write_model(tmp_path / "a.pdb", atoms), write_model(tmp_path / "b.pdb", other))
    frames = frames_of(paths, 4, 8.0, paths[0])
    assert [f.fraction for f in frames] == [0, 0.25, 0.5, 0.75, 0]
    start, half, end = (frames[i].atoms()[0] for i in (0, 2, 4))
    np.testing.assert_allclose(half - start, np.broadcast_to([0, 4, 0], start.shape), atol=1e-6)
    np.testing.assert_allclose(end - start, np.broadcast_to([0, 8, 0], start.shape), atol=1e-6)


def test_models_without_common_atoms_and_broken_files_are_refused(tmp_path, atoms):
    first = write_model(tmp_path / "a.pdb", atoms)
    other = write_model(tmp_path / "b.pdb", atoms, names=range(100, 140))
    with pytest.raises(InputError, match=r"b.pdb has only 0 of the 40 atoms"):
        ModelFrame(first, other, 0.5, 8.0, first).atoms()
    (tmp_path / "c.cif").write_text("nothing")
    for bad in ("c.cif", "d.pdb"):
        with pytest.raises(InputError, match=bad):
            ModelFrame(str(tmp_path / bad), first, 0.0, 8.0, first).atoms()


def test_particles_of_a_motion_through_models(tmp_path, atoms):
    paths = [
        write_model(tmp_path / f"{i}.pdb", atoms * [1, 1, 1 + 0.2 * i], water=False)
        for i in range(3)
    ]
    settings = SimulateSettings(
        particles=6,
        box=16,
        pixel_size_angstrom=4.0,
        tilts=3,
        min_tilts=3,
        tomograms=1,
        junk_fraction=0,
        model_steps=2,
        model_resolution_angstrom=10.0,
        states={"stretching": {"population": 1, "models": paths}},
    )
    simulate_particles(settings, tmp_path / "out")
    assert (tmp_path / "out/truth/stretching.mrc").is_file()
    assert settings.moving == ("stretching",)
