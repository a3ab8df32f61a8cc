"""FSC corrected for the mask, sharpening and local resolution, on maps with known answers."""

import math

import pytest
import torch

from tomopipe.analysis.compare import fsc_table, resolution
from tomopipe.physics.fourier import fft3c, frequencies, ifft3c
from tomopipe.physics.fsc import correlation, resolution_at
from tomopipe.physics.project import lowpass
from tomopipe.reconstruct.local import local_resolution
from tomopipe.reconstruct.resolution import fewer_particles, half_map_curves, randomised
from tomopipe.reconstruct.sharpen import guinier, reference_weight, sharpened

BOX = 64


def _noise(seed, box=BOX):
    return torch.randn(box, box, box, generator=torch.Generator().manual_seed(seed))


def test_a_tight_mask_earns_nothing():
    """A shared blob and noise beyond it: the mask's edge carries the blob to high frequency."""
    radius = frequencies(BOX, 3)
    blob = 3 * torch.exp(-((radius / 20) ** 2))
    mask = (radius < 10).float()
    halves = [blob + _noise(i) for i in (1, 2)]
    curves = half_map_curves(halves[0], halves[1], mask)
    beyond = slice(10, 30)
    assert curves.masked[beyond].mean() > 0.4
    assert abs(float(curves.corrected[beyond].mean())) < 0.05
    assert abs(float(curves.unmasked[beyond].mean())) < 0.05
    assert curves.corrected[0] == curves.masked[0] > 0.9
    assert curves.resolution(3.0, 0.143) > 2 * 3.0 * BOX / 30


def test_no_number_is_no_resolution():
    curve = torch.full((31,), 0.9, dtype=torch.float64)
    perfect = resolution_at(curve, 3.0)
    assert perfect == pytest.approx(64 * 3.0 / 31)
    curve[9:] = torch.nan
    assert resolution_at(curve, 3.0) == pytest.approx(64 * 3.0 / 9)
    assert resolution_at(curve[9:], 3.0) == math.inf


def test_odd_boxes_have_their_own_shells():
    """Half-maps that share shells up to 7 of 33 voxels."""
    n, pixel = 33, 4.0
    radius = frequencies(n, 3)
    shared = ifft3c(fft3c(_noise(1, n).double()) * (radius < 7.5)).real
    maps = [shared + 1e-3 * _noise(seed, n) for seed in (2, 3)]
    table = fsc_table(maps[0].numpy(), maps[1].numpy(), None, pixel)
    found = resolution(table, pixel)
    assert n * pixel / 8 < found < n * pixel / 7


def test_random_phases_keep_amplitudes_and_what_lies_below():
    volume = _noise(3).double()
    mixed = randomised(volume, 10, torch.Generator().manual_seed(0))
    before, after = fft3c(volume), fft3c(mixed)
    low = frequencies(BOX, 3).round() < 10
    assert torch.allclose(before[low], after[low], atol=1e-6)
    # a plane of highest frequency has no mates, and real maps only half of its freedom
    inner = frequencies(BOX, 3) < BOX / 2 - 1
    assert torch.allclose(before.abs()[inner], after.abs()[inner], atol=1e-6)
    assert abs(correlation(volume - lowpass(volume, 10), mixed - lowpass(mixed, 10))) < 0.05


def test_fewer_particles_follow_the_signal_to_noise_ratio():
    curve = torch.tensor([0.9, 0.5, 0.0])
    assert fewer_particles(curve, 1.0) == pytest.approx(curve)
    assert fewer_particles(curve, 0.1).tolist() == pytest.approx([0.9 / 1.9, 0.1 / 1.1, 0.0])


@pytest.mark.parametrize("bfactor", [60.0, 150.0])
def test_a_known_decay_is_found_and_undone(bfactor):
    pixel = 2.0
    flat = _noise(4)  # the spectrum of points at random places
    s2 = (frequencies(BOX, 3) / (BOX * pixel)) ** 2
    decayed = ifft3c(fft3c(flat) * torch.exp(-bfactor * s2 / 4)).real
    halves = [decayed + 0.15 * _noise(i) for i in (5, 6)]
    curves = half_map_curves(halves[0], halves[1], torch.ones(BOX, BOX, BOX))
    mean = (halves[0] + halves[1]) / 2
    fitted = guinier(mean, curves, pixel, from_angstrom=10.0)
    assert fitted is not None
    assert fitted.bfactor_A2 == pytest.approx(bfactor, rel=0.1)
    sharp = sharpened(mean, curves, pixel, fitted.bfactor_A2)
    limit = BOX * pixel / curves.resolution(pixel)
    wanted = lowpass(flat, limit)
    assert correlation(sharp, wanted) > correlation(mean, wanted) + 0.02


def test_no_line_is_fitted_to_a_coarse_map():
    halves = [_noise(7) + 0.1 * _noise(i) for i in (8, 9)]
    curves = half_map_curves(halves[0], halves[1], torch.ones(BOX, BOX, BOX))
    assert guinier(halves[0], curves, 10.0) is None


def test_reference_weight_is_the_correlation_with_the_truth():
    assert reference_weight(torch.tensor([1.0, 1 / 3, 0.0, -0.2])).tolist() == pytest.approx(
        [1.0, math.sqrt(0.5), 0.0, 0.0]
    )


def test_local_resolution_tells_a_sharp_from_a_blurred_half():
    texture = _noise(10)
    blurred = lowpass(texture, 10)
    place = torch.arange(BOX)  # along x
    side = ((place >= 38) & (place < 58)).float()
    signal = side * texture + (1 - side) * blurred
    halves = [signal + 0.2 * _noise(i) for i in (11, 12)]
    pixel = 3.0
    local = local_resolution(halves[0], halves[1], pixel, window_pixels=16, stride=3)
    assert local.shape == (BOX, BOX, BOX)
    middle = slice(16, 48)
    sharp = float(local[middle, middle, 46:50].median())
    soft = float(local[middle, middle, 12:20].median())
    assert sharp < 2.2 * pixel  # near Nyquist
    assert soft == pytest.approx(BOX * pixel / 10, rel=0.25)
