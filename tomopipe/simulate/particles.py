"""Simulated particle stacks: projection, dose damage, CTF, shifts, noise, uneven tilts, truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import starfile
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from tomopipe import __version__
from tomopipe.config.simulate import MapState, SimulateSettings
from tomopipe.io.atomic import atomic_directory, write_json, write_parquet
from tomopipe.io.mrc import write_stack, write_volume
from tomopipe.io.progress import Progress
from tomopipe.physics.ctf import ctf
from tomopipe.physics.dose import dose_weight
from tomopipe.physics.fourier import full_plane, ifft2c, shift_phase
from tomopipe.physics.pose import euler_angles
from tomopipe.simulate.maps import Trajectory
from tomopipe.simulate.phantom import Blobs, complex_in_state, junk

STEP_FORMAT = 1
_CS_MM, _AMPLITUDE = 2.7, 0.07
Density = Blobs | Trajectory


def simulate_particles(settings: SimulateSettings, out: Path) -> None:
    """Write `particles.star` (Warp dialect), one stack per tomogram, and the truth.

    `truth.parquet` has uid, state, coordinate (0 … 1 along the motion, for the phantom its arm's
    turn over the range; NaN where nothing moves), junk and the kind of junk; `truth/{state}.mrc`
    are the states' maps at the pixel size of the images, and `simulation.json` the settings, from
    which `true_volume` makes any map.
    """
    rng = np.random.default_rng(settings.seed)
    truth = _draw_truth(settings, rng)
    noise = _noise_level(settings)
    with atomic_directory(out) as folder:
        rows = []
        with Progress(settings.particles, "simulate") as progress:
            for name, group in truth.groupby("tomogram", sort=False):
                rows += _tomogram(folder, str(name), group, settings, noise, rng)
                progress.advance(len(group))
        starfile.write(pd.DataFrame(rows), folder / "particles.star", overwrite=True)
        write_parquet(folder / "truth.parquet", truth.drop(columns="tomogram"))
        for state in settings.states:
            volume = true_volume(settings, state, 0.5)
            write_volume(
                folder / "truth" / f"{state}.mrc", volume.numpy(), settings.pixel_size_angstrom
            )
        record = {
            "step_format": STEP_FORMAT,
            "version": __version__,
            "settings": settings.model_dump(),
        }
        write_json(folder / "simulation.json", record)


def true_volume(settings: SimulateSettings, state: str, coordinate: float = float("nan")) -> Tensor:
    """Map `(box, box, box)` of a particle of `state` at `coordinate` (0 … 1) of its motion.

    Raises
    ------
    InputError
        If a map of the state is missing or is not a cube with a pixel size.
    """
    density = _model(settings, state, coordinate)
    if isinstance(density, Trajectory):
        return density.volume()
    return density.volume(settings.box, settings.pixel_size_angstrom)


def _model(settings: SimulateSettings, state: str, coordinate: float) -> Density:
    """What a particle of `state` looks like; without a coordinate, at the motion's start."""
    place = coordinate if np.isfinite(coordinate) else 0.0
    given = settings.states.get(state)
    if isinstance(given, MapState):
        return _from_maps(settings, given.maps, place)
    return complex_in_state(state, settings.motion_degrees * place if state == "whole" else 0.0)


def _from_maps(settings: SimulateSettings, maps: tuple[str, ...], place: float = 0.0) -> Trajectory:
    return Trajectory(maps, place, settings.box, settings.pixel_size_angstrom)


def _draw_truth(settings: SimulateSettings, rng: np.random.Generator) -> pd.DataFrame:
    """State, coordinate and tomogram of every particle; shares as nearly as counts allow."""
    n_junk = round(settings.particles * settings.junk_fraction)
    n_good = settings.particles - n_junk
    shares = np.array(list(settings.shares.values()))
    edges = np.round(np.cumsum(shares / shares.sum()) * n_good).astype(int)
    states = np.repeat(list(settings.states), np.diff(np.concatenate([[0], edges])))
    names = np.concatenate([states, np.full(n_junk, "junk")])
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


