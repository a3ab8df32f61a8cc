"""CTF and radiation damage of a store's images, as a few numbers for each image.

On a half plane of integer lattice points the CTF's phase is a polynomial, so that its five
coefficients say everything about an image. They are made in float64; what follows for single
coefficients is float32 (phases of hundreds of radians keep an error below 1e-4).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tomopipe.dataset.images import column, ctf_parameters
from tomopipe.physics.ctf import wavelength_angstrom
from tomopipe.physics.dose import critical_dose

_REFERENCE_KV = 300.0
# rows of the table: phase (kx^2, ky^2, kx ky, k^4, 1), decay with k^2, scale, dose over critical
_CONSTANT, _DECAY, _SCALE, _RATE = 4, 5, 6, 7
_SQUARED = 4  # row of the lattice table (kx^2, ky^2, kx ky, k^4, k^2)


class TransferTable:
    """What an image's coefficients are multiplied with, for images and lattice points in any order.

    Parameters
    ----------
    images
        Image table of a store.
    lattice
        `(n, 2)` (kx, ky) of the half plane.
    box
        Box in pixels.
    device
        Where the numbers are kept and worked on.
    """

    def __init__(
        self, images: pd.DataFrame, lattice: Tensor, box: int, device: torch.device
    ) -> None:
        pixel = column(images, "pixel_size_angstrom")
        self._image = _image_numbers(images, pixel, box).float().to(device)
        self._decays = bool((self._image[_DECAY] != 0).any())
        self._premultiplied = _flag(images, "premultiplied", device)
        self._dose_weighted = _flag(images, "dose_weighted", device)
        kx, ky = lattice.double().unbind(-1)
        squared = kx**2 + ky**2
        powers = torch.stack([kx**2, ky**2, kx * ky, squared**2, squared])
        self._lattice = powers.float().to(device)
        sizes, group = np.unique(pixel.numpy(), return_inverse=True)
        unit = squared.sqrt() / (box * torch.from_numpy(sizes)[:, None])
        self._inverse_dose = (1 / critical_dose(unit, _REFERENCE_KV)).nan_to_num()
        self._inverse_dose = self._inverse_dose.float().to(device)
        self._group = torch.from_numpy(group.reshape(-1)).to(device) if len(sizes) > 1 else None

    def __call__(self, image: Tensor, lattice: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Transfer as stored (CTF · scale · prefilter), prefilter and damage, each `(C,)` float32.

        Parameters
        ----------
        image, lattice
            `(C,)` row of the image table and lattice point of each coefficient.
        """
        number = self._image.index_select(1, image)
        power = self._lattice.index_select(1, lattice)
        phase = (number[:_CONSTANT] * power[:_CONSTANT]).sum(0) + number[_CONSTANT]
        value = phase.sin_() * number[_SCALE]
        if self._decays:
            value = value * torch.exp(-number[_DECAY] * power[_SQUARED])
        if self._group is None:
            inverse = self._inverse_dose[0].index_select(0, lattice)
        else:
            inverse = self._inverse_dose[self._group[image], lattice]
        damage = torch.exp(-number[_RATE] * inverse)
        prefilter = torch.ones_like(value)
        if self._premultiplied is not None:
            prefilter = torch.where(self._premultiplied[image], value, prefilter)
        if self._dose_weighted is not None:
            prefilter = torch.where(self._dose_weighted[image], prefilter * damage, prefilter)
        return value * prefilter, prefilter, damage


def _image_numbers(images: pd.DataFrame, pixel: Tensor, box: int) -> Tensor:
    """Numbers of each image, `(8, n)` float64.

    Without defocus, or with anything unknown in it, the CTF is 1; without a dose there is no
    damage.
    """
    optics = ctf_parameters(images)
    unit = 1 / (box * pixel)  # 1/Å per lattice point
    wavelength = wavelength_angstrom(optics["voltage_kv"])
    mean = (optics["defocus_u_angstrom"] + optics["defocus_v_angstrom"]) / 2
    difference = (optics["defocus_u_angstrom"] - optics["defocus_v_angstrom"]) / 2
    twice = 2 * torch.deg2rad(optics["astigmatism_degrees"])
    square = -math.pi * wavelength * unit**2
    constant = torch.deg2rad(optics["phase_shift_degrees"])
    constant = -constant - torch.arcsin(optics["amplitude_contrast"])
    spherical = optics["cs_mm"] * 1e7 * wavelength**3
    rows = torch.stack(
        [
            square * (mean + difference * torch.cos(twice)),
            square * (mean - difference * torch.cos(twice)),
            2 * square * difference * torch.sin(twice),
            (math.pi / 2) * spherical * unit**4,
            constant,
            optics["bfactor_A2"] / 4 * unit**2,
            column(images, "scale"),
        ]
    )
    none = torch.zeros(len(rows), 1, dtype=torch.float64)
    none[_CONSTANT], none[_SCALE] = math.pi / 2, 1.0  # sin = 1
    rows = torch.where(rows.isnan().any(0), none, rows)
    voltage = optics["voltage_kv"]
    one = torch.ones_like(voltage)
    critical = critical_dose(one, voltage) / critical_dose(one, _REFERENCE_KV)
    rate = (0.5 * column(images, "dose_e_per_A2") / critical).nan_to_num(nan=0.0)
    return torch.cat([rows, rate[None]])


def _flag(images: pd.DataFrame, name: str, device: torch.device) -> Tensor | None:
    """A column of true and false; None where it is false throughout, which costs nothing then."""
    flag = torch.from_numpy(images[name].to_numpy(bool, copy=True)).to(device)
    return flag if bool(flag.any()) else None
