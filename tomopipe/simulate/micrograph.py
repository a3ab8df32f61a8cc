"""Tilt images: every particle's projection with its own defocus, at its own sub-pixel place.

A particle is projected in Fourier space, at the frequencies of a patch of the micrograph, times the
CTF at its own height, and added to the micrograph around the pixel nearest to where its centre
falls. Membrane and gold are drawn as blobs on slabs of one height each. Protein is dark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.physics.ctf import ctf_phase, wavelength_angstrom
from tomopipe.physics.dose import dose_weight
from tomopipe.simulate.phantom import Blobs
from tomopipe.simulate.scene import Grid, Scene
from tomopipe.simulate.scheme import Floats

_SLAB = 200.0  # Å of height: half of it in defocus is 0.02 radians at 20 Å
_FINEST = 4.0  # Å, beyond which nothing of a fringe matters for the size of a patch
_REACH = 4.0  # standard deviations of a blob that are drawn


@dataclass(frozen=True)
class Patch:
    """Frequencies of a `rows` x `columns` field, in the order of real transforms, and its optics.

    Attributes
    ----------
    tilt
        Which tilt of `series`.
    """

    rows: int
    columns: int
    pixel_size: float
    series: TiltSeries
    tilt: int

    @cached_property
    def ky(self) -> Tensor:
        """`(rows,)` in 1/Å."""
        frequency: Tensor = torch.fft.fftfreq(self.rows, self.pixel_size)
        return frequency

    @cached_property
    def kx(self) -> Tensor:
        """`(columns // 2 + 1,)` in 1/Å."""
        frequency: Tensor = torch.fft.rfftfreq(self.columns, self.pixel_size)
        return frequency

    @cached_property
    def _plane(self) -> Tensor:
        """`(rows, columns // 2 + 1, 2)` frequencies (x, y) in 1/Å."""
        return torch.stack(torch.meshgrid(self.kx, self.ky, indexing="xy"), -1)

    @cached_property
    def damage(self) -> Tensor:
        """What radiation leaves of each frequency."""
        dose = torch.tensor(float(self.series.dose_e_per_A2[self.tilt]))
        return dose_weight(self._plane.norm(dim=-1), dose, self.series.voltage_kv)

    def ctf(self, defocus_change: float) -> Tensor:
        """CTF with a defocus `defocus_change` (Å) above the tilt's; negative at low frequency."""
        return torch.sin(self._phase + defocus_change * self._slope)

    @cached_property
    def _phase(self) -> Tensor:
        """Phase of the CTF at the tilt's own defocus, in double precision until it is known."""
        series, tilt = self.series, self.tilt

        def given(value: float) -> Tensor:
            return torch.tensor([float(value)], dtype=torch.float64)

        return ctf_phase(
            self._plane.double(),
            defocus_u_angstrom=given(series.defocus_u_angstrom[tilt]),
            defocus_v_angstrom=given(series.defocus_v_angstrom[tilt]),
            astigmatism_degrees=given(series.astigmatism_degrees[tilt]),
            voltage_kv=given(series.voltage_kv),
            cs_mm=given(series.cs_mm),
            amplitude_contrast=given(series.amplitude_contrast),
            phase_shift_degrees=given(series.phase_shift_degrees[tilt]),
        ).float()

    @cached_property
    def _slope(self) -> Tensor:
        """How the phase changes with defocus: -pi lambda s^2, in radians per Å."""
        wavelength = float(wavelength_angstrom(torch.tensor(self.series.voltage_kv)))
        return -math.pi * wavelength * (self._plane**2).sum(-1)

    def shifted(self, shift_angstrom: Floats) -> Tensor:
        """Phases `(rows, columns // 2 + 1)` that move content by (x, y) Å."""
        y, x = (
            torch.polar(torch.ones_like(k), -2 * math.pi * k * float(shift))
            for k, shift in ((self.ky, shift_angstrom[1]), (self.kx, shift_angstrom[0]))
        )
        return y[:, None] * x

    def image(self, transform: Tensor) -> NDArray[np.float32]:
        """`(rows, columns)` whose pixel [rows // 2, columns // 2] is the origin."""
        image = torch.fft.irfft2(transform, s=(self.rows, self.columns))
        return np.asarray(torch.fft.fftshift(image).numpy())


def fringe_angstrom(series: TiltSeries, pixel_size: float, depth: float = 0.0) -> float:
    """How far in Å the CTF carries signal: lambda x defocus x frequency, at the highest of these.

    `depth` is added to the defocus.
    """
    wavelength = float(wavelength_angstrom(torch.tensor(series.voltage_kv)))
    defocus = float(np.abs(series.defocus_u_angstrom).max()) + depth
    return wavelength * defocus / max(2 * pixel_size, _FINEST)


def patch_size(series: TiltSeries, grid: Grid) -> int:
    """Pixels of the patches that particles of `grid` are drawn in, their fringes included."""
    depth = float(np.linalg.norm(series.volume_angstrom)) / 2
    reach = grid.radius * 1.3 + fringe_angstrom(series, series.pixel_size, depth)
    return 2 * int(next_fast_len(math.ceil(reach / series.pixel_size)))