@dataclass(frozen=True)
class _Content:
    """What lies in the box: a density, turned `(3, 3)` and then moved `(3,)` Å from the centre."""

    density: Density
    turn: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    offset: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))


def _junk(kind: str, settings: SimulateSettings, rng: np.random.Generator) -> _Content:
    """A particle that should not be there."""
    if kind in ("off-centre", "misaligned"):
        shares = np.array(list(settings.shares.values()))
        state = str(rng.choice(list(settings.shares), p=shares / shares.sum()))
        density = _model(settings, state, rng.uniform())
        if kind == "misaligned":
            return _Content(density, turn=np.asarray(Rotation.random(rng=rng).as_matrix()))
        direction = rng.normal(size=3)
        distance = rng.uniform(1 / 3, 1 / 2) * settings.box * settings.pixel_size_angstrom
        return _Content(density, offset=direction / np.linalg.norm(direction) * distance)
    if kind == "other" and settings.junk_maps:
        return _Content(_from_maps(settings, (str(rng.choice(settings.junk_maps)),)))
    blobs = junk(kind, rng)
    if isinstance(settings.states.get(settings.reference), MapState):
        # maps have units of their own: shapes of blobs are to be as heavy as beside the phantom
        heavy = float(true_volume(settings, settings.reference).sum())
        blobs = replace(blobs, weights=blobs.weights * heavy / complex_in_state("whole").mass)
    return _Content(blobs)


@dataclass(frozen=True)
class _Series:
    """The tilt images of one particle: `(t,)` angles, doses and defoci, `(t, 2)` shifts."""

    tilt: NDArray[np.floating[Any]]
    dose: NDArray[np.floating[Any]]
    defocus: NDArray[np.floating[Any]]
    shift: NDArray[np.floating[Any]]
    view: NDArray[np.floating[Any]]


