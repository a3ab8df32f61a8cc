"""The training loop's own pieces."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tomopipe.training.loop import clip


def with_gradients(norm: float) -> list[nn.Parameter]:
    """Parameters of several shapes whose gradients have a common norm; one without any."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,), (2,))]
    gradients = [torch.randn(p.shape, generator=generator) for p in parameters[:2]]
    length = float(torch.cat([g.flatten() for g in gradients]).norm())
    for parameter, gradient in zip(parameters, gradients, strict=False):
        parameter.grad = gradient * (norm / length)
    return parameters


def gradient(parameters: list[nn.Parameter]) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def test_large_gradients_are_scaled_to_the_largest_norm_and_keep_their_direction():
    parameters = with_gradients(10.0)
    before = gradient(parameters).clone()
    assert float(clip(parameters, 1.0)) == pytest.approx(10.0)
    assert float(gradient(parameters).norm()) == pytest.approx(1.0, rel=1e-5)
    torch.testing.assert_close(gradient(parameters), before / 10)


@pytest.mark.parametrize(("norm", "largest"), [(0.3, 1.0), (10.0, 0.0), (10.0, 11.0)])
def test_small_gradients_and_all_without_a_limit_stay_to_the_last_bit(norm, largest):
    parameters = with_gradients(norm)
    before = gradient(parameters).clone()
    assert float(clip(parameters, largest)) == pytest.approx(norm)
    assert torch.equal(gradient(parameters), before)
