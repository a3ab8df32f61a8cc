"""A box is the tilt image, moved and resampled, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tomopipe.extract.sampling import make_sampler

RATIOS = [1.0, 1.37, 2.0, 3.1415]


def gaussian(shape, x, y, width):
    """Integral 1, centre (x, y) pixels."""
    gx, gy = (
        np.exp(-((np.arange(n) - c) ** 2) / (2 * width**2)) / (width * np.sqrt(2 * np.pi))
        for n, c in ((shape[1], x), (shape[0], y))
    )
    return np.outer(gy, gx)


@pytest.mark.parametrize("ratio", RATIOS)
def test_grey_values_are_those_of_the_closed_form(ratio):
    box, width = 40, 3.0 * ratio
    rng = np.random.default_rng(1)
    for x, y in 150 + rng.uniform(-20, 20, (4, 2)):
        image = torch.from_numpy(gaussian((300, 320), x, y, width)).float()
        middle = np.array([[x, y]]) + rng.uniform(-8, 8, (1, 2))
        (made,) = make_sampler(box, 2.0, 2.0 * ratio)(image, middle)
        # what was cut has lost its mean
        made = made.numpy() - made[0, 0].item()
        cx, cy = (np.array([x, y]) - middle[0]) / ratio + box // 2
        true = gaussian((box, box), cx, cy, 3.0) / ratio**2
        np.testing.assert_allclose(made, true, atol=2e-3 * true.max())
        found = [(made * grid).sum() / made.sum() for grid in np.mgrid[:box, :box]]
        np.testing.assert_allclose(found, [cy, cx], atol=0.02)


def test_nothing_is_aliased():
    """A wave beyond the box's Nyquist frequency does not come back as another one."""
    x = np.arange(300)
    slow, fast = np.cos(2 * np.pi * x * 0.1), np.cos(2 * np.pi * x * 0.35)
    image = torch.from_numpy(np.tile(slow + fast, (300, 1))).float()
    (made,) = make_sampler(50, 1.0, 2.0)(image, np.array([[150.0, 150.0]]))
    true = np.cos(2 * np.pi * 0.1 * (150 + 2 * (np.arange(50) - 25)))
    np.testing.assert_allclose(made[25, 5:45], true[5:45], atol=0.03)


def test_noise_stays_white_and_the_rim_has_no_jump():
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(700, 700))).float()
    centre = np.random.default_rng(1).uniform(150, 550, (40, 2))
    boxes = make_sampler(48, 1.0, 2.3)(image, centre)
    power = torch.fft.rfft2(boxes).abs().square().mean(0)[:24, :24]
    assert (power[1:, 1:].mean(1) / power[1:, 1:].mean() - 1).abs().max() < 0.2
    ramp = torch.from_numpy(np.tile(np.linspace(0, 1, 700), (700, 1))).float()
    (made,) = make_sampler(48, 1.0, 2.3)(ramp, np.array([[350.0, 350.0]]))
    assert (made[:, 4:-4].diff(dim=1) > 0).all()  # no ringing behind the edges


def test_beyond_the_image_there_is_its_mean():
    image = torch.full((200, 200), 5.0)
    boxes = make_sampler(64, 1.0, 1.0)(image, np.array([[3.0, 100.0], [199.0, 199.0]]))
    np.testing.assert_allclose(boxes, 0, atol=1e-4)


@pytest.mark.parametrize(("box", "pixel"), [(31, 2.0), (32, 0.9)])
def test_what_cannot_be_sampled_is_refused(box, pixel):
    with pytest.raises(ValueError, match=r"box|pixels"):
        make_sampler(box, 1.0, pixel)