def _tomogram(
    folder: Path,
    name: str,
    truth: pd.DataFrame,
    settings: SimulateSettings,
    noise: float,
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    """Write the stack of one tomogram; its STAR rows."""
    defocus = rng.uniform(*settings.defocus_angstrom)
    stack: list[NDArray[np.float32]] = []
    rows: list[dict[str, object]] = []
    for particle in truth.itertuples():
        position = rng.uniform(200, 3800, size=3) * np.array([1, 1, 0.2])
        series = _draw_series(settings, defocus, rng)
        if particle.junk:
            content = _junk(str(particle.kind), settings, rng)
        else:
            coordinate = float(particle.coordinate)  # type: ignore[arg-type]
            content = _Content(_model(settings, str(particle.state), coordinate))
        images = _images(content, series, settings, noise, rng)
        rows += _rows(name, str(particle.uid), position, series, settings, len(rows))
        stack.extend(images)
    write_stack(folder / f"{name}.mrcs", np.stack(stack), settings.pixel_size_angstrom)
    return rows


def _draw_series(settings: SimulateSettings, defocus: float, rng: np.random.Generator) -> _Series:
    """A random view, a dose-symmetric scheme, and which of its tilts this particle has."""
    n = settings.tilts
    steps = np.array([(i + 1) // 2 * (1 if i % 2 else -1) for i in range(n)])
    keep = np.sort(rng.permutation(n)[: rng.integers(settings.min_tilts, n + 1)])
    tilt = np.asarray(steps[keep] * settings.tilt_step_degrees)
    dose = np.asarray((np.arange(n) + 1.0)[keep] * settings.dose_per_tilt)
    pose = np.asarray(Rotation.random(rng=rng).as_matrix())
    view = Rotation.from_euler("y", tilt[:, None], degrees=True).as_matrix() @ pose
    shift = rng.uniform(-1, 1, size=(len(keep), 2)) * settings.shift_pixels
    return _Series(tilt, dose, defocus + rng.normal(size=len(keep)) * 300, shift, view)


def _images(
    content: _Content,
    series: _Series,
    settings: SimulateSettings,
    noise_level: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """`(t, box, box)` noisy images with bright protein."""
    box, pixel = settings.box, settings.pixel_size_angstrom
    # what lies off centre leaves the box: in a field of the box's size it would come back opposite
    size = 2 * box if content.offset.any() else box
    lattice = full_plane(size)
    s = lattice.double() / (size * pixel)
    view = torch.from_numpy(series.view @ content.turn)
    signal = content.density.projections(view, s[:size, 0])  # kx of the first row
    signal = signal.flatten(1) * _transfer(s, series, settings)
    # the origin is the shift that centres: the content lies at minus the origin
    shift = (series.view @ content.offset)[:, :2] / pixel - series.shift
    signal = signal * shift_phase(lattice, torch.from_numpy(shift), size)
    images = ifft2c(signal.reshape(-1, size, size)).real.numpy()
    inner = slice(size // 2 - box // 2, size // 2 + box // 2)
    images = images[:, inner, inner]
    noise = rng.normal(size=images.shape) * noise_level
    thickness = 1 / np.sqrt(np.cos(np.deg2rad(series.tilt)))
    return np.asarray(images + noise * thickness[:, None, None], dtype=np.float32)


def _transfer(s: Tensor, series: _Series, settings: SimulateSettings) -> Tensor:
    """CTF (positive at low frequency: bright protein) times dose damage, `(t, n)`."""
    defocus = torch.from_numpy(series.defocus)
    ones = torch.ones_like(defocus)
    contrast = ctf(
        s[None],
        defocus_u_angstrom=defocus + 250,
        defocus_v_angstrom=defocus - 250,
        astigmatism_degrees=30 * ones,
        voltage_kv=settings.voltage_kv * ones,
        cs_mm=_CS_MM * ones,
        amplitude_contrast=_AMPLITUDE * ones,
        phase_shift_degrees=0 * ones,
    )
    dose = torch.from_numpy(series.dose)[:, None]
    return -contrast * dose_weight(s.norm(dim=-1)[None], dose, settings.voltage_kv)


def _noise_level(settings: SimulateSettings) -> float:
    """Standard deviation of the noise: from the unaberrated reference state seen along z, and SNR.

    One level for all images, as a camera has: images of smaller states have a lower SNR.
    """
    projection = true_volume(settings, settings.reference, 0.5).sum(0)
    return float(projection.std()) / float(np.sqrt(settings.snr))


def _rows(
    tomogram: str,
    uid: str,
    position: NDArray[np.float64],
    series: _Series,
    settings: SimulateSettings,
    first: int,
) -> list[dict[str, object]]:
    """STAR rows of one particle in the Warp / M dialect."""
    angles = euler_angles(series.view)
    return [
        {
            "rlnImageName": f"{first + i + 1:06d}@{tomogram}.mrcs",
            "rlnMicrographName": tomogram,
            "rlnGroupName": uid.split("/")[1],
            "rlnCoordinateX": position[0] / settings.pixel_size_angstrom,
            "rlnCoordinateY": position[1] / settings.pixel_size_angstrom,
            "rlnCoordinateZ": position[2] / settings.pixel_size_angstrom,
            "rlnDetectorPixelSize": settings.pixel_size_angstrom,
            "rlnMagnification": 10000.0,
            "rlnAngleRot": angles[i, 0],
            "rlnAngleTilt": angles[i, 1],
            "rlnAnglePsi": angles[i, 2],
            "rlnOriginX": series.shift[i, 0],
            "rlnOriginY": series.shift[i, 1],
            "rlnDefocusU": series.defocus[i] + 250,
            "rlnDefocusV": series.defocus[i] - 250,
            "rlnDefocusAngle": 30.0,
            "rlnVoltage": settings.voltage_kv,
            "rlnSphericalAberration": _CS_MM,
            "rlnAmplitudeContrast": _AMPLITUDE,
            "rlnPhaseShift": 0.0,
            "rlnCtfBfactor": -4 * series.dose[i],
            "rlnCtfScalefactor": np.cos(np.deg2rad(series.tilt[i])),
        }
        for i in range(len(series.tilt))
    ]
