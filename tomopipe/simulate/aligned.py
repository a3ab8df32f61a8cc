"""The tilt series of a simulated tomogram: alignment, optics and dose."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.dataset.dialects.tomograms import angles_to_rotation
from tomopipe.dataset.tilt_series.geometry import TiltImage, TiltSeries
from tomopipe.simulate.scheme import dose_symmetric


def tomogram_name(number: int) -> str:
    """Name of the tomogram with `number`, counted from 0."""
    return f"tomo_{number + 1:03d}"


def stack_path(folder: Path, number: int) -> Path:
    """Where the tilt images of a tomogram lie in the folder of a simulation."""
    return folder / "tilt_series" / f"{tomogram_name(number)}.mrc"


def aligned_series(settings: TiltSeriesSimulation, number: int, folder: Path) -> TiltSeries:
    """The tilt series of tomogram `number`: the same for the same settings, wherever it is asked.

    Images are in the order of the tilt angle, as stacks usually are; dose is in the order of the
    dose-symmetric scheme.
    """
    rng = np.random.default_rng([settings.seed, number, 0])
    n = settings.tilts
    steps = dose_symmetric(n, settings.tilt_group)
    order = np.argsort(steps)
    tilt = np.asarray(steps[order] * settings.tilt_step_degrees)
    dose = np.asarray((np.arange(n) + 1.0)[order] * settings.dose_per_tilt)
    middle = rng.uniform(*settings.defocus_angstrom)
    defocus = np.asarray(middle + rng.normal(size=n) * settings.defocus_spread_angstrom)
    shift = rng.uniform(-1, 1, size=(n, 2)) * settings.shift_angstrom
    one = np.ones(n)
    path = stack_path(folder, number)
    return TiltSeries(
        name=tomogram_name(number),
        images=tuple(TiltImage(path, section) for section in range(n)),
        pixel_size=settings.pixel_size_angstrom,
        image_size=settings.image_pixels,
        volume_angstrom=np.array(settings.volume_angstrom),
        rotation=angles_to_rotation(
            settings.x_tilt_degrees * one, tilt, settings.axis_degrees * one
        ),
        shift_angstrom=shift,
        defocus_u_angstrom=defocus + settings.astigmatism_angstrom / 2,
        defocus_v_angstrom=defocus - settings.astigmatism_angstrom / 2,
        astigmatism_degrees=rng.uniform(0, 180) * one,
        phase_shift_degrees=np.zeros(n),
        dose_e_per_A2=dose,
        dose_per_tilt=settings.dose_per_tilt,
        hand=float(settings.hand),
        voltage_kv=settings.voltage_kv,
        cs_mm=settings.cs_mm,
        amplitude_contrast=settings.amplitude_contrast,
    )
