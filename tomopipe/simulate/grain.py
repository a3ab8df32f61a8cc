"""Noise of tilt images: of the camera, and of the ice that the CTF modulates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.config.states import MapState
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.simulate.micrograph import Patch
from tomopipe.simulate.scene import Grid
from tomopipe.simulate.states import mass, rendered

_COARSE = 10.0  # Å, pixels in which the ratio of signal to white noise is stated
_FREE_PATH = 3100.0  # Å of ice at 300 kV after which 1 / e of the electrons are not scattered
_NOISE = 4  # number of the generators of a tomogram's noise


@dataclass(frozen=True)
class Grain:
    """Standard deviations in an untilted image, and the thickness of the ice in Å."""

    white: float
    structural: float
    ice: float

    def add(
        self, image: NDArray[np.float32], series: TiltSeries, tilt: int, seed: tuple[int, int]
    ) -> NDArray[np.float32]:
        """`image` `(ny, nx)` with noise; `seed` is that of the simulation and the tomogram.

        Tilted ice is 1 / cos thicker: of the electrons fewer are left to count, by the law of
        Beer and Lambert, and it has as much more structure.
        """
        rng = np.random.default_rng([*seed, _NOISE, tilt])
        cosine = max(float(np.cos(np.deg2rad(series.tilt_degrees[tilt]))), 0.05)
        if self.structural > 0:
            field = Patch(image.shape[0], image.shape[1], series.pixel_size, series, tilt)
            grain = rng.standard_normal(image.shape, np.float32) * self.structural / cosine**0.5
            transform = torch.fft.rfft2(torch.from_numpy(grain)) * field.ctf(0.0) * field.damage
            image = image + torch.fft.irfft2(transform, s=image.shape).numpy()
        if self.white > 0:
            fewer = np.exp(self.ice / _FREE_PATH / 2 * (1 / cosine - 1))
            grain = rng.standard_normal(image.shape, np.float32)
            image = image + grain * np.float32(self.white * fewer)
        return image


def grain_of(settings: TiltSeriesSimulation, grid: Grid) -> Grain:
    """Levels for the ratios that the settings ask for.

    The signal is the unaberrated projection of the reference state along z, on a square that holds
    it. White noise is that of counts: its variance grows with the area of a pixel, the signal's
    with the square of it, so that a ratio stated for 10 Å holds for all pixel sizes.
    """
    ice = settings.volume_angstrom[2] if settings.ice_angstrom is None else settings.ice_angstrom
    signal, pixel = signal_deviation(settings, grid), settings.pixel_size_angstrom
    white = 0.0
    if settings.snr is not None:
        white = signal / settings.snr**0.5 * pixel / _COARSE
    structural = 0.0
    if settings.structural_snr is not None:
        structural = signal / settings.structural_snr**0.5 * (pixel / _COARSE) ** 2
    return Grain(white, structural, ice)


def signal_deviation(settings: TiltSeriesSimulation, grid: Grid) -> float:
    """Standard deviation of the reference state's projection in pixels of 10 Å."""
    state = settings.reference
    box = 2 * int(np.ceil(grid.radius / _COARSE))
    coarse = rendered(settings, state, 0.5, box, _COARSE)
    deviation = float(coarse.sum(0).std())
    if isinstance(settings.states.get(state), MapState):
        # voxels of another size hold the same density, whatever lies around the particle
        return deviation * (_COARSE / grid.pixel_size) ** 3
    # blobs have the same mass on both grids
    return deviation / float(coarse.sum()) * mass(settings, state, 0.5, grid.box, grid.pixel_size)
