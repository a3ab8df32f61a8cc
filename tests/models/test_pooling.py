from __future__ import annotations

import pytest
import torch

from tomopipe.models.pooling import make_pooling

KINDS = ["mean", "max", "median", "attention", "set_transformer"]
COUNTS = [4, 1, 7, 3]


def ragged(width: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    particle = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    return torch.randn(sum(COUNTS), width), particle


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_tilts_does_not_matter(kind):
    x, particle = ragged()
    pool, width = make_pooling(kind, 16, 32, 0)
    shuffled = torch.cat(
        [torch.randperm(c) + s for c, s in zip(COUNTS, [0, 4, 5, 12], strict=True)]
    )
    first, second = pool(x, particle, 4), pool(x[shuffled], particle, 4)
    assert first.shape == (4, width)
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_particle_is_the_same_alone(kind):
    x, particle = ragged()
    pool, _ = make_pooling(kind, 16, 32, 0)
    together = pool(x, particle, 4)
    for p in range(4):
        mine = x[particle == p]
        alone = pool(mine, torch.zeros(len(mine), dtype=torch.long), 1)
        torch.testing.assert_close(together[p], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_pooling(kind):
    x, particle = ragged()
    x.requires_grad_()
    pool, _ = make_pooling(kind, 16, 32, 0)
    pool(x, particle, 4).square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0


def test_simple_poolings_are_what_they_say():
    x, particle = ragged()
    for kind, plain in {
        "mean": lambda v: v.mean(0),
        "max": lambda v: v.amax(0),
        "median": lambda v: torch.quantile(v, 0.5, dim=0),
    }.items():
        pooled = make_pooling(kind, 16, 32, 0)[0](x, particle, 4)
        for p in range(4):
            torch.testing.assert_close(pooled[p], plain(x[particle == p]))


def test_concatenate_takes_one_count_only_and_keeps_order():
    pool, width = make_pooling("concatenate", 16, 32, 2)
    x = torch.randn(6, 16)
    particle = torch.tensor([0, 0, 1, 1, 2, 2])
    assert width == 32
    torch.testing.assert_close(pool(x, particle, 3)[1], torch.cat([x[2], x[3]]))
    with pytest.raises(ValueError, match="exactly 2"):
        pool(x, torch.tensor([0, 0, 0, 1, 2, 2]), 3)
