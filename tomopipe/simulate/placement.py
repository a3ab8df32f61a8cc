"""Where particles of a tomogram are: in chains, on a membrane and alone, no two in one place.

All positions are Å from the tomogram's centre; poses turn the particle's frame to the tomogram's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.errors import ConfigError
from tomopipe.physics.pose import view_matrix
from tomopipe.simulate.membrane import HALF_THICKNESS, Membrane, inside, standing_on
from tomopipe.simulate.scheme import Floats, random_pose

_ATTEMPTS = 4000
_SITES = 20.0  # Å between the places on a membrane that are tried
SINGLE, DISOME, POLYSOME = "single", "disome", "polysome"


@dataclass(frozen=True)
class Spot:
    """A group of particles that is placed as one: `(n, 3)` centres and `(n, 3, 3)` poses."""

    centres: Floats
    poses: Floats
    neighbours: str = SINGLE
    bound: bool = False
    on_membrane: bool = False


def place(
    settings: TiltSeriesSimulation,
    radius: float,
    membrane: Membrane | None,
    on_membrane: int,
    rng: np.random.Generator,
) -> list[Spot]:
    """Chains, then bound particles, then those `on_membrane` (junk), then single ones.

    `radius` is that of a particle, in Å. Members of different groups are at least a separation
    apart, and none but the bound ones and those on it touches the membrane.

    Raises
    ------
    ConfigError
        If the volume has no room for them all, or a chain runs into itself.
    """
    room = _Room(settings, radius, membrane)
    lengths = [2] * settings.disomes + [settings.polysome_length] * settings.polysomes
    for length in lengths:
        room.add(partial(_chain, settings, radius, length, room, rng))
    if membrane is not None:
        height = settings.membrane_angstrom or radius + HALF_THICKNESS
        sites = room.on(membrane, height)
        for _ in range(settings.membrane_bound):
            room.add(lambda: _bound(settings, membrane, sites, rng))
        middle = room.on(membrane, 0.0)
        for _ in range(on_membrane):
            room.add(lambda: _alone(middle[rng.integers(len(middle))], rng, on_membrane=True))
    rest = settings.particles - sum(lengths) - settings.membrane_bound - on_membrane
    for _ in range(rest):
        room.add(lambda: _alone(room.anywhere(rng), rng))
    return room.spots


def chain_step(settings: TiltSeriesSimulation, radius: float) -> tuple[Floats, Floats]:
    """Shift `(3,)` in Å and turn `(3, 3)` from a particle of a chain to the next, in its frame."""
    direction = np.array(settings.chain_direction)
    distance = settings.chain_angstrom or 2 * radius
    return direction / np.linalg.norm(direction) * distance, view_matrix(*settings.chain_degrees)


class _Room:
    """The volume, what stands in it, and whether something more does."""

    def __init__(
        self, settings: TiltSeriesSimulation, radius: float, membrane: Membrane | None
    ) -> None:
        self._settings, self._radius, self._membrane = settings, radius, membrane
        self._half = np.maximum(np.array(settings.volume_angstrom) / 2 - radius, 1.0)
        self._separation = settings.separation_angstrom or 2 * radius
        self._tree: cKDTree | None = None
        self.spots: list[Spot] = []

    def anywhere(self, rng: np.random.Generator) -> Floats:
        """A point in the volume."""
        return np.asarray(rng.uniform(-self._half, self._half))

    def on(self, membrane: Membrane, height: float) -> Floats:
        """Points in the volume at `height` over the middle of the membrane: `(n, 3)`."""
        places = membrane.places(np.array(self._settings.volume_angstrom), height, _SITES)
        places = places[inside(places, self._half)]
        if not len(places):
            raise ConfigError(
                f"membrane: none of it is in volume_angstrom {self._settings.volume_angstrom} at "
                f"{height:g} Å: enlarge the volume or lower vesicle_angstrom"
            )
        return places

    def add(self, draw: Callable[[], Spot]) -> None:
        """Place what `draw` gives, drawn anew until it fits."""
        for _ in range(_ATTEMPTS):
            spot = draw()
            if self._fits(spot):
                self.spots.append(spot)
                self._tree = cKDTree(np.concatenate([s.centres for s in self.spots]))
                return
        placed = sum(len(spot.centres) for spot in self.spots)
        raise ConfigError(
            f"particles: no room for more than {placed} of {self._settings.particles} in "
            f"volume_angstrom {self._settings.volume_angstrom} with a separation of "
            f"{self._separation:.0f} Å: enlarge the volume or lower particles"
        )

    def _fits(self, spot: Spot) -> bool:
        if not inside(spot.centres, self._half).all():
            return False
        if self._tree is not None:
            nearest, _ = self._tree.query(spot.centres)
            if nearest.min() < self._separation:
                return False
        if self._membrane is None or spot.bound or spot.on_membrane:
            return True
        clear = np.abs(self._membrane.distance(spot.centres))
        return bool(clear.min() >= self._radius + HALF_THICKNESS)


def _alone(centre: Floats, rng: np.random.Generator, *, on_membrane: bool = False) -> Spot:
    return Spot(centre[None], random_pose(rng)[None], on_membrane=on_membrane)


def _bound(
    settings: TiltSeriesSimulation, membrane: Membrane, sites: Floats, rng: np.random.Generator
) -> Spot:
    """A particle at one of the sites, standing on the membrane."""
    centre = sites[rng.integers(len(sites))][None]
    turn = view_matrix(*settings.membrane_degrees)
    pose = standing_on(membrane.outward(centre)[0], turn, rng.uniform(0, 2 * np.pi))
    return Spot(centre, pose[None], bound=True)


def _chain(
    settings: TiltSeriesSimulation,
    radius: float,
    length: int,
    room: _Room,
    rng: np.random.Generator,
) -> Spot:
    """`length` particles, each at the same shift and turn from the one before."""
    shift, turn = chain_step(settings, radius)
    centres, poses = [room.anywhere(rng)], [random_pose(rng)]
    for _ in range(length - 1):
        centres.append(centres[-1] + poses[-1] @ shift)
        poses.append(poses[-1] @ turn)
    found = np.array(centres)
    _check_chain(found, float(np.linalg.norm(shift)))
    return Spot(found, np.array(poses), DISOME if length == 2 else POLYSOME)


def _check_chain(centres: Floats, distance: float) -> None:
    first, second = np.triu_indices(len(centres), k=2)
    apart: NDArray[np.float64] = np.linalg.norm(centres[first] - centres[second], axis=1)
    if apart.size and apart.min() < 0.9 * distance:
        raise ConfigError(
            f"chain_degrees: a chain of {len(centres)} runs into itself, particles come within "
            f"{apart.min():.0f} Å: lower the angles or polysome_length"
        )
