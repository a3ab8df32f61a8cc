"""Point groups: their elements, and maps from few views of a symmetric object."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tomopipe.errors import ConfigError
from tomopipe.physics.fourier import half_plane
from tomopipe.physics.fsc import correlation
from tomopipe.physics.project import padded_transform, sample, slice_points
from tomopipe.reconstruct.backproject import add_batch, completed
from tomopipe.reconstruct.spread import empty_grid
from tomopipe.reconstruct.symmetry import operators

BOX = 24
SIZES = {"C1": 1, "C5": 5, "D3": 6, "T": 12, "O": 24, "I": 60, "I1": 60, "I2": 60}


def _phantom(name):
    """Blobs at all places where the group puts one."""
    line = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    grid = np.stack([x, y, z], -1)
    volume = np.zeros((BOX,) * 3)
    for operator in operators(name):
        for place, width in (((6.0, 1.5, 2.0), 1.6), ((2.0, 3.0, 6.5), 1.3)):
            volume += np.exp(-((grid - operator @ place) ** 2).sum(-1) / (2 * width**2))
    return torch.from_numpy(volume).float()


def _views(volume, count):
    """A batch of images without CTF, as `add_batch` needs it."""
    lattice = half_plane(BOX).points
    view = torch.from_numpy(Rotation.random(count, random_state=3).as_matrix()).float()
    points = slice_points(lattice[None], view[:, None], BOX).reshape(-1, 3)
    values = sample(padded_transform(volume), points)
    ones = torch.ones(len(points))
    return SimpleNamespace(
        data=torch.view_as_real(values), points=lambda: points, map_weights=lambda: (ones, ones)
    )


def _map(batch, group):
    grid = empty_grid(2 * BOX, 3)
    add_batch(batch, grid, 2 * BOX, group)
    return completed(grid, BOX).volume()


@pytest.mark.parametrize("name", SIZES)
def test_groups_are_closed_rotations(name):
    found = operators(name)
    assert len(found) == SIZES[name]
    assert np.allclose(found @ found.transpose(0, 2, 1), np.eye(3))
    assert np.allclose(np.linalg.det(found), 1)
    products = np.einsum("aij,bjk->abik", found, found).reshape(-1, 1, 3, 3)
    nearest = np.abs(products - found[None]).max((2, 3)).min(1)
    assert nearest.max() < 1e-9


# axes as RELION has them (`relion_refine --print_symmetry_ops`): (axis, fold) of each group
AXES = {
    "C5": [((0, 0, 1), 5)],
    "D3": [((0, 0, 1), 3), ((1, 0, 0), 2)],
    "T": [((0, 0, 1), 3), ((0, 0.816496, 0.577350), 2)],
    "O": [((0, 0, 1), 4), ((1, 1, 1), 3)],
    "I1": [((1, 0, 0), 2), ((0.850651, 0, -0.525731), 5), ((0.934172, 0.356822, 0), 3)],
    "I2": [((0, 0, 1), 2), ((0.525731, 0, 0.850651), 5), ((0, 0.356822, 0.934172), 3)],
}


@pytest.mark.parametrize("name", AXES)
def test_axes_lie_where_the_field_has_them(name):
    found = operators(name)
    for axis, fold in AXES[name]:
        unit = np.array(axis, float) / np.linalg.norm(axis)
        turn = Rotation.from_rotvec(unit * 2 * np.pi / fold).as_matrix()
        assert np.abs(found - turn).max((1, 2)).min() < 1e-5, (name, axis, fold)


def test_unknown_groups_are_one_sentence():
    with pytest.raises(ConfigError, match="'X4' is no point group"):
        operators("X4")


@pytest.mark.parametrize("name", ["C4", "D2", "T", "O", "I"])
def test_few_views_of_a_symmetric_object_suffice(name):
    truth = _phantom(name)
    batch = _views(truth, 4)
    group = torch.from_numpy(operators(name))
    plain = _map(batch, None)
    symmetric = _map(batch, group)
    assert correlation(symmetric, truth) > correlation(plain, truth) + 0.1
    assert correlation(symmetric, truth) > 0.85


def test_the_map_has_the_symmetry():
    batch = _views(_phantom("C1"), 12)
    group = torch.from_numpy(operators("C4"))
    volume = _map(batch, group)
    turned = torch.rot90(volume[1:, 1:, 1:], 1, (1, 2))  # about the centre voxel's z
    assert torch.allclose(turned, volume[1:, 1:, 1:], atol=1e-3 * float(volume.abs().max()))
