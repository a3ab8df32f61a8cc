"""FSC of half-maps with the mask's own share taken out, and what it says of resolution."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from tomopipe.physics.fourier import fft3c, frequencies, ifft3c
from tomopipe.physics.fsc import fsc, resolution_at

RANDOMISE_BELOW = 0.8


@dataclass(frozen=True)
class Curves:
    """FSC of two half-maps, each `(box / 2 - 1,)` for shells 1 ….

    Attributes
    ----------
    unmasked, masked
        As they are.
    randomised
        Inside the mask, of the half-maps with random phases from `randomised_from` on: what the
        mask alone brings about.
    corrected
        (masked - randomised) / (1 - randomised), the FSC to believe (Chen et al. 2013).
    randomised_from
        Shell.
    """

    unmasked: Tensor
    masked: Tensor
    randomised: Tensor
    corrected: Tensor
    randomised_from: int

    def resolution(self, pixel_size: float, threshold: float = 0.143) -> float:
        """Å at the first crossing of the corrected curve."""
        return resolution_at(self.corrected, pixel_size, threshold)

    def table(self, pixel_size: float) -> pd.DataFrame:
        """Table of shell, frequency, resolution, fsc, fsc_masked, fsc_randomised, fsc_corrected."""
        box = 2 * (len(self.unmasked) + 1)
        shell = torch.arange(1, len(self.unmasked) + 1)
        frequency = shell.double() / (box * pixel_size)
        return pd.DataFrame(
            {
                "shell": shell.numpy(),
                "frequency_per_angstrom": frequency.numpy(),
                "resolution_angstrom": (1 / frequency).numpy(),
                "fsc": self.unmasked.numpy(),
                "fsc_masked": self.masked.numpy(),
                "fsc_randomised": self.randomised.numpy(),
                "fsc_corrected": self.corrected.numpy(),
            }
        )


def half_map_curves(half1: Tensor, half2: Tensor, mask: Tensor, *, seed: int = 0) -> Curves:
    """FSC of two half-maps `(n, n, n)`, its masked value corrected for the mask.

    A mask joins neighbouring frequencies of both maps in the same way, which correlates their
    noise. How much is measured on maps without signal: phases are random from where the unmasked
    FSC first falls below 0.8. From two shells beyond that the correction holds (Chen et al. 2013,
    as RELION does it); nearer to the centre the masked FSC stands.
    """
    unmasked, masked = fsc(half1, half2), fsc(half1, half2, mask)
    below = torch.nonzero(unmasked < RANDOMISE_BELOW)
    first = int(below[0]) + 1 if len(below) else len(unmasked) + 1
    generator = torch.Generator().manual_seed(seed)
    noise = [randomised(half, first, generator) for half in (half1, half2)]
    random = fsc(noise[0], noise[1], mask)
    corrected = masked.clone()
    beyond = torch.arange(1, len(masked) + 1) >= first + 2
    rest = (masked - random) / (1 - random).clamp(min=1e-3)
    corrected[beyond] = rest[beyond].clamp(-1, 1)
    return Curves(unmasked, masked, random, corrected, first)


def fewer_particles(curve: Tensor, share: float) -> Tensor:
    """Half-map FSC that a `share` of the same particles would have.

    The signal-to-noise ratio FSC / (1 - FSC) of a half-map grows with its particles.
    """
    value = curve.clamp(0, 0.9999)
    ratio = share * value / (1 - value)
    return ratio / (1 + ratio)


def randomised(volume: Tensor, first: int, generator: torch.Generator) -> Tensor:
    """`volume` `(n, n, n)` with random phases from shell `first` on, amplitudes kept."""
    n = volume.shape[-1]
    noise = torch.randn(n, n, n, generator=generator, dtype=torch.float64)
    # phases of a real image of noise: random, and those of Friedel mates belong together
    phase = fft3c(noise)
    phase = phase / phase.abs().clamp(min=1e-30)
    transform = fft3c(volume.double().cpu())
    shell = frequencies(n, 3).round().long()
    mixed = torch.where(shell >= first, transform.abs() * phase, transform)
    return ifft3c(mixed).real
