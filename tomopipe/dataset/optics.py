"""The CTF parameters of images, from their table to tensors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

CTF_COLUMNS = (
    "defocus_u_angstrom",
    "defocus_v_angstrom",
    "astigmatism_degrees",
    "voltage_kv",
    "cs_mm",
    "amplitude_contrast",
    "phase_shift_degrees",
    "bfactor_A2",
)


def column(images: pd.DataFrame, name: str) -> Tensor:
    """A numeric column of the image table as `(n,)` float64, its own copy."""
    return torch.from_numpy(images[name].to_numpy(np.float64, copy=True))


def ctf_parameters(images: pd.DataFrame) -> dict[str, Tensor]:
    """Arguments of `physics.ctf.ctf` for each image, `(n,)` float64; NaN defocus means no CTF."""
    return {name: column(images, name) for name in CTF_COLUMNS}


def shifts_pixels(images: pd.DataFrame) -> Tensor:
    """The shifts that centre each image, `(n, 2)` (x, y) in pixels, float64."""
    shift = torch.stack([column(images, f"shift_{axis}_angstrom") for axis in "xy"], -1)
    return shift / column(images, "pixel_size_angstrom")[:, None]
