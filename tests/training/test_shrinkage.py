from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tomopipe.physics.grid import FourierGrid
from tomopipe.physics.mask import sphere_mask
from tomopipe.training.em import Latents
from tomopipe.training.shrinkage import (
    LocalShrinkage,
    noise_spectrum,
    octave_windows,
    principal_axes,
)

BOX = 16


@pytest.fixture(scope="module")
def grid() -> FourierGrid:
    return FourierGrid(BOX, 2)


def drawn_noise(grid, power, precision, count=64):
    """Components of pure noise, as the M-step leaves them."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(grid.n, count, dtype=torch.complex64, generator=generator) * 2**0.5
    return grid.to_real(noise * (power.sqrt() / (power + precision))[:, None])


def test_noise_power_is_that_of_drawn_noise(grid):
    rng = torch.Generator().manual_seed(1)
    power = torch.rand(grid.n, generator=rng) * 50
    precision = torch.full((grid.n,), 5.0)
    drawn = drawn_noise(grid, power, precision)
    found = noise_spectrum(grid, power, precision)
    assert float(found.sum()) == pytest.approx(float((drawn**2).mean()), rel=0.03)
    only = torch.where(grid.shell == 5, power, 0.0)
    one = noise_spectrum(grid, only, precision)
    assert float(one[5]) == pytest.approx(float(found[5]), rel=1e-6)
    assert float(one.sum() - one[5]) == 0


def test_octaves_add_up_and_each_holds_its_own():
    radius = torch.linspace(0, 40, 401, dtype=torch.float64)
    windows = octave_windows(radius, 4, 32)
    assert windows.shape == (4, 401)
    assert torch.allclose(windows.sum(0), torch.ones_like(radius))
    for number, middle in enumerate((4 / 2**0.5, 4 * 2**0.5, 8 * 2**0.5, 16 * 2**0.5)):
        at = int((radius - middle).abs().argmin())
        assert float(windows[number, at]) > 0.999
    assert (octave_windows(radius, 40, 32) == 1).all()  # a neighbourhood finer than the pixels


def test_noise_of_each_octave_is_that_of_drawn_noise(grid):
    rng = torch.Generator().manual_seed(1)
    power, precision = torch.rand(grid.n, generator=rng) * 50, torch.full((grid.n,), 5.0)
    shrink = LocalShrinkage(grid, power, precision, torch.ones(BOX, BOX, BOX), 1.0)
    transform = torch.fft.rfftn(drawn_noise(grid, power, precision), dim=(1, 2, 3))
    parts = [torch.fft.irfftn(transform * o.window, s=(BOX,) * 3) for o in shrink.octaves]
    found = [float((part**2).mean()) for part in parts]
    assert len(parts) == 2
    assert found == pytest.approx([octave.noise for octave in shrink.octaves], rel=0.05)


def test_fine_octaves_of_nothing_but_noise_do_not_hide_coarse_ones():
    """A smooth feature in a box of 32, twice as fine as its signal needs: eight times the noise."""
    box = 32
    grid = FourierGrid(box, 2)
    power, precision = torch.full((grid.n,), 40.0), torch.full((grid.n,), 4.0)
    mask = sphere_mask(box, 14, 3)
    noise = drawn_noise(grid, power, precision, 2) * mask
    z, y, x = np.mgrid[:box, :box, :box]
    ball = np.exp(-((z - 16) ** 2 + (y - 16) ** 2 + (x - 11) ** 2) / 40.0)
    feature = 1.3 * float(noise.std()) * torch.from_numpy(ball).float()
    shrink = LocalShrinkage(grid, power, precision, mask, 2.0)
    by_octaves = likeness(shrink(noise + feature), feature)
    window = torch.ones_like(shrink.octaves[-1].window)
    everything = float(noise_spectrum(grid, power, precision).sum())
    shrink.octaves = [replace(shrink.octaves[-1], window=window, noise=everything)]
    at_once = likeness(shrink(noise + feature), feature)
    assert (by_octaves > 1.5 * at_once).all()
    assert (by_octaves > 0.5).all()


def test_shells_that_no_image_reaches_do_no_harm(grid):
    power = torch.where(grid.shell < 5, 40.0, 0.0)
    mask = sphere_mask(BOX, 7, 2)
    noise = drawn_noise(grid, power, torch.full((grid.n,), 4.0), 2) * mask
    shrunk = LocalShrinkage(grid, power, torch.full((grid.n,), 4.0), mask, 2.0)(noise)
    nothing = LocalShrinkage(grid, power, torch.full((grid.n,), 4.0), mask, 2.0)(0 * noise)
    assert torch.isfinite(shrunk).all()
    assert not nothing.any()


def likeness(volumes, feature):
    """Correlation of each volume with a feature, means left in."""
    return (volumes * feature).sum((1, 2, 3)) / volumes.flatten(1).norm(dim=1) / feature.norm()


def test_noise_is_taken_out_and_a_local_feature_stays(grid):
    power, precision = torch.full((grid.n,), 40.0), torch.full((grid.n,), 4.0)
    mask = sphere_mask(BOX, 7, 2)
    noise = drawn_noise(grid, power, precision, 4) * mask
    z, y, x = np.mgrid[:BOX, :BOX, :BOX]
    ball = torch.from_numpy(np.exp(-((z - 8) ** 2 + (y - 8) ** 2 + (x - 6) ** 2) / 16.0)).float()
    feature = 8 * noise.std() * ball
    shrink = LocalShrinkage(grid, power, precision, mask, 2.0)
    alone, both = shrink(noise), shrink(noise + feature)
    assert float((alone**2).sum() / (noise**2).sum()) < 0.05
    inside = ball > 0.5
    assert float(both[:, inside].mean()) > 0.7 * float(feature[inside].mean())
    before = float((noise**2).mean())
    assert float(((both - feature) ** 2).mean()) < 0.5 * before


def test_nothing_happens_where_the_signal_is_strong(grid):
    power, precision = torch.full((grid.n,), 1e6), torch.full((grid.n,), 1.0)
    mask = sphere_mask(BOX, 7, 2)
    volume = torch.rand(1, BOX, BOX, BOX, generator=torch.Generator().manual_seed(2)) * mask
    shrunk = LocalShrinkage(grid, power, precision, mask, 2.0)(volume)
    assert float((shrunk - volume).norm() / volume.norm()) < 1e-2


def test_principal_axes_keep_every_volume(grid):
    generator = torch.Generator().manual_seed(3)
    model = torch.randn(grid.n, 4, dtype=torch.complex64, generator=generator)
    model[:, 2] *= 5
    mean = torch.randn(7, 3, generator=generator)
    root = torch.randn(7, 3, 3, generator=generator)
    before = Latents(mean, root @ root.transpose(1, 2), torch.ones(7))
    after = principal_axes(model, before)
    turn = torch.linalg.lstsq(before.mean, after.mean).solution
    assert torch.allclose(turn @ turn.T, torch.eye(3), atol=1e-4)
    turned = model[:, 1:] @ turn.to(model.dtype)
    gram = (turned.conj().T @ turned).real
    assert float((gram - torch.diag(gram.diagonal())).abs().max()) < 1e-3 * float(gram.max())
    assert (gram.diagonal().diff() <= 0).all()
    assert torch.allclose(after.covariance, turn.T @ before.covariance @ turn, atol=1e-4)
