"""What is drawn for a simulated particle: its content, its tilts, poses, shifts and defoci."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tomopipe.config.simulate import SimulateSettings
from tomopipe.physics.pose import euler_angles
from tomopipe.simulate.scheme import (
    Floats,
    dose_symmetric,
    pose_error,
    random_pose,
    shares_to_counts,
    shift_error,
)
from tomopipe.simulate.states import Density, density_of, junk_density, random_state

FIELD_ANGSTROM = np.array([4000.0, 4000.0, 800.0])  # x, y, z of a tomogram
_MARGIN = 200.0
_DEFOCUS_SPREAD = 300.0  # Å, from image to image
_PAPER_DEFOCI, _PAPER_SPREAD = np.arange(15000.0, 35001.0, 5000.0), 3000.0
HAND = -1.0  # rlnTomoHand
_ERRORS = 1  # numbers the generator of errors, so that images are the same with and without


@dataclass(frozen=True)
class Content:
    """What lies in the box: a density, turned `(3, 3)` and then moved `(3,)` Å from the centre."""

    density: Density
    turn: Floats = field(default_factory=lambda: np.eye(3))
    offset: Floats = field(default_factory=lambda: np.zeros(3))


@dataclass(frozen=True)
class Series:
    """The tilt images of one particle, in the order of acquisition.

    Attributes
    ----------
    frame
        `(t,)` numbers of its tilts in the tomogram's series.
    tilt, dose, defocus
        `(t,)` degrees, e/Å² with the image's own, and Å.
    shift
        `(t, 2)` that centres the images, pixels.
    view
        `(t, 3, 3)`, object to view.
    pose, origin
        `(3, 3)` object to tomogram, and the `(3,)` Å that centre it: what `view` and `shift` come
        from, but for shifts per image, of which no origin knows.
    """

    frame: NDArray[np.int64]
    tilt: Floats
    dose: Floats
    defocus: Floats
    shift: Floats
    view: Floats
    pose: Floats
    origin: Floats


@dataclass(frozen=True)
class Tilts:
    """The tilt series of a tomogram: `(F,)` angles, doses and defoci at its centre."""

    tilt: Floats
    dose: Floats
    defocus: Floats


@dataclass(frozen=True)
class Particle:
    """One particle: its name, where its box is centred (Å), its images' geometry and content."""

    uid: str
    position: Floats
    series: Series
    content: Content


def draw_truth(settings: SimulateSettings, rng: np.random.Generator) -> pd.DataFrame:
    """State, coordinate and tomogram of every particle; shares as nearly as counts allow."""
    n_junk = round(settings.particles * settings.junk_fraction)
    n_good = settings.particles - n_junk
    counts = shares_to_counts(np.array(list(settings.shares.values())), n_good)
    names = np.concatenate([np.repeat(list(settings.states), counts), np.full(n_junk, "junk")])
    kinds = np.concatenate([np.full(n_good, ""), np.resize(settings.junk_kinds, n_junk)])
    order = rng.permutation(settings.particles)
    names, kinds = names[order], kinds[order]
    moves = np.isin(names, settings.moving)
    coordinate = np.where(moves, rng.uniform(size=len(names)), np.nan)
    tomogram = np.sort(np.arange(settings.particles) % settings.tomograms)
    within = np.concatenate([np.arange(c) for c in np.bincount(tomogram)])
    labels = [f"tomo_{t + 1:03d}" for t in tomogram]
    uids = [f"{label}/{label}_{i:06d}" for label, i in zip(labels, within, strict=True)]
    return pd.DataFrame(
        {
            "uid": uids,
            "state": names,
            "coordinate": coordinate,
            "junk": names == "junk",
            "tomogram": labels,
            "kind": kinds,
        }
    )


def draw_tilts(settings: SimulateSettings, rng: np.random.Generator) -> Tilts:
    """The series of a tomogram; defoci differ between its tilts only where no image has its own."""
    n = settings.tilts
    steps = dose_symmetric(n, settings.tilt_group)
    if settings.noise == "paper":
        defocus = np.full(n, paper_defoci(rng, 1)[0])
    else:
        defocus = np.full(n, rng.uniform(*settings.defocus_angstrom))
        if settings.rigid:
            defocus = defocus + rng.normal(size=n) * _DEFOCUS_SPREAD
    dose = (np.arange(n) + 1.0) * settings.dose_per_tilt
    return Tilts(np.asarray(steps * settings.tilt_step_degrees), np.asarray(dose), defocus)


def paper_defoci(rng: np.random.Generator, count: int) -> Floats:
    """`(count,)` Å of the tomoDRGN paper: 1.5 to 3.5 µm in steps of 0.5, each with s.d. 0.3 µm."""
    return np.asarray(rng.choice(_PAPER_DEFOCI, count) + rng.normal(size=count) * _PAPER_SPREAD)


