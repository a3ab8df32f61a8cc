import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch_fourier_slice import project_3d_to_2d

from tomopipe.physics.fourier import (
    crop_or_pad,
    fft2c,
    fft3c,
    half_plane,
    ifft2c,
    ifft3c,
    shift_phase,
)
from tomopipe.physics.fsc import correlation, fsc, resolution_at
from tomopipe.physics.grid import FourierGrid
from tomopipe.physics.mask import soft_mask, sphere_mask
from tomopipe.physics.pose import view_matrix
from tomopipe.physics.project import lowpass, padded_transform, sample, slice_points
from tomopipe.physics.window import cosine_window
from tomopipe.simulate.phantom import complex_in_state

BOX = 32


@pytest.fixture(scope="module")
def volume():
    return complex_in_state("whole", 20.0).volume(BOX, 10.0)


def test_half_plane_holds_each_frequency_of_the_disc_once():
    plane = half_plane(BOX)
    both = torch.cat([plane.points, -plane.points])
    assert len(torch.unique(both, dim=0)) == len(both)
    inside = sum(
        0 < x * x + y * y < (BOX // 2) ** 2 for x in range(-16, 17) for y in range(-16, 17)
    )
    assert len(both) == inside
    assert (plane.radius.diff() >= 0).all()
    count = plane.count_within(torch.tensor([0.5, 1.0, 5.0, 100.0]))
    assert count.tolist() == [0, 2, int((plane.radius <= 5).sum()), len(plane.points)]


@pytest.mark.parametrize("box", [7, 2, 33])
def test_half_plane_refuses_odd_and_tiny_boxes(box):
    with pytest.raises(ValueError, match="even number"):
        half_plane(box)


def test_transforms_invert_and_dc_is_the_sum():
    x = torch.randn(BOX, BOX)
    assert torch.allclose(ifft2c(fft2c(x)).real, x, atol=1e-5)
    assert fft2c(x)[BOX // 2, BOX // 2].real.item() == pytest.approx(x.sum().item(), abs=1e-3)
    v = torch.randn(8, 8, 8)
    assert torch.allclose(ifft3c(fft3c(v)).real, v, atol=1e-6)


def test_shift_phase_moves_the_content_by_the_shift():
    image = torch.zeros(BOX, BOX)
    image[20, 11] = 1  # y, x
    k = torch.arange(BOX) - BOX // 2
    grid = torch.stack(torch.meshgrid(k, k, indexing="xy"), -1).reshape(-1, 2)
    phase = shift_phase(grid, torch.tensor([3.0, -2.0]), BOX).reshape(BOX, BOX)
    moved = ifft2c(fft2c(image) * phase).real
    assert divmod(int(moved.argmax()), BOX) == (18, 14)


def test_crop_and_pad_are_inverse_in_fourier_and_real_space():
    v = torch.randn(8, 8, 8)
    assert torch.equal(crop_or_pad(crop_or_pad(v, 16), 8), v)


def test_slice_is_the_transform_of_the_rotated_volumes_projection(volume):
    view = view_matrix(30.0, 50.0, -70.0)
    c = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(c, c, c, indexing="ij")
    # the view shows at r what the object has at A^-1 r
    source = np.stack([x, y, z], -1).reshape(-1, 3) @ view
    turned = ndimage.map_coordinates(volume.numpy(), (source[:, ::-1] + BOX // 2).T, order=5)
    image = torch.from_numpy(turned.reshape(BOX, BOX, BOX).sum(0))
    plane = half_plane(BOX)
    low = plane.radius < 10
    points = slice_points(plane.points, torch.from_numpy(view).float(), BOX)
    ours = sample(padded_transform(volume), points)[low]
    theirs = plane.gather(fft2c(image))[low]
    agreement = (ours * theirs.conj()).sum().real / (ours.norm() * theirs.norm())
    assert agreement > 0.999
    wrong = view_matrix(30.0, 50.0, -70.0).T  # the inverse view must not do
    other = sample(
        padded_transform(volume),
        slice_points(plane.points, torch.from_numpy(wrong.copy()).float(), BOX),
    )[low]
    assert (other * theirs.conj()).sum().real / (other.norm() * theirs.norm()) < 0.95


def test_slice_agrees_with_torch_fourier_slice(volume):
    view = torch.from_numpy(view_matrix([10.0, -60], [80.0, 33], [5.0, 120])).float()
    # theirs rotates the slice's coordinates: the transpose of the view
    images = project_3d_to_2d(volume, view.transpose(-1, -2))
    plane = half_plane(BOX)
    theirs = plane.gather(fft2c(images))
    ours = torch.stack(
        [
            sample(padded_transform(volume), slice_points(plane.points, v, BOX))
            for v in view
        ]
    )  # fmt: skip
    agreement = (ours * theirs.conj()).sum(-1).real / (ours.norm(dim=-1) * theirs.norm(dim=-1))
    assert (agreement > 0.995).all()


def test_phantom_in_closed_form_is_its_own_volumes_transform():
    blobs = complex_in_state("no_cap", 0.0)
    box = 2 * BOX
    transform = fft3c(blobs.volume(box, 5.0))
    index = torch.tensor([[0, 0, 0], [2, -1, 3], [-4, 5, 0]])
    exact = blobs.transform(index.double() / (box * 5.0))
    c = box // 2
    on_grid = transform[index[:, 2] + c, index[:, 1] + c, index[:, 0] + c]
    assert torch.allclose(on_grid.to(exact.dtype), exact, atol=1e-2)


def test_phantom_projections_are_slices_of_its_transform():
    blobs = complex_in_state("whole", 45.0)
    views = torch.from_numpy(view_matrix([10.0, 20], [30.0, 50], [5.0, 6]))
    k = (torch.arange(BOX) - BOX // 2).double() / (BOX * 10.0)
    pairs = torch.stack(torch.meshgrid(k, k, indexing="xy"), -1).reshape(-1, 2)
    points = pairs[None, :, :1] * views[:, None, 0] + pairs[None, :, 1:] * views[:, None, 1]
    exact = blobs.transform(points).reshape(2, BOX, BOX)
    assert torch.allclose(blobs.projections(views, k), exact, atol=1e-9)


def test_fsc_of_a_volume_with_itself_is_one_and_with_noise_is_small(volume):
    assert torch.allclose(fsc(volume, volume), torch.ones(BOX // 2 - 1, dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(BOX, BOX, BOX, generator=generator) for _ in range(2)]
    assert fsc(*noise)[4:].abs().max() < 0.15


def test_fsc_refuses_volumes_of_different_size(volume):
    with pytest.raises(ValueError, match="one size"):
        fsc(volume, torch.zeros(16, 16, 16))


def test_resolution_is_the_first_crossing_interpolated():
    curve = torch.tensor([1.0, 0.8, 0.4, 0.6, 0.0, 0, 0], dtype=torch.float64)
    # 0.5 is crossed three quarters of the way from shell 2 (0.8) to shell 3 (0.4)
    assert resolution_at(curve, 2.0, 0.5) == pytest.approx(16 * 2.0 / 2.75)
    assert resolution_at(torch.ones(7), 2.0, 0.5) == pytest.approx(16 * 2.0 / 7)


def test_correlation_ignores_gain_and_offset_and_changes_sign(volume):
    assert correlation(volume, 3 * volume + 5) == pytest.approx(1.0, abs=1e-5)
    assert correlation(volume, -volume) == pytest.approx(-1.0, abs=1e-5)
    mask = soft_mask(volume)
    outside = torch.randn(BOX, BOX, BOX) * (mask == 0)
    assert correlation(volume, volume + outside, mask) == pytest.approx(1.0, abs=1e-5)


def test_masks_are_one_inside_and_zero_outside(volume):
    sphere = sphere_mask(BOX, 8.0, 3.0)
    assert sphere[16, 16, 16] == 1
    assert sphere[16, 16, 28] == 0
    window = cosine_window(BOX)
    assert window[16, 16 + 12] == 1
    assert window[16, 16 + 15] == 0
    assert 0 < window[16, 16 + 13] < 1
    assert float(soft_mask(volume)[volume > 0.5 * volume.max()].min()) == 1


def test_grid_gives_back_a_masked_volume(volume):
    grid = FourierGrid(BOX, 2)
    inside = lowpass(volume, 10.0) * sphere_mask(BOX, 10.0)
    there = grid.to_fourier(inside[None])
    back = grid.to_real(there)[0]
    # only the corners of Fourier space beyond the sphere are lost
    assert correlation(back, inside) > 0.9998


def test_grid_finds_the_nearest_voxel_and_its_friedel_mate(volume):
    grid = FourierGrid(BOX, 2)
    values = grid.to_fourier(volume[None])[:, 0]
    points = torch.tensor([[3.0, -2, 5], [-3, 2, -5], [0, -4, 1]]) / 64
    voxel, mirrored = grid.nearest(points)
    assert voxel[0] == voxel[1]
    assert mirrored.tolist() == [False, True, True]
    full = fft3c(crop_or_pad(volume, 64))
    expected = [full[37, 30, 35], full[33, 28, 32]]
    found = [values[voxel[0]], values[voxel[2]].conj()]
    assert all(abs(a - b) < 1e-3 * abs(a) for a, b in zip(expected, found, strict=True))
    mate = values[voxel[0]].conj()
    assert math.isclose(float(mate.imag), float(full[27, 34, 29].imag), rel_tol=1e-3)


@pytest.mark.parametrize(("box", "padding"), [(16, 2), (15, 2), (12, 1), (9, 3)])
def test_grid_makes_volumes_as_the_full_transform_does(box, padding):
    """Against both voxels of every pair put by hand into a complex transform of the padded grid."""
    grid = FourierGrid(box, padding)
    generator = torch.Generator().manual_seed(box)
    values = torch.view_as_complex(torch.randn(grid.n, 2, generator=generator))
    m, c = box * padding, box * padding // 2
    k = torch.cartesian_prod(*(torch.arange(m) - c,) * 3).flip(1).double()  # x, y, z
    voxel, mirrored = grid.nearest(k / m)
    full = torch.where(mirrored, values[voxel].conj(), values[voxel]) * (voxel >= 0)
    lo = c - box // 2
    s = slice(lo, lo + box)
    expected = ifft3c(full.reshape(m, m, m)).real[s, s, s]
    # the real part of the mean, which has no mate, is all that a real volume has of it
    torch.testing.assert_close(grid.to_real(values[:, None])[0], expected, rtol=1e-4, atol=1e-6)
    there = grid.to_fourier(expected[None])[:, 0]
    around = fft3c(crop_or_pad(expected, m)).reshape(-1)
    torch.testing.assert_close(
        around[~mirrored & (voxel >= 0)],
        there[voxel[~mirrored & (voxel >= 0)]],
        rtol=1e-4,
        atol=1e-4,
    )
