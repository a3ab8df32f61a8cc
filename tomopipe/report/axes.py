"""Axes of charts: ranges, positions and round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Axis:
    """Range and labels of one axis; `ticks` maps positions to text."""

    low: float
    high: float
    label: str = ""
    ticks: dict[float, str] = field(default_factory=dict)
    log: bool = False

    def place(self, value: float, start: float, end: float) -> float:
        """Pixel position of `value` between `start` and `end`."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = (math.log10(max(v, 1e-300)) for v in (low, high, at))
        return start + (end - start) * (at - low) / ((high - low) or 1.0)


def axis(values: Sequence[float], label: str, *, zero: bool = False, log: bool = False) -> Axis:
    """Axis that holds `values`, with round ticks; `zero` makes it start at 0."""
    finite = [float(v) for v in values if np.isfinite(v) and (v > 0 or not log)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if log:
        return _log_axis(low, high, label)
    low = min(0.0, low) if zero else low
    if high <= low:
        high = low + (abs(low) or 1.0) * 0.1
    step = _nice_step((high - low) / 5)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    count = round((high - low) / step)
    ticks = [low + i * step for i in range(count + 1)]
    return Axis(low, high, label, {t: number(t, step) for t in ticks})


def _log_axis(low: float, high: float, label: str) -> Axis:
    low, high = low / 1.15, high * 1.15
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    spans = math.log10(high / low)
    multiples = (1, 2, 5) if spans < 2.2 else (1,)
    ticks = [m * 10.0**d for d in decades for m in multiples if low <= m * 10.0**d <= high]
    return Axis(low, high, label, {t: f"{t:g}" for t in ticks}, log=True)


def _nice_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)


def number(value: float, step: float) -> str:
    """`value` with the digits that ticks of `step` need."""
    if abs(value) < step * 1e-6:
        return "0"
    if step >= 1000:
        return f"{value / 1000:g}k"
    if abs(value) >= 1e5 or (step < 1e-4):
        return f"{value:.3g}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1
    return f"{value:,.{digits}f}"
