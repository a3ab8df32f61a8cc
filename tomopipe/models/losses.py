"""The terms of the loss.

Squared errors are counted per real number: over the half plane, |dF|^2 summed is half of what the
squared Hartley residuals over the full plane sum to, on half as many points with two numbers each.
So the value is that of tomoDRGN's loss, whose data have a standard deviation of 1.
"""

from __future__ import annotations

from torch import Tensor


def squared_error(predicted: Tensor, data: Tensor, transfer: Tensor, weight: Tensor) -> Tensor:
    """Squared errors w |transfer · V - F|^2 / 2 `(C,)`; V and F `(C, 2)`, the others `(C,)`."""
    difference = transfer[:, None] * predicted - data
    return 0.5 * weight * difference.square().sum(-1)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of each particle, summed over dimensions: `(P,)`."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)


def sample_latent(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Draw from the posterior `(P, zdim)` with standard normal `noise` of that shape."""
    return mean + (0.5 * log_variance).exp() * noise
