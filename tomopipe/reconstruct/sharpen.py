"""Sharpening: the decay of a map's amplitudes undone, weighted by what the FSC supports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tomopipe.physics.fourier import fft3c, frequencies, ifft3c
from tomopipe.physics.fsc import shell_sum
from tomopipe.physics.window import soft_edge
from tomopipe.reconstruct.resolution import Curves

_LEAST_SHELLS = 4
_LARGEST_EXPONENT = 10.0


@dataclass(frozen=True)
class Guinier:
    """A straight line through log amplitude over 1 / d².

    Attributes
    ----------
    bfactor_A2
        Amplitudes fall with exp(-B / (4 d²)): B in Å², positive for a map that decays.
    shells
        How many it was fitted to.
    """

    bfactor_A2: float
    shells: int


def reference_weight(fsc: Tensor) -> Tensor:
    """Correlation of a map with the true one, sqrt(2 FSC / (1 + FSC)) of its half-maps' FSC.

    Rosenthal & Henderson (2003), their C_ref; 0 where the FSC is not positive.
    """
    positive = fsc.clamp(0, 1)
    return (2 * positive / (1 + positive)).sqrt()


def guinier(
    volume: Tensor, curves: Curves, pixel_size: float, *, from_angstrom: float = 10.0
) -> Guinier | None:
    """Guinier fit of a map `(n, n, n)` from `from_angstrom` to its resolution (FSC 0.143).

    `volume` is the masked, unfiltered mean of the half-maps whose FSC is `curves`; its amplitudes
    are weighted by `reference_weight`, so that noise does not lift the line's end. None where fewer
    than 4 shells lie in that range: coarser than about 10 Å, amplitudes follow the molecule's shape
    and no line (Rosenthal & Henderson 2003).
    """
    n = volume.shape[-1]
    power = shell_sum(fft3c(volume.double()).abs() ** 2) / shell_sum(
        torch.ones(n, n, n, dtype=torch.float64)
    )
    amplitude = power.sqrt() * reference_weight(curves.corrected)
    s2 = (torch.arange(1, len(power) + 1).double() / (n * pixel_size)) ** 2
    inside = (s2 >= from_angstrom**-2) & (s2 <= curves.resolution(pixel_size) ** -2)
    inside &= amplitude > 0
    if int(inside.sum()) < _LEAST_SHELLS:
        return None
    slope = np.polyfit(s2[inside].numpy(), amplitude[inside].log().numpy(), 1)[0]
    return Guinier(float(-4 * slope), int(inside.sum()))


def sharpened(volume: Tensor, curves: Curves, pixel_size: float, bfactor_A2: float) -> Tensor:
    """Map `(n, n, n)` times exp(B / (4 d²)) and the FSC's weight, up to its resolution.

    Parameters
    ----------
    volume
        The unfiltered mean of the half-maps.
    curves
        Their FSC.
    pixel_size
        Å per voxel.
    bfactor_A2
        B of the decay that is undone; RELION names it with the other sign.
    """
    n = volume.shape[-1]
    shell = frequencies(n, 3)
    weight = torch.cat([torch.ones(1), reference_weight(curves.corrected).float(), torch.zeros(1)])
    factor = weight[shell.round().long().clamp(max=len(weight) - 1)]
    exponent = bfactor_A2 * (shell / (n * pixel_size)) ** 2 / 4
    factor = factor * torch.exp(exponent.clamp(-_LARGEST_EXPONENT, _LARGEST_EXPONENT))
    limit = n * pixel_size / curves.resolution(pixel_size)
    factor = factor * soft_edge(shell, limit, limit + 2)
    return ifft3c(fft3c(volume) * factor).real