def draw_particles(
    truth: pd.DataFrame, tilts: Tilts, settings: SimulateSettings, rng: np.random.Generator
) -> Iterator[Particle]:
    """The particles of one tomogram; `rng` is shared with what is done to each before the next."""
    for row in truth.itertuples():
        span = FIELD_ANGSTROM[0] - _MARGIN
        position = rng.uniform(_MARGIN, span, size=3) * FIELD_ANGSTROM / FIELD_ANGSTROM[0]
        series = _draw_series(settings, tilts, position - FIELD_ANGSTROM / 2, rng)
        if row.junk:
            content = _junk(str(row.kind), settings, rng)
        else:
            coordinate = float(row.coordinate)  # type: ignore[arg-type]
            content = Content(_density(settings, str(row.state), coordinate))
        yield Particle(str(row.uid), position, series, content)


def perturbed(particle: Particle, settings: SimulateSettings, number: int) -> Particle:
    """The particle with errors in its pose and shifts, as they are written."""
    if not settings.perturb_degrees and not settings.perturb_angstrom:
        return particle
    rng = np.random.default_rng([settings.seed, _ERRORS, number])
    series, mean = particle.series, settings.perturb_angstrom
    turn = pose_error(settings.perturb_degrees, rng)
    tilt = series.view @ series.pose.T
    origin, shift = series.origin, series.shift
    if settings.rigid:
        moved = shift_error(mean, (3,), rng)
        origin = origin + moved
        shift = shift + (tilt @ moved)[:, :2] / settings.pixel_size_angstrom
    else:
        shift = shift + shift_error(mean, shift.shape, rng) / settings.pixel_size_angstrom
    pose = series.pose @ turn
    wrong = replace(series, view=tilt @ pose, pose=pose, origin=origin, shift=shift)
    return replace(particle, series=wrong)


def geometry(particle: Particle) -> dict[str, object]:
    """True geometry for the table of the truth: angles, box centre from the tomogram's, origin."""
    angles = euler_angles(particle.series.pose)
    centre = particle.position - FIELD_ANGSTROM / 2
    return {
        **dict(zip(("rot_degrees", "tilt_degrees", "psi_degrees"), angles, strict=True)),
        **dict(zip(("x_angstrom", "y_angstrom", "z_angstrom"), centre, strict=True)),
        **{f"origin_{a}_angstrom": v for a, v in zip("xyz", particle.series.origin, strict=True)},
    }


def _density(settings: SimulateSettings, state: str, coordinate: float) -> Density:
    return density_of(settings, state, coordinate, settings.box, settings.pixel_size_angstrom)


def _junk(kind: str, settings: SimulateSettings, rng: np.random.Generator) -> Content:
    """A particle that should not be there."""
    box, pixel = settings.box, settings.pixel_size_angstrom
    if kind not in ("off-centre", "misaligned"):
        return Content(junk_density(settings, kind, box, pixel, rng))
    density = _density(settings, random_state(settings, rng), rng.uniform())
    if kind == "misaligned":
        return Content(density, turn=random_pose(rng))
    direction = rng.normal(size=3)
    distance = rng.uniform(1 / 3, 1 / 2) * box * pixel
    return Content(density, offset=direction / np.linalg.norm(direction) * distance)


def _draw_series(
    settings: SimulateSettings, tilts: Tilts, centre: Floats, rng: np.random.Generator
) -> Series:
    """A random pose, which tilts this particle has, its shifts and defoci.

    `centre` is that of the box, from the tomogram's centre.
    """
    n, pixel = settings.tilts, settings.pixel_size_angstrom
    keep = np.sort(rng.permutation(n)[: rng.integers(settings.min_tilts, n + 1)])
    pose = random_pose(rng)
    turn = Rotation.from_euler("y", tilts.tilt[keep, None], degrees=True).as_matrix()
    origin = np.zeros(3)
    defocus = tilts.defocus[keep]
    if settings.rigid:
        origin = rng.uniform(-1, 1, size=3) * settings.shift_pixels * pixel
        shift = (turn @ origin)[:, :2] / pixel
        defocus = defocus + HAND * (turn @ (centre - origin))[:, 2]
    else:
        shift = rng.uniform(-1, 1, size=(len(keep), 2)) * settings.shift_pixels
        if settings.noise == "paper":
            defocus = np.full(len(keep), paper_defoci(rng, 1)[0])
        else:
            defocus = defocus + rng.normal(size=len(keep)) * _DEFOCUS_SPREAD
    tilt, dose = tilts.tilt[keep], tilts.dose[keep]
    return Series(keep, tilt, dose, defocus, shift, turn @ pose, pose, origin)
