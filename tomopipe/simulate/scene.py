"""What a simulated tomogram holds: its particles with their truth, its membrane and gold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.config.states import MapState
from tomopipe.physics.pose import euler_angles, view_matrix
from tomopipe.simulate.aligned import tomogram_name
from tomopipe.simulate.maps import natural_box, radius_angstrom
from tomopipe.simulate.membrane import Membrane, draw_membrane, head_groups, inside
from tomopipe.simulate.phantom import Blobs
from tomopipe.simulate.placement import SINGLE, Spot, place
from tomopipe.simulate.scheme import Floats, pose_error, random_pose, shares_to_counts, shift_error
from tomopipe.simulate.states import (
    Density,
    density_of,
    junk_density,
    random_state,
    relative_mass,
    rendered,
    sources,
)

ANGLES = ["rot_degrees", "tilt_degrees", "psi_degrees"]
POSITION = ["x_angstrom", "y_angstrom", "z_angstrom"]
_PLACES, _JUNK, _ERRORS = 1, 2, 3  # numbers of the generators of a tomogram; 0 is its alignment's
_COARSE = 8.0  # Å, voxels that tell a radius well enough
_ROOM = 1.3  # of a map's grid over the radius of its density
_GOLD = 2.0  # mass of a bead over that of the phantom, at a radius of 50 Å


@dataclass(frozen=True)
class Grid:
    """Voxels (Å) and box of the states' maps, their radius in Å, and the phantom's mass there."""

    box: int
    pixel_size: float
    radius: float
    mass: float


@dataclass(frozen=True)
class Scene:
    """One tomogram: a row of `truth` and a density per particle, and blobs of all else."""

    truth: pd.DataFrame
    densities: list[Density]
    others: list[Blobs]

    @property
    def positions(self) -> Floats:
        """`(n, 3)` Å from the tomogram's centre."""
        return self.truth[POSITION].to_numpy(dtype=float)

    @property
    def poses(self) -> Floats:
        """`(n, 3, 3)`, particle to tomogram."""
        return view_matrix(*self.truth[ANGLES].to_numpy(dtype=float).T)


def state_grid(settings: TiltSeriesSimulation) -> Grid:
    """The grid for the states' maps, at the pixel size of the tilt images; the largest decides."""
    pixel = settings.pixel_size_angstrom
    coarse, radius = max(pixel, _COARSE), 0.0
    for name in settings.states:
        box = _whole_box(settings, name, coarse)
        radius = max(radius, radius_angstrom(rendered(settings, name, 0.5, box, coarse), coarse))
    box = 2 * int(np.ceil(_ROOM * radius / pixel))
    return Grid(box, pixel, radius, relative_mass(settings, box, pixel))


def true_map(settings: TiltSeriesSimulation, grid: Grid, state: str, coordinate: float) -> Tensor:
    """Map `(box, box, box)` of a state at the pixel size of the tilt images."""
    return rendered(settings, state, coordinate, grid.box, grid.pixel_size)


def draw_scene(settings: TiltSeriesSimulation, grid: Grid, number: int) -> Scene:
    """The content of tomogram `number`.

    Raises
    ------
    ConfigError
        If the particles do not fit into the volume.
    """
    rng = np.random.default_rng([settings.seed, number, _PLACES])
    membrane = draw_membrane(settings, rng)
    kinds = np.resize(settings.junk_kinds, round(settings.particles * settings.junk_fraction))
    on_membrane = int((kinds == "membrane").sum())
    spots = place(settings, grid.radius, membrane, on_membrane, rng)
    truth = _truth(settings, spots, kinds[kinds != "membrane"], membrane, rng)
    truth = truth.iloc[rng.permutation(len(truth))].reset_index(drop=True)
    name = tomogram_name(number)
    truth.insert(0, "uid", [f"{name}/{i + 1}" for i in range(len(truth))])
    truth.insert(1, "tomogram", name)
    densities = [
        density_in_place(settings, grid, number, index, row)
        for index, row in enumerate(truth.to_dict("records"))
    ]
    others = [_gold(settings, grid, spots, rng)] if settings.beads else []
    if membrane is not None:
        groups = head_groups(membrane, np.array(settings.volume_angstrom), rng)
        others.append(Blobs(groups, np.full(len(groups), grid.mass)))
    return Scene(truth, densities, others)


def density_in_place(
    settings: TiltSeriesSimulation,
    grid: Grid,
    number: int,
    index: int,
    truth: Mapping[Any, Any],
) -> Density:
    """What lies where particle `index` of tomogram `number` is, from its row of the truth."""
    box, pixel = grid.box, grid.pixel_size
    kind, state, coordinate = str(truth["kind"]), str(truth["state"]), float(truth["coordinate"])
    if state != "junk":
        return density_of(settings, state, coordinate, box, pixel)
    rng = np.random.default_rng([settings.seed, number, _JUNK, index])
    if kind == "misaligned":
        return density_of(settings, random_state(settings, rng), rng.uniform(), box, pixel)
    return junk_density(settings, "noise" if kind == "membrane" else kind, box, pixel, rng)


