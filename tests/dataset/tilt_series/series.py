"""A tilt series to test with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tomopipe.dataset.dialects.tomograms import angles_to_rotation
from tomopipe.dataset.tilt_series.geometry import TiltImage, TiltSeries


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