def clean_micrograph(
    scene: Scene, series: TiltSeries, tilt: int, grid: Grid
) -> NDArray[np.float32]:
    """Tilt image `(ny, nx)` without noise: dark protein on 0, in units of projected density.

    The value of a pixel is the integral of the density over its column.
    """
    nx, ny = series.image_size
    image = np.zeros((ny, nx), np.float32)
    if scene.others:
        image += _others(scene.others, series, tilt)
    size = patch_size(series, grid)
    patch = Patch(size, size, series.pixel_size, series, tilt)
    centres = series.project(scene.positions)[:, tilt]
    change = series.defocus_change(scene.positions)[:, tilt]
    views = torch.from_numpy(series.rotation[tilt] @ scene.poses).float()
    for density, view, centre, defocus in zip(scene.densities, views, centres, change, strict=True):
        nearest = np.rint(centre)
        nothing = isinstance(density, Blobs) and not density.mass
        if nothing or _outside(nearest, size, nx, ny):
            continue
        signal = density.projections(view[None], patch.ky, patch.kx)[0]
        signal = signal * (patch.ctf(float(defocus)) * patch.damage)
        signal = signal * patch.shifted((centre - nearest) * series.pixel_size)
        _add(image, patch.image(signal), nearest.astype(int))
    return image


def _outside(centre: Floats, size: int, nx: int, ny: int) -> bool:
    half = size // 2
    return bool((centre < -half).any() or (centre > np.array([nx, ny]) + half).any())


def _add(image: NDArray[np.float32], patch: NDArray[np.float32], centre: NDArray[np.int_]) -> None:
    """Add a patch around pixel `centre` (x, y), as far as it lies in the image."""
    inner, outer = [], []
    for length, extent, middle in zip(image.shape, patch.shape, centre[::-1], strict=True):
        start = int(middle) - extent // 2
        low, high = max(start, 0), min(start + extent, length)
        inner.append(slice(low, max(high, low)))
        outer.append(slice(low - start, max(high, low) - start))
    image[inner[0], inner[1]] += patch[outer[0], outer[1]]


def _others(others: list[Blobs], series: TiltSeries, tilt: int) -> NDArray[np.float32]:
    """Membrane and gold, slab by slab of one height."""
    nx, ny = series.image_size
    margin = math.ceil(fringe_angstrom(series, series.pixel_size) / series.pixel_size) + 8
    columns = next_fast_len(nx + 2 * margin, real=True)
    rows = next_fast_len(ny + 2 * margin, real=True)
    field = Patch(rows, columns, series.pixel_size, series, tilt)
    # a membrane has ten thousands of blobs: only this tilt's view of them is worked out
    seen = [blobs.centres @ series.rotation[tilt].T for blobs in others]
    slabs = [np.rint(view[:, 2] / _SLAB).astype(int) for view in seen]
    corner = np.array(series.image_size) // 2 + margin
    total = torch.zeros(rows, columns // 2 + 1, dtype=torch.complex64)
    for slab in np.unique(np.concatenate(slabs)):
        canvas = np.zeros((rows, columns), np.float32)
        for blobs, view, number in zip(others, seen, slabs, strict=True):
            own = number == slab
            place = (view[own, :2] + series.shift_angstrom[tilt]) / series.pixel_size + corner
            width = blobs.width / series.pixel_size
            canvas += draw_blobs(place, blobs.weights[own], width, rows, columns)
        transform = torch.fft.rfft2(torch.from_numpy(canvas))
        total += transform * field.ctf(series.hand * float(slab) * _SLAB)
    image = torch.fft.irfft2(total * field.damage, s=(rows, columns)).numpy()
    return np.asarray(image[margin : margin + ny, margin : margin + nx])


def draw_blobs(
    place: Floats, weights: Floats, width: float, rows: int, columns: int
) -> NDArray[np.float32]:
    """Gaussians at `(n, 2)` pixels (x, y) with `(n,)` integrals: `(rows, columns)`."""
    width = max(width, 0.7)  # a sharper one would be aliased
    offsets = np.arange(-math.ceil(_REACH * width), math.ceil(_REACH * width) + 1)
    nearest = np.rint(place).astype(int)
    index = nearest[:, :, None] + offsets  # (n, 2, w)
    wave = np.exp(-0.5 * ((index - place[:, :, None]) / width) ** 2)
    wave[(index < 0) | (index >= np.array([columns, rows])[:, None])] = 0
    index = index.clip(0, np.array([columns - 1, rows - 1])[:, None])
    scale = weights / (2 * math.pi * width**2)
    values = scale[:, None, None] * wave[:, 1, :, None] * wave[:, 0, None, :]
    flat = index[:, 1, :, None] * columns + index[:, 0, None, :]
    drawn = np.bincount(flat.ravel(), values.ravel(), minlength=rows * columns)
    return drawn.reshape(rows, columns).astype(np.float32)