def with_errors(truth: pd.DataFrame, settings: TiltSeriesSimulation, number: int) -> pd.DataFrame:
    """Poses and positions as they are written: wrong for misaligned junk, and as settings ask."""
    rng = np.random.default_rng([settings.seed, number, _ERRORS])
    poses = view_matrix(*truth[ANGLES].to_numpy(dtype=float).T)
    turns = np.stack([pose_error(settings.perturb_degrees, rng) for _ in poses])
    written = euler_angles(poses @ turns) if settings.perturb_degrees else truth[ANGLES].to_numpy()
    moved = truth[POSITION] + shift_error(settings.perturb_angstrom, (len(truth), 3), rng)
    lost = (truth["kind"] == "misaligned").to_numpy()
    elsewhere = euler_angles(np.stack([random_pose(rng) for _ in poses]))
    written = np.where(lost[:, None], elsewhere, written)
    return truth.assign(
        **{name: written[:, k] for k, name in enumerate(ANGLES)},
        **{name: moved[name] for name in POSITION},
    )


def _whole_box(settings: TiltSeriesSimulation, name: str, pixel: float) -> int:
    """Voxels of the whole cube that a state's files hold, or that the phantom lies in."""
    given = settings.states[name]
    if isinstance(given, MapState):
        return natural_box(sources(settings, given)[0], pixel)
    density = density_of(settings, name, 0.5, 0, pixel)
    assert isinstance(density, Blobs)
    return 2 * int(np.ceil(density.radius / pixel))


def _truth(
    settings: TiltSeriesSimulation,
    spots: list[Spot],
    kinds: NDArray[np.str_],
    membrane: Membrane | None,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """One row per particle, without names; `kinds` of junk go to single particles at random."""
    rows: list[dict[str, object]] = []
    for chain, spot in enumerate(spots):
        length = len(spot.centres)
        for member in range(length):
            rows.append(
                {
                    "junk": spot.on_membrane,
                    "kind": "membrane" if spot.on_membrane else "",
                    "neighbours": spot.neighbours,
                    "chain": chain if length > 1 else -1,
                    "chain_position": member + 1 if length > 1 else 0,
                    "chain_length": length,
                    "membrane_bound": spot.bound,
                }
            )
    truth = pd.DataFrame(rows)
    single = (truth["neighbours"] == SINGLE) & ~truth["membrane_bound"] & ~truth["junk"]
    chosen = rng.choice(np.flatnonzero(single), len(kinds), replace=False)
    truth.loc[chosen, "junk"] = True
    truth.loc[chosen, "kind"] = kinds
    centres = np.concatenate([spot.centres for spot in spots])
    angles = euler_angles(np.concatenate([spot.poses for spot in spots]))
    truth = _with_states(truth, settings, rng)
    far = np.full(len(truth), np.nan) if membrane is None else membrane.distance(centres)
    return truth.assign(
        membrane_angstrom=far,
        **{name: centres[:, k] for k, name in enumerate(POSITION)},
        **{name: angles[:, k] for k, name in enumerate(ANGLES)},
    )


def _with_states(
    truth: pd.DataFrame, settings: TiltSeriesSimulation, rng: np.random.Generator
) -> pd.DataFrame:
    """States by their shares, those of the bound ones by `membrane_state`, and coordinates."""
    names = np.full(len(truth), "junk", dtype=object)
    good = np.flatnonzero(~truth["junk"].to_numpy())
    counts = shares_to_counts(np.array(list(settings.shares.values())), len(good))
    names[good] = rng.permutation(np.repeat(list(settings.states), counts))
    if settings.membrane_state is not None:
        names[truth["membrane_bound"].to_numpy()] = settings.membrane_state
    moves = np.isin(names.astype(str), settings.moving)
    coordinate = np.where(moves, rng.uniform(size=len(names)), np.nan)
    truth.insert(0, "state", names.astype(str))
    truth.insert(1, "coordinate", coordinate)
    return truth


def _gold(
    settings: TiltSeriesSimulation, grid: Grid, spots: list[Spot], rng: np.random.Generator
) -> Blobs:
    """Beads, each a Gaussian of a ball's radius of gyration, on both faces of the volume."""
    half = np.array(settings.volume_angstrom) / 2
    centres = rng.uniform(-half, half, size=(settings.beads, 3))
    centres[:, 2] = np.where(rng.uniform(size=len(centres)) < 0.5, -half[2], half[2])
    assert inside(centres, half).all()
    radius = settings.bead_radius_angstrom
    mass = _GOLD * grid.mass * 490 * (radius / 50) ** 3
    return Blobs(centres, np.full(len(centres), mass), radius / np.sqrt(5))
