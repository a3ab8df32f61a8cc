"""Radiation damage as a function of frequency (Grant & Grigorieff 2015) and weights from it."""

from __future__ import annotations

import torch
from torch import Tensor

_OPTIMAL = 2.51284  # optimal / critical dose, the root of exp(x/2) = 1 + x


def critical_dose(frequency: Tensor, voltage_kv: Tensor | float = 300.0) -> Tensor:
    """Dose in e/Å² after which the signal at `frequency` (1/Å) has fallen to 1/e.

    Nc(k) = (0.24499 k^-1.6649 + 2.8141) at 300 kV, 0.8 of it at 200 kV; other voltages are
    interpolated linearly between and beyond the two, not taken for 200 kV.
    """
    voltage = torch.as_tensor(voltage_kv, dtype=frequency.dtype, device=frequency.device)
    factor = 0.8 + 0.2 * (voltage - 200.0) / 100.0
    safe = frequency.clamp(min=1e-6)
    return (0.24499 * safe**-1.6649 + 2.8141) * factor


def optimal_dose(frequency: Tensor, voltage_kv: Tensor | float = 300.0) -> Tensor:
    """Dose in e/Å² with the best signal-to-noise at `frequency`: 2.51284 critical doses."""
    return _OPTIMAL * critical_dose(frequency, voltage_kv)


def dose_weight(
    frequency: Tensor, dose_e_per_A2: Tensor, voltage_kv: Tensor | float = 300.0
) -> Tensor:
    """Loss weight exp(-N / (2 Nc)); shapes broadcast."""
    return torch.exp(-0.5 * dose_e_per_A2 / critical_dose(frequency, voltage_kv))


def highest_frequency(dose_e_per_A2: Tensor, voltage_kv: Tensor | float = 300.0) -> Tensor:
    """Frequency in 1/Å up to which `dose` stays within the optimal dose; infinite for small doses.

    The optimal dose falls with frequency, so the kept frequencies of an image are a disc and this
    is its radius (the dose mask).
    """
    voltage = torch.as_tensor(voltage_kv, dtype=dose_e_per_A2.dtype, device=dose_e_per_A2.device)
    factor = 0.8 + 0.2 * (voltage - 200.0) / 100.0
    rest = dose_e_per_A2 / (_OPTIMAL * factor) - 2.8141
    value = (rest.clamp(min=1e-12) / 0.24499) ** (-1 / 1.6649)
    return torch.where(rest > 0, value, torch.full_like(value, float("inf")))
