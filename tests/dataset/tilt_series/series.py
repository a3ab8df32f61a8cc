"""A tilt series to test with."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tomopipe.dataset.dialects.tomograms import angles_to_rotation
from tomopipe.dataset.tilt_series.geometry import TiltImage, TiltSeries
from tomopipe.dataset.tilt_series.write import image_paths, write_tilt_series


def tilt_series(tilts: Sequence[tuple[float, ...]], **given: Any) -> TiltSeries:
    """A series of tilts (XTilt, YTilt, ZRot in degrees, shifts in Å); `given` replaces fields."""
    x, y, z, shift_x, shift_y = np.array(tilts, dtype=float).T
    n = len(tilts)
    fields: dict[str, Any] = {
        "name": "tomo_1",
        "images": tuple(TiltImage(Path("tomo_1.st"), i) for i in range(n)),
        "pixel_size": 4.0,
        "image_size": (960, 928),
        "volume_angstrom": np.array([4000.0, 3600.0, 1200.0]),
        "rotation": angles_to_rotation(x, y, z),
        "shift_angstrom": np.stack([shift_x, shift_y], axis=1),
        "defocus_u_angstrom": np.full(n, 30500.0),
        "defocus_v_angstrom": np.full(n, 29500.0),
        "astigmatism_degrees": np.full(n, 40.0),
        "phase_shift_degrees": np.zeros(n),
        "dose_e_per_A2": 3.0 * (np.arange(n) + 1),
        "dose_per_tilt": 3.0,
        "hand": -1.0,
        "voltage_kv": 300.0,
        "cs_mm": 2.7,
        "amplitude_contrast": 0.07,
    }
    return TiltSeries(**(fields | given))


def write_stack(path: Path, size: tuple[int, int], count: int, pixel_size: float) -> Path:
    """A stack of 8-bit images that takes no room on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, *size, count, 0)
    struct.pack_into("<3i", header, 28, *size, count)
    struct.pack_into("<3f", header, 40, *(n * pixel_size for n in (*size, count)))
    struct.pack_into("<3f3i", header, 52, 90, 90, 90, 1, 2, 3)
    header[208:216] = b"MAP \x44\x44\x00\x00"
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(1024 + size[0] * size[1] * count)
    return path


def placed(folder: Path, series: TiltSeries, form: Any) -> TiltSeries:
    """`series` written into `folder` with images where `form` expects them."""
    places = image_paths(folder, series.name, len(series), form)
    series = replace(series, images=tuple(TiltImage(*place) for place in places))
    for path in {image.path for image in series.images}:
        count = sum(image.path == path for image in series.images)
        write_stack(path, series.image_size, count, series.pixel_size)
    write_tilt_series(folder, [series], form)
    return series


def assert_same_geometry(a: TiltSeries, b: TiltSeries, pixels: float = 0.01) -> None:
    """Points of a tomogram fall on the same pixels, at the same height."""
    points = np.random.default_rng(0).uniform(-1500, 1500, (50, 3))
    np.testing.assert_allclose(a.project(points), b.project(points), atol=pixels)
    np.testing.assert_allclose(a.height(points), b.height(points), atol=0.02)


def assert_same_optics(a: TiltSeries, b: TiltSeries) -> None:
    """Defocus, dose, hand and microscope agree."""
    for name, tolerance in [
        ("defocus_u_angstrom", 0.1),
        ("defocus_v_angstrom", 0.1),
        ("astigmatism_degrees", 0.01),
        ("phase_shift_degrees", 0.01),
        ("dose_e_per_A2", 1e-4),
    ]:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=tolerance, err_msg=name)
    for name in ("hand", "voltage_kv", "cs_mm", "amplitude_contrast", "pixel_size"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-5), name
    assert (a.name, a.image_size) == (b.name, b.image_size)
    assert a.dose_per_tilt == pytest.approx(b.dose_per_tilt)
