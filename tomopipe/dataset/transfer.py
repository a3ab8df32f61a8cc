"""CTF and radiation damage of a store's images, as a few numbers for each image.

On a half plane of integer lattice points the CTF's phase is a polynomial, so that its five
coefficients say everything about an image. They are made in float64; what follows for single
coefficients is float32 (phases of hundreds of radians keep an error below 1e-4).

Images that were multiplied by their CTF and cut to their box afterwards are not CTF^2 times the
volume plus CTF times white noise. With gamma the CTF's phase,

    CTF^2 = (1 - cos 2 gamma) / 2 = (1 + (2 CTF^2 - 1)) / 2,

and near a frequency k the term in gamma is a plane wave: a second image, moved by
r = grad(2 gamma) / 2 pi (2 lambda z k less spherical aberration). Of that image only what lies in
the real-space window W counts, so that the term falls by a factor g(r) <= 1:

    mean of an image  = V (g CTF^2 + (1 - g) / 2),
    noise's variance  =   (h CTF^2 + (1 - h) / 2),

h the overlap of W with itself moved by r (by the Wiener-Khinchin theorem the variance is CTF^2
convolved with the spectrum of W), g that of W with the moved particle. At the zeros of the CTF
noise is a tenth to a half of what it is elsewhere, not 0: dividing by CTF^2 would make a thousand
of it. In simulated noise h is right within 5 % in most shells and 20 % in all, in real stacks of
WarpTools within their scatter (tests/dataset/test_premultiplied.py).
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
from tomopipe.physics.window import disc_overlap, soft_edge

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
    window
        Radius (pixels) of the real-space window that the images went through.
    device
        Where the numbers are kept and worked on.
    """

    def __init__(
        self, images: pd.DataFrame, lattice: Tensor, box: int, window: float, device: torch.device
    ) -> None:
        self._box, self._window = box, window
        pixel = column(images, "pixel_size_angstrom")
        self._image = _image_numbers(images, pixel, box).float().to(device)
        self._decays = bool((self._image[_DECAY] != 0).any())
        self._falloff = _falloff_numbers(images, pixel, box, device)
        self._premultiplied = _flag(images, "premultiplied", device)
        self._dose_weighted = _flag(images, "dose_weighted", device)
        kx, ky = lattice.double().unbind(-1)
        squared = kx**2 + ky**2
        powers = torch.stack([kx**2, ky**2, kx * ky, squared**2, squared])
        self._lattice = powers.float().to(device)
        self._points = torch.stack([kx, ky]).float().to(device)
        sizes, group = np.unique(pixel.numpy(), return_inverse=True)
        unit = squared.sqrt() / (box * torch.from_numpy(sizes)[:, None])
        self._inverse_dose = (1 / critical_dose(unit, _REFERENCE_KV)).nan_to_num()
        self._inverse_dose = self._inverse_dose.float().to(device)
        self._group = torch.from_numpy(group.reshape(-1)).to(device) if len(sizes) > 1 else None

    def __call__(
        self, image: Tensor, lattice: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Transfer, variance of white noise, damage, and falloff, each `(C,)` float32.

        Transfer is CTF · scale; it and the variance have gone through what was done to the images
        before import. The falloff is None where none was measured in any image.

        Parameters
        ----------
        image, lattice
            `(C,)` row of the image table and lattice point of each coefficient.
        """
        number = self._image.index_select(1, image)
        power = self._lattice.index_select(1, lattice)
        phase = (number[:_CONSTANT] * power[:_CONSTANT]).sum(0) + number[_CONSTANT]
        envelope = number[_SCALE]
        if self._decays:
            envelope = envelope * torch.exp(-number[_DECAY] * power[_SQUARED])
        transfer = phase.sin_() * envelope
        noise = torch.ones_like(transfer)
        if self._group is None:
            inverse = self._inverse_dose[0].index_select(0, lattice)
        else:
            inverse = self._inverse_dose[self._group[image], lattice]
        damage = torch.exp(-number[_RATE] * inverse)
        if self._premultiplied is not None:
            multiplied = self._premultiplied[image]
            moved = self._delocalisation(number, lattice)
            square, half = transfer**2, envelope**2 / 2
            seen = soft_edge(moved, 0.5 * self._window, 1.5 * self._window)
            transfer = torch.where(multiplied, torch.lerp(half, square, seen), transfer)
            shared = disc_overlap(moved / self._window)
            noise = torch.where(multiplied, torch.lerp(half, square, shared), noise)
        if self._dose_weighted is not None:
            factor = torch.where(self._dose_weighted[image], damage, 1.0)
            transfer, noise = transfer * factor, noise * factor**2
        falloff = None
        if self._falloff is not None:
            scale, decay, last = self._falloff.index_select(1, image)
            falloff = scale * torch.exp(-decay * torch.minimum(power[_SQUARED], last))
        return transfer, noise, damage, falloff

    def _delocalisation(self, number: Tensor, lattice: Tensor) -> Tensor:
        """Pixels `(C,)` by which the square of the CTF moves its second image: |grad 2 gamma|."""
        kx, ky = self._points.index_select(1, lattice)
        xx, yy, xy, fourth = number[:_CONSTANT]
        fourth = 4 * fourth * (kx**2 + ky**2)
        across = (2 * xx + fourth) * kx + xy * ky
        along = (2 * yy + fourth) * ky + xy * kx
        return torch.hypot(across, along) * (self._box / math.pi)


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


def _falloff_numbers(
    images: pd.DataFrame, pixel: Tensor, box: int, device: torch.device
) -> Tensor | None:
    """Scale of the signal, its decay with k^2, and the last k^2 of that, `(3, n)` float32.

    None where all images show it alike.
    """
    if "falloff_scale" not in images:  # nothing is measured before images are packed
        return None
    scale, bfactor = column(images, "falloff_scale"), column(images, "falloff_bfactor_A2")
    if bool((scale == 1).all() and (bfactor == 0).all()):
        return None
    size = box * pixel
    last = (size / column(images, "falloff_angstrom")) ** 2
    return torch.stack([scale, bfactor / 4 / size**2, last]).float().to(device)


def _flag(images: pd.DataFrame, name: str, device: torch.device) -> Tensor | None:
    """A column of true and false; None where it is false throughout, which costs nothing then."""
    flag = torch.from_numpy(images[name].to_numpy(bool, copy=True)).to(device)
    return flag if bool(flag.any()) else None
