"""Membranes of two leaflets: a flat sheet, or the part of a vesicle that lies in the volume."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.simulate.scheme import Floats

HALF_THICKNESS = 27.0  # Å from the middle to where the density ends
_LEAFLET = 20.0  # Å from the middle to the head groups
_SPACING = 15.0  # Å between blobs of head groups, each as heavy as one of the phantom's
_JITTER = 4.0
_STEEPEST = 20.0  # degrees between a sheet's normal and the plane of the ice


@dataclass(frozen=True)
class Sheet:
    """A plane through `point`, its outside where `normal` points."""

    point: Floats
    normal: Floats

    def distance(self, points: Floats) -> Floats:
        """Å of `(n, 3)` points from the middle of the membrane, positive outside: `(n,)`."""
        return np.asarray((points - self.point) @ self.normal)

    def outward(self, points: Floats) -> Floats:
        """`(n, 3)` unit vectors along the normal at the points."""
        return np.broadcast_to(self.normal, points.shape)

    def places(self, size: Floats, distance: float, spacing: float) -> Floats:
        """Points `(n, 3)` all over the surface at `distance`, about `spacing` Å apart."""
        half = float(np.linalg.norm(size))
        line = np.arange(-half, half, spacing)
        first, second = _across(self.normal)
        u, v = (grid.reshape(-1, 1) for grid in np.meshgrid(line, line))
        return np.asarray(self.point + distance * self.normal + u * first + v * second)


@dataclass(frozen=True)
class Vesicle:
    """A sphere, its outside outside."""

    centre: Floats
    radius: float

    def distance(self, points: Floats) -> Floats:
        """Å of `(n, 3)` points from the middle of the membrane, positive outside: `(n,)`."""
        return np.asarray(np.linalg.norm(points - self.centre, axis=1) - self.radius)

    def outward(self, points: Floats) -> Floats:
        """`(n, 3)` unit vectors along the normal at the points."""
        away = points - self.centre
        return np.asarray(away / np.linalg.norm(away, axis=1, keepdims=True))

    def places(self, size: Floats, distance: float, spacing: float) -> Floats:
        """Points `(n, 3)` all over the surface at `distance`, about `spacing` Å apart."""
        radius = self.radius + distance
        count = round(4 * math.pi * (radius / spacing) ** 2)
        # a Fibonacci sphere: even without poles
        height = 1 - (2 * np.arange(count) + 1) / count
        angle = np.arange(count) * math.pi * (3 - math.sqrt(5))
        ring = np.sqrt(1 - height**2)
        unit = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
        return np.asarray(self.centre + radius * unit)


Membrane = Sheet | Vesicle


def draw_membrane(settings: TiltSeriesSimulation, rng: np.random.Generator) -> Membrane | None:
    """The membrane that the settings ask for, near the middle of the volume."""
    size = np.array(settings.volume_angstrom)
    if settings.membrane == "sheet":
        heading, slope = rng.uniform(0, 360), rng.uniform(-_STEEPEST, _STEEPEST)
        turn = Rotation.from_euler("zy", [heading, slope], degrees=True)
        return Sheet(rng.uniform(-0.1, 0.1, size=3) * size, np.asarray(turn.apply([1.0, 0, 0])))
    if settings.membrane == "vesicle":
        return Vesicle(rng.uniform(-0.2, 0.2, size=3) * size, settings.vesicle_angstrom)
    return None


def head_groups(membrane: Membrane, size: Floats, rng: np.random.Generator) -> Floats:
    """Centres `(n, 3)` of the head groups of both leaflets inside the volume of `size` Å."""
    leaflets = [membrane.places(size, side * _LEAFLET, _SPACING) for side in (-1, 1)]
    centres = np.concatenate(leaflets)
    centres = centres + rng.normal(size=centres.shape) * _JITTER
    return centres[inside(centres, size / 2)]


def inside(points: Floats, half: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which of `(n, 3)` points lie in the box of ± `half` about the origin."""
    return np.asarray((np.abs(points) <= half).all(axis=1))


def standing_on(normal: Floats, turn: Floats, azimuth: float) -> Floats:
    """Pose `(3, 3)`, object to tomogram, of a particle on a membrane.

    `turn` brings the particle to where its z axis is the membrane's `normal`; `azimuth` (radians)
    is the angle about it.
    """
    first, second = _across(normal)
    upright = np.stack([first, second, normal], axis=1)
    about = Rotation.from_rotvec([0, 0, azimuth]).as_matrix()
    return np.asarray(upright @ about @ turn)


def _across(normal: Floats) -> tuple[Floats, Floats]:
    """Two directions that with `normal` make a right-handed frame."""
    away = np.eye(3)[int(np.argmin(np.abs(normal)))]
    first = np.cross(away, normal)
    first = first / np.linalg.norm(first)
    return first, np.cross(normal, first)
