"""The contrast transfer function (SCIENCE: same sign and formula as cryoDRGN and tomoDRGN)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def wavelength_angstrom(voltage_kv: Tensor) -> Tensor:
    """Relativistic electron wavelength in Å: 12.2639 / sqrt(V + 0.97845e-6 V^2), V in volts."""
    volts = voltage_kv * 1e3
    return 12.2639 / torch.sqrt(volts + 0.97845e-6 * volts**2)


def ctf_phase(
    frequency: Tensor,
    *,
    defocus_u_angstrom: Tensor,
    defocus_v_angstrom: Tensor,
    astigmatism_degrees: Tensor,
    voltage_kv: Tensor,
    cs_mm: Tensor,
    amplitude_contrast: Tensor,
    phase_shift_degrees: Tensor,
) -> Tensor:
    """The phase gamma whose sine is the CTF, in radians: `(..., n)`; arguments as in `ctf`.

    gamma = -pi z lambda s^2 + pi/2 Cs lambda^3 s^4 - (phase + arcsin w), with the astigmatic
    defocus z = (dU + dV) / 2 + (dU - dV) / 2 cos 2(alpha - alpha_ast). It is linear in defocus.
    """
    s2 = (frequency**2).sum(-1)
    angle = torch.atan2(frequency[..., 1], frequency[..., 0])
    angle = angle - torch.deg2rad(astigmatism_degrees)[..., None]
    mean = (defocus_u_angstrom + defocus_v_angstrom)[..., None] / 2
    difference = (defocus_u_angstrom - defocus_v_angstrom)[..., None] / 2
    wavelength = wavelength_angstrom(voltage_kv)[..., None]
    defocus = mean + difference * torch.cos(2 * angle)
    constant = torch.deg2rad(phase_shift_degrees) + torch.arcsin(amplitude_contrast)
    return (
        -math.pi * defocus * wavelength * s2
        + (math.pi / 2) * (cs_mm * 1e7)[..., None] * wavelength**3 * s2**2
        - constant[..., None]
    )


def ctf(
    frequency: Tensor,
    *,
    defocus_u_angstrom: Tensor,
    defocus_v_angstrom: Tensor,
    astigmatism_degrees: Tensor,
    voltage_kv: Tensor,
    cs_mm: Tensor,
    amplitude_contrast: Tensor,
    phase_shift_degrees: Tensor,
    bfactor_A2: Tensor | None = None,
) -> Tensor:
    """CTF = sin(gamma), negative at low frequency for underfocus (positive defocus).

    `ctf_phase` has the formula of gamma.

    Parameters
    ----------
    frequency
        `(..., n, 2)` (x, y) in 1/Å.
    defocus_u_angstrom, defocus_v_angstrom, astigmatism_degrees, voltage_kv, cs_mm
        `(...)` per image.
    amplitude_contrast, phase_shift_degrees, bfactor_A2
        `(...)` per image; the B-factor multiplies by exp(-B s^2 / 4).

    Returns
    -------
    Tensor
        `(..., n)`.
    """
    gamma = ctf_phase(
        frequency,
        defocus_u_angstrom=defocus_u_angstrom,
        defocus_v_angstrom=defocus_v_angstrom,
        astigmatism_degrees=astigmatism_degrees,
        voltage_kv=voltage_kv,
        cs_mm=cs_mm,
        amplitude_contrast=amplitude_contrast,
        phase_shift_degrees=phase_shift_degrees,
    )
    value = torch.sin(gamma)
    if bfactor_A2 is not None:
        value = value * torch.exp(-bfactor_A2[..., None] / 4 * (frequency**2).sum(-1))
    return value
