import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch_ctf import calculate_ctf_2d

from tomopipe.physics.ctf import ctf, wavelength_angstrom
from tomopipe.physics.dose import critical_dose, dose_weight, highest_frequency, optimal_dose
from tomopipe.physics.pose import euler_angles, view_matrix

F64 = torch.float64


def _ctf(frequency, **changed):
    values = {
        "defocus_u_angstrom": 21000.0,
        "defocus_v_angstrom": 19000.0,
        "astigmatism_degrees": 35.0,
        "voltage_kv": 300.0,
        "cs_mm": 2.7,
        "amplitude_contrast": 0.07,
        "phase_shift_degrees": 0.0,
    } | changed
    tensors = {k: torch.tensor([v], dtype=F64) for k, v in values.items()}
    return ctf(torch.as_tensor(frequency, dtype=F64)[None], **tensors)[0]


@pytest.mark.parametrize(("kv", "expected"), [(300, 0.019687), (200, 0.025079), (120, 0.033492)])
def test_wavelength_is_the_textbook_value(kv, expected):
    assert wavelength_angstrom(torch.tensor(float(kv))).item() == pytest.approx(expected, rel=1e-4)


def test_first_zero_lies_where_the_phase_is_pi():
    z, lam, cs, w = 20000.0, wavelength_angstrom(torch.tensor(300.0, dtype=F64)).item(), 2.7e7, 0.07

    def phase(s):
        return math.pi * z * lam * s**2 - math.pi / 2 * cs * lam**3 * s**4 + math.asin(w) - math.pi

    zero = brentq(phase, 1e-3, 0.06)
    around = _ctf([[zero * 0.99, 0], [zero, 0], [zero * 1.01, 0]], defocus_u_angstrom=z,
                  defocus_v_angstrom=z)  # fmt: skip
    assert abs(around[1]) < 1e-8
    assert around[0] < 0 < around[2]


def test_underfocus_is_negative_at_low_frequency_and_amplitude_contrast_at_zero():
    assert _ctf([[0.005, 0.0]]) < 0
    assert _ctf([[0.0, 0.0]]).item() == pytest.approx(-0.07)


def test_phase_plate_gives_full_contrast_at_zero():
    value = _ctf([[0.0, 0.0]], phase_shift_degrees=90.0, amplitude_contrast=0.0)
    assert value.item() == pytest.approx(-1.0)


@pytest.mark.parametrize("phase", [0.0, 60.0])
def test_equals_torch_ctf_up_to_its_sign_convention(phase):
    n, pixel = 32, 4.0
    oracle = calculate_ctf_2d(
        defocus=2.0, astigmatism=0.1, astigmatism_angle=35.0, voltage=300.0,
        spherical_aberration=2.7, amplitude_contrast=0.07, phase_shift=phase,
        pixel_size=pixel, image_shape=(n, n), rfft=False, fftshift=True,
    )  # fmt: skip
    k = (np.arange(n) - n // 2) / (n * pixel)
    y, x = np.meshgrid(k, k, indexing="ij")
    ours = _ctf(np.stack([x, y], -1).reshape(-1, 2), phase_shift_degrees=phase).reshape(n, n)
    # the oracle knows wavelength and relativity to 4 digits of ours
    assert torch.allclose(ours, oracle.to(F64), atol=5e-3) or torch.allclose(
        ours, -oracle.to(F64), atol=5e-3
    )


def test_bfactor_is_a_gaussian_envelope():
    s = [[0.05, 0.0]]
    ratio = _ctf(s, bfactor_A2=100.0) / _ctf(s)
    assert ratio.item() == pytest.approx(math.exp(-100 / 4 * 0.05**2))


@pytest.mark.parametrize(
    ("resolution", "optimal"), [(3, 10.9), (5, 16.1), (7.42, 24.4), (10, 35.5), (20, 97.0)]
)
def test_optimal_dose_has_the_published_values(resolution, optimal):
    assert optimal_dose(torch.tensor(1 / resolution)).item() == pytest.approx(optimal, rel=6e-3)


def test_optimal_dose_is_the_root_of_its_equation():
    # SNR of one more frame is highest where d/dN [(1 - exp(-N/2Nc))^2 / N] = 0
    x = brentq(lambda x: math.exp(x / 2) - 1 - x, 1, 5)
    k = torch.tensor(0.1, dtype=F64)
    assert (optimal_dose(k) / critical_dose(k)).item() == pytest.approx(x, rel=1e-5)


def test_critical_dose_at_200_kv_is_four_fifths_and_other_voltages_lie_between():
    k = torch.tensor([0.05, 0.2])
    assert torch.allclose(critical_dose(k, 200.0), 0.8 * critical_dose(k, 300.0))
    assert (critical_dose(k, 250.0) > critical_dose(k, 200.0)).all()
    assert (critical_dose(k, 250.0) < critical_dose(k, 300.0)).all()


@pytest.mark.parametrize("voltage", [200.0, 300.0])
def test_highest_frequency_inverts_the_optimal_dose(voltage):
    dose = torch.tensor([10.0, 40.0, 123.0], dtype=F64)
    k = highest_frequency(dose, voltage)
    assert torch.allclose(optimal_dose(k, voltage), dose)
    assert torch.isinf(highest_frequency(torch.tensor([0.0, 5.0], dtype=F64), voltage)).all()


def test_signal_after_one_critical_dose_is_exp_of_minus_a_half():
    k = torch.tensor(0.1)
    assert dose_weight(k, critical_dose(k)).item() == pytest.approx(math.exp(-0.5))


def _relion_matrix(rot, tilt, psi):
    """RELION's Euler_angles2matrix, written out from its documentation."""
    a, b, g = np.deg2rad([rot, tilt, psi])
    ca, sa, cb, sb, cg, sg = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(g), np.sin(g)
    return np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )


def test_view_matrix_is_relions_and_angles_come_back():
    angles = np.random.default_rng(0).uniform([-180, 1, -180], [180, 179, 180], size=(50, 3))
    matrices = view_matrix(*angles.T)
    assert np.allclose(matrices, [_relion_matrix(*a) for a in angles], atol=1e-14)
    assert np.allclose(euler_angles(matrices), angles, atol=1e-9)
