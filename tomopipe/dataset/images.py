"""Images and what their table says of them: pixels, CTF parameters, shifts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.errors import InputError
from tomopipe.io.mrc import open_stack

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


def read_images(images: pd.DataFrame, box: int) -> NDArray[np.float32]:
    """Pixels of the images as `(n, box, box)`, each stack opened once.

    Raises
    ------
    InputError
        If a stack is unreadable, of another box, or too short.
    """
    out = np.empty((len(images), box, box), dtype=np.float32)
    slots = images["slot"].to_numpy()
    stacks = images["stack"].to_numpy(object)
    for stack in pd.unique(stacks):
        rows = np.flatnonzero(stacks == stack)
        with open_stack(stack) as reader:
            if reader.shape[1:] != (box, box) or reader.shape[0] <= slots[rows].max():
                raise InputError(
                    f"{stack} holds {reader.shape[0]} images of "
                    f"{reader.shape[2]} x {reader.shape[1]} pixels, but image "
                    f"{slots[rows].max() + 1} of {box} x {box} is needed: import again"
                )
            out[rows] = reader.read(slots[rows])
    return out
