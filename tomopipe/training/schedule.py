"""The learning rate as a function of the step."""

from __future__ import annotations

import math


def learning_rate(step: int, total: int, *, peak: float, warmup: float, schedule: str) -> float:
    """Rate at `step` (0-based) of `total`: a linear rise over `warmup · total`, then `schedule`.

    `cosine` falls to a hundredth of the peak at the last step, `constant` stays.
    """
    rise = round(warmup * total)
    if step < rise:
        return peak * (step + 1) / rise
    if schedule == "constant":
        return peak
    done = (step - rise) / max(total - rise, 1)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
