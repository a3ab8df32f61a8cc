"""Tomograms by weighted back-projection: context for particles, and for maps put back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.config.reconstruct import TomogramSettings
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.errors import InputError
from tomopipe.io.progress import Progress
from tomopipe.physics.dose import critical_dose
from tomopipe.physics.window import soft_edge

Floats = NDArray[np.float64]

_THICKNESS = 3000.0  # Å, where nothing is known
_BYTES_A_VOXEL = 32  # of a slab: its sum, two coordinates, a tilt's sample, and what comes between
_PLANAR = 0.05  # least spread of the beams (their second singular value) that shows the tilt axis


def weighted_back_projection(
    series: TiltSeries,
    images: Iterable[NDArray[np.floating]],
    pixel_size: float,
    *,
    settings: TomogramSettings | None = None,
) -> Tensor:
    """Tomogram `(z, y, x)` of a tilt series, its centre at voxel n // 2 of each axis.

    Every image is cropped in Fourier space, multiplied by a ramp across the tilt axis, and smeared
    back along its beam, slab by slab of the tomogram. Contrast is that of the images, protein dark
    unless `settings.invert`.

    Parameters
    ----------
    series
        Geometry of F tilts.
    images
        F images `(ny, nx)`, in the series' order; taken one at a time.
    pixel_size
        Å per voxel; at least the images'.
    settings
        Thickness, weights and filter; `pixel_size_angstrom` of it is not used.

    Raises
    ------
    InputError
        If `pixel_size` is finer than the images', or an image has another size than the series.
    """
    settings = settings or TomogramSettings()
    filtered = filtered_images(series, images, pixel_size, settings)
    shape = tomogram_shape(series, pixel_size, settings)
    depth, height, width = shape
    slab = max(1, int(settings.slab_gb * 1e9 / (_BYTES_A_VOXEL * height * width)))
    volume = torch.empty(shape)
    with Progress(depth, f"{series.name}: back-projecting") as progress:
        for first in range(0, depth, slab):
            z = torch.arange(first, min(first + slab, depth))
            volume[first : first + slab] = _slab(series, filtered, pixel_size, z, shape)
            progress.advance(len(z))
    return volume


def tomogram_shape(
    series: TiltSeries, pixel_size: float, settings: TomogramSettings
) -> tuple[int, int, int]:
    """Voxels (z, y, x): the series' size, else that of its images and the settings' thickness."""
    size = np.array(series.volume_angstrom, dtype=float)
    known = np.array([*series.seen_angstrom, _THICKNESS])
    size = np.where(np.isfinite(size), size, known)
    if settings.thickness_angstrom is not None:
        size[2] = settings.thickness_angstrom
    x, y, z = (max(2, 2 * round(length / pixel_size / 2)) for length in size)
    return z, y, x


def filtered_images(
    series: TiltSeries,
    images: Iterable[NDArray[np.floating]],
    pixel_size: float,
    settings: TomogramSettings,
) -> Tensor:
    """Images `(F, ny, nx)` at about `pixel_size`, ramp-filtered and weighted.

    Raises
    ------
    InputError
        As `weighted_back_projection`.
    """
    if pixel_size < series.pixel_size * (1 - 1e-6):
        raise InputError(
            f"{series.name}: its images have {series.pixel_size:g} Å per pixel, finer than that "
            f"there is nothing: set pixel_size_angstrom to more than {pixel_size:g}"
        )
    nx, ny = series.image_size
    ratio = series.pixel_size / pixel_size
    small = _cropped(ny, ratio), _cropped(nx, ratio)
    frequency = _frequencies((ny, nx), small, series.pixel_size)
    factors = _ramps(series, frequency, pixel_size, settings)
    out = torch.empty(len(series), *small)
    count = 0
    for image in images:
        if image.shape != (ny, nx):
            raise InputError(
                f"{series.images[count].path}: the image has {image.shape[1]} x {image.shape[0]} "
                f"pixels, its tilt series says {nx} x {ny}: correct the alignment's image size"
            )
        out[count] = _filtered(torch.as_tensor(np.asarray(image, np.float32)), next(factors))
        count += 1
    if count != len(series):
        raise InputError(f"{series.name}: {count} images came for {len(series)} tilts")
    return -out if settings.invert else out


def _cropped(n: int, ratio: float) -> int:
    """Even number of pixels nearest to `ratio` of `n`, at least 2 and at most `n`."""
    return min(n - n % 2, max(2, 2 * round(n * ratio / 2)))


def _frequencies(size: tuple[int, int], small: tuple[int, int], pixel: float) -> Tensor:
    """Frequencies (x, y) in 1/Å of a centred transform cropped to `small`: `(ny, nx, 2)`."""
    y, x = ((torch.arange(m) - m // 2) / (n * pixel) for n, m in zip(size, small, strict=True))
    ky, kx = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([kx, ky], -1)


def _ramps(
    series: TiltSeries, frequency: Tensor, pixel_size: float, settings: TomogramSettings
) -> Iterator[Tensor]:
    """What each image's cropped transform is multiplied with, `(ny, nx)`, tilt by tilt."""
    across = across_axis(series.rotation)
    radius = frequency.norm(dim=-1)
    nyquist = 0.5 / pixel_size
    soft = soft_edge(radius, settings.filter_edge * nyquist, nyquist)
    damage = 1 / critical_dose(radius, series.voltage_kv)
    tilt = np.radians(series.tilt_degrees)
    # the integral over angles becomes a sum of steps, in voxels
    step = math.pi / 2 if len(series) < 2 else float(np.ptp(tilt)) / (len(series) - 1)
    # the ramp's mean over the Fourier pixels that it is 0 in; what is even everywhere is left out
    least = 0.25 / (max(series.image_size) * series.pixel_size)
    soft = soft * (radius > 0)
    for f in range(len(series)):
        direction = torch.tensor(across[f], dtype=torch.float32)
        factor = (frequency @ direction).abs().clamp(min=least) * soft * (step * pixel_size)
        if settings.tilt_weighting:
            factor = factor * max(math.cos(tilt[f]), 0.0)
        dose = float(series.dose_e_per_A2[f])
        if settings.dose_weighting and math.isfinite(dose):
            factor = factor * torch.exp(-0.5 * dose * damage)
        yield factor


