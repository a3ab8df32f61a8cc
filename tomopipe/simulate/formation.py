"""How images of a particle are made: projection, dose damage, CTF, shifts and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from tomopipe.config.simulate import SimulateSettings
from tomopipe.physics.ctf import ctf
from tomopipe.physics.dose import dose_weight
from tomopipe.physics.fourier import fft2c, frequencies, full_plane, ifft2c, shift_phase
from tomopipe.simulate.draws import Content, Particle, Series, draw_tilts, paper_defoci
from tomopipe.simulate.scheme import Floats, random_pose
from tomopipe.simulate.states import density_of, rendered

CS_MM, ASTIGMATISM_DEGREES = 2.7, 30.0
_STRUCTURAL, _SHOT = 1.4, 0.1  # signal-to-noise ratios of the tomoDRGN paper
_VIEWS, _LEVELS = 24, 2  # reference views that set the levels; number of their generator


@dataclass(frozen=True)
class NoiseLevels:
    """Standard deviations of noise: before the CTF (`structural`), and after it.

    One level for all images, as a camera has: images of smaller states have a lower SNR.
    """

    white: float
    structural: float = 0.0


def noise_levels(settings: SimulateSettings) -> NoiseLevels:
    """Levels for the ratios that the settings ask for.

    White: from the unaberrated reference state seen along z. Paper: from random views of the
    reference state with all their tilts, within the circle that the box holds; the shot noise from
    the images that have structural noise, tilt weight and CTF already. What the ratio is in the end
    (nominally 0.05) hangs on how much of the signal the CTF passes.
    """
    if settings.noise == "paper":
        return _paper_levels(settings)
    box, pixel = settings.box, settings.pixel_size_angstrom
    projection = rendered(settings, settings.reference, 0.5, box, pixel).sum(0)
    return NoiseLevels(float(projection.std()) / float(np.sqrt(settings.snr)))


def noisy_images(
    particle: Particle, settings: SimulateSettings, levels: NoiseLevels, rng: np.random.Generator
) -> NDArray[np.float32]:
    """`(t, box, box)` noisy images with bright protein."""
    series, content = particle.series, particle.content
    if settings.noise == "paper":
        images = _inner(_paper_signal(content, series, settings, levels, rng), settings.box)
        noise = rng.normal(size=images.shape) * levels.white
        return np.asarray(images + noise, dtype=np.float32)
    # what lies off centre leaves the box: in a field of the box's size it would come back opposite
    size = _field(content, settings)
    transfer = _ctf(series, settings, size) * _damage(series, settings, size)
    images = _inner(_image(_projections(content, series, settings, transfer), size), settings.box)
    noise = rng.normal(size=images.shape) * levels.white
    thickness = 1 / np.sqrt(np.cos(np.deg2rad(series.tilt)))
    return np.asarray(images + noise * thickness[:, None, None], dtype=np.float32)


def _paper_signal(
    content: Content,
    series: Series,
    settings: SimulateSettings,
    levels: NoiseLevels,
    rng: np.random.Generator,
) -> Floats:
    """Images as the paper's before shot noise: structural noise, tilt weight, CTF."""
    size = _field(content, settings)
    damage = _damage(series, settings, size)
    images = _image(_projections(content, series, settings, damage), size)
    images = images + rng.normal(size=images.shape) * levels.structural
    images = images * np.cos(np.deg2rad(series.tilt))[:, None, None]
    transform = fft2c(torch.from_numpy(images)).flatten(1)
    return _image(transform * _ctf(series, settings, size), size)


def _paper_levels(settings: SimulateSettings) -> NoiseLevels:
    rng = np.random.default_rng([settings.seed, _LEVELS])
    state, box, pixel = settings.reference, settings.box, settings.pixel_size_angstrom
    content = Content(density_of(settings, state, 0.5, box, pixel))
    views = [_random_series(settings, rng) for _ in range(_VIEWS)]
    circle = (frequencies(box, 2) < box / 2).numpy()
    damage = _damage(views[0], settings, box)  # that of all: they have all tilts
    signal = [_image(_projections(content, v, settings, damage), box)[:, circle] for v in views]
    structural = NoiseLevels(0.0, float(np.std(signal)) / np.sqrt(_STRUCTURAL))
    seen = [_paper_signal(content, v, settings, structural, rng)[:, circle] for v in views]
    return replace(structural, white=float(np.std(seen)) / np.sqrt(_SHOT))


def _random_series(settings: SimulateSettings, rng: np.random.Generator) -> Series:
    """All tilts of a particle in the centre of its box, seen from anywhere."""
    tilts, pose = draw_tilts(settings, rng), random_pose(rng)
    n = len(tilts.tilt)
    view = Rotation.from_euler("y", tilts.tilt[:, None], degrees=True).as_matrix() @ pose
    defocus = np.full(n, paper_defoci(rng, 1)[0])
    shift, origin = np.zeros((n, 2)), np.zeros(3)
    return Series(np.arange(n), tilts.tilt, tilts.dose, defocus, shift, view, pose, origin)


def _field(content: Content, settings: SimulateSettings) -> int:
    return 2 * settings.box if content.offset.any() else settings.box


def _lattice(size: int, settings: SimulateSettings) -> tuple[Tensor, Tensor]:
    """Lattice points and frequencies in 1/Å, `(n, 2)`."""
    lattice = full_plane(size)
    return lattice, lattice.double() / (size * settings.pixel_size_angstrom)


def _projections(
    content: Content, series: Series, settings: SimulateSettings, transfer: Tensor
) -> Tensor:
    """Transforms `(t, n)` of the content in its place, times `transfer`."""
    size, pixel = _field(content, settings), settings.pixel_size_angstrom
    lattice, s = _lattice(size, settings)
    view = torch.from_numpy(series.view @ content.turn)
    signal = content.density.projections(view, s[:size, 0])  # kx of the first row
    # the origin is the shift that centres: the content lies at minus the origin
    shift = (series.view @ content.offset)[:, :2] / pixel - series.shift
    phase = shift_phase(lattice, torch.from_numpy(shift), size)
    return signal.flatten(1) * transfer * phase


def _damage(series: Series, settings: SimulateSettings, size: int) -> Tensor:
    """What radiation leaves of each frequency, `(t, n)`."""
    dose, s = torch.from_numpy(series.dose)[:, None], _lattice(size, settings)[1]
    return dose_weight(s.norm(dim=-1)[None], dose, settings.voltage_kv)


def _ctf(series: Series, settings: SimulateSettings, size: int) -> Tensor:
    """CTF, positive at low frequency: bright protein."""
    defocus = torch.from_numpy(series.defocus)
    ones = torch.ones_like(defocus)
    return -ctf(
        _lattice(size, settings)[1][None],
        defocus_u_angstrom=defocus + settings.astigmatism_angstrom / 2,
        defocus_v_angstrom=defocus - settings.astigmatism_angstrom / 2,
        astigmatism_degrees=ASTIGMATISM_DEGREES * ones,
        voltage_kv=settings.voltage_kv * ones,
        cs_mm=CS_MM * ones,
        amplitude_contrast=settings.amplitude_contrast * ones,
        phase_shift_degrees=0 * ones,
    )


def _image(transform: Tensor, size: int) -> Floats:
    """Images `(t, size, size)` of flat transforms."""
    return np.asarray(ifft2c(transform.reshape(-1, size, size)).real.numpy())


def _inner(images: Floats, box: int) -> Floats:
    centre = images.shape[-1] // 2
    inner = slice(centre - box // 2, centre + box // 2)
    return images[:, inner, inner]
