"""Images of particles in one tilt: cut, filtered, bright, and with a background of 0 ± 1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.config.extract import ExtractSettings
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.extract.sampling import Sampler, make_sampler
from tomopipe.physics.ctf import ctf_phase, wavelength_angstrom
from tomopipe.physics.dose import dose_weight
from tomopipe.physics.fourier import frequencies

_BATCH_PIXELS = 1 << 20  # of the squares that are cut at once: 4 MiB


class Extractor:
    """Cuts the particles of a tilt series out of its images, one image at a time."""

    def __init__(self, series: TiltSeries, settings: ExtractSettings) -> None:
        self.series, self.settings = series, settings
        self._filtered = settings.ctf_premultiply or settings.dose_weight
        # a filter spreads an image: what it brings in from outside the box must be there
        self._size = settings.box * settings.padding if self._filtered else settings.box
        self._sampler: Sampler = make_sampler(
            self._size, series.pixel_size, settings.pixel_size_angstrom
        )
        self._frequency = self._sampler.frequency
        outside = frequencies(settings.box, 2) > settings.background_diameter * settings.box / 2
        self._last: tuple[int, tuple[Tensor, Tensor, Tensor]] | None = None
        self._background = outside.reshape(-1).nonzero()[:, 0]

    def __call__(
        self, image: Tensor, tilt: int, centre: NDArray[np.float64], depth: NDArray[np.float64]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Cut boxes from the image of one tilt.

        Parameters
        ----------
        image
            `(ny, nx)` float32.
        tilt
            Its number in the series.
        centre
            `(n, 2)` (x, y) pixels in the image.
        depth
            `(n,)` Å, added to the tilt's defocus.

        Yields
        ------
        tuple
            Which of the `n`, and their `(batch, box, box)` float32 images.
        """
        size = max(1, _BATCH_PIXELS // self._sampler.crop**2)
        # what rounding leaves of an area that is blank, whatever its grey value
        blank = 1e-6 * float(image.abs().mean())
        for start in range(0, len(centre), size):
            some = slice(start, start + size)
            factor = self._factor(tilt, depth[some]) if self._filtered else None
            boxes = self._sampler(image, centre[some], factor)
            rim = (self._size - self.settings.box) // 2
            boxes = boxes[:, rim : self._size - rim, rim : self._size - rim]
            boxes = -boxes if self.settings.contrast == "dark" else boxes
            yield some, self._normalized(boxes, blank) if self.settings.normalize else boxes

    def _factor(self, tilt: int, depth: NDArray[np.float64]) -> Tensor:
        """`(n, size, size // 2 + 1)`: CTF, positive at low frequency, and dose weight."""
        damage, phase, slope = self._of_tilt(tilt)
        if not self.settings.ctf_premultiply:
            return damage.expand(len(depth), -1, -1)
        deeper = torch.from_numpy(depth).float()[:, None, None]
        return torch.sin(phase + slope * deeper).mul_(-damage)

    def _of_tilt(self, tilt: int) -> tuple[Tensor, Tensor, Tensor]:
        """`(size, size // 2 + 1)` each: dose weight, phase of the CTF, its change per Å of defocus.

        All particles of a tilt share them, and differ in depth only.
        """
        if self._last is None or self._last[0] != tilt:
            one = self.series
            damage = torch.ones(self._frequency.shape[:2])
            if self.settings.dose_weight:
                dose = torch.tensor(one.dose_e_per_A2[tilt], dtype=torch.float32)
                damage = dose_weight(self._frequency.norm(dim=-1), dose, one.voltage_kv)
            frequency = self._frequency.double()
            phase = ctf_phase(frequency.flatten(0, 1), **_optics(one, tilt)).float()
            wavelength = wavelength_angstrom(torch.tensor(one.voltage_kv, dtype=torch.float64))
            slope = -torch.pi * wavelength * frequency.square().sum(-1)
            self._last = tilt, (damage, phase.view_as(damage), slope.float())
        return self._last[1]

    def _normalized(self, boxes: Tensor, blank: float) -> Tensor:
        """Background of 0 ± 1; boxes that vary by no more than `blank` become no numbers."""
        background = boxes.flatten(1)[:, self._background]
        spread, mean = torch.std_mean(background, dim=1)
        spread = torch.where(spread > blank, spread, torch.nan)
        return (boxes - mean[:, None, None]) / spread[:, None, None]


def _optics(series: TiltSeries, tilt: int) -> dict[str, Tensor]:
    """Arguments of `physics.ctf.ctf_phase` at the tomogram's centre."""
    values = {
        "defocus_u_angstrom": series.defocus_u_angstrom[tilt],
        "defocus_v_angstrom": series.defocus_v_angstrom[tilt],
        "astigmatism_degrees": _known(series.astigmatism_degrees[tilt]),
        "phase_shift_degrees": _known(series.phase_shift_degrees[tilt]),
        "voltage_kv": series.voltage_kv,
        "cs_mm": series.cs_mm,
        "amplitude_contrast": series.amplitude_contrast,
    }
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def _known(degrees: float) -> float:
    """0 for an angle that nobody measured."""
    return 0.0 if np.isnan(degrees) else float(degrees)