def across_axis(rotation: Floats) -> Floats:
    """Unit vectors (x, y) in each image at right angles to the tilt axis: `(F, 2)`.

    The axis is what all beams of the series are at right angles to; where they hardly differ it is
    the tomogram's y.
    """
    beams = rotation[:, 2]
    _, size, directions = np.linalg.svd(beams, full_matrices=True)
    planar = len(size) > 1 and size[1] > _PLANAR * size[0]
    axis = directions[2] if planar else np.array([0.0, 1.0, 0.0])
    seen = np.einsum("fij,j->fi", rotation[:, :2], axis)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True).clip(min=1e-9)
    across: Floats = np.stack([-seen[:, 1], seen[:, 0]], axis=1)
    return across


def _filtered(image: Tensor, factor: Tensor) -> Tensor:
    """`image` `(ny, nx)` cropped in Fourier space to the size of `factor`, times it."""
    dims = (-2, -1)
    transform = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(image, dims)), dims)
    for dim, (n, m) in enumerate(zip(image.shape, factor.shape, strict=True)):
        transform = transform.narrow(dim, n // 2 - m // 2, m)
    small = transform * factor
    back = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(small, dims)), dims).real
    cropped: Tensor = back * (factor.numel() / image.numel())
    return cropped


def _slab(
    series: TiltSeries,
    filtered: Tensor,
    pixel_size: float,
    z: Tensor,
    shape: tuple[int, int, int],
) -> Tensor:
    """The planes `z` of the tomogram `(len(z), y, x)`."""
    _, height, width = shape
    lines = [(torch.arange(n) - n // 2) * pixel_size for n in (height, width)]
    y, x = (line.float() for line in lines)
    z = (z - shape[0] // 2).float() * pixel_size
    total = torch.zeros(len(z), height, width)
    small_y, small_x = filtered.shape[1:]
    sizes = ((small_x, series.image_size[0]), (small_y, series.image_size[1]))
    for f in range(len(series)):
        coordinates = []
        for axis, (small, size) in enumerate(sizes):
            # Å of a cropped pixel: not quite `pixel_size`, since a crop has whole pixels
            pixel = size * series.pixel_size / small
            rotation = [float(v) / pixel for v in series.rotation[f, axis]]
            centre = small // 2 + float(series.shift_angstrom[f, axis]) / pixel
            at = (
                rotation[2] * z[:, None, None]
                + rotation[1] * y[None, :, None]
                + (rotation[0] * x + centre)
            )
            coordinates.append(2 * at / (small - 1) - 1)
        grid = torch.stack(coordinates, -1).reshape(1, len(z) * height, width, 2)
        sampled = F.grid_sample(
            filtered[f][None, None], grid, mode="bilinear", padding_mode="zeros", align_corners=True
        )
        total += sampled.reshape(total.shape)
    return total
