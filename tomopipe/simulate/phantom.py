"""The built-in phantom: a complex of Gaussian blobs with removable parts and a moving arm.

Sums of Gaussians have closed-form transforms, so simulated images carry no interpolation error and
are independent of every gridding step that they are used to test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

Floats = NDArray[np.float64]

_WIDTH = 7.0  # Å, standard deviation of a blob
_HINGE = np.array([-4.0, 40.0, 30.0])
_ARM_AXIS = np.array([1.0, 0.0, 0.0])


@dataclass(frozen=True)
class Blobs:
    """Gaussian blobs: `(n, 3)` centres (x, y, z) in Å, `(n,)` weights, one width in Å."""

    centres: Floats
    weights: Floats
    width: float = _WIDTH

    @property
    def mass(self) -> float:
        """Sum of the weights, which is the integral of the density."""
        return float(self.weights.sum())

    def transform(self, points: Tensor) -> Tensor:
        """Transform at `points` `(..., 3)` in 1/Å, in units of weight: `(...)` complex.

        F(s) = sum w exp(-2 pi^2 sigma^2 s^2) exp(-2 pi i s . c)
        """
        centres = torch.from_numpy(self.centres).to(points.dtype)
        weights = torch.from_numpy(self.weights).to(points.dtype)
        angle = -2 * math.pi * (points @ centres.T)
        envelope = torch.exp(-2 * (math.pi * self.width) ** 2 * (points**2).sum(-1))
        return torch.complex(torch.cos(angle) @ weights, torch.sin(angle) @ weights) * envelope

    @property
    def radius(self) -> float:
        """Å from the origin within which the density lies, the blobs' soft edges included."""
        return float(np.linalg.norm(self.centres, axis=1).max()) + 2 * self.width

    def projections(self, view: Tensor, frequency: Tensor, across: Tensor | None = None) -> Tensor:
        """Transforms of views `(t, 3, 3)` at all pairs of frequencies in 1/Å: `(t, n, m)`.

        Indexed [t, ky, kx]; `frequency` `(n,)` is that of the rows, `across` `(m,)` that of the
        columns, by default the same. Equal to `transform` at the rotated points, but separable:
        along each axis of the image a blob is one phase factor, so a view is one matrix product.
        """
        across = frequency if across is None else across
        seen = torch.from_numpy(self.centres).to(view.dtype) @ view.transpose(-1, -2)  # (t, n, 3)
        rows, columns = _waves(seen[..., 1], frequency), _waves(seen[..., 0], across)
        weights = torch.from_numpy(self.weights).to(view.dtype)[:, None]
        plane = rows.transpose(-1, -2) @ (weights * columns)
        high, wide = (torch.exp(-2 * (math.pi * self.width * k) ** 2) for k in (frequency, across))
        return plane * high[:, None] * wide

    def volume(self, box: int, pixel_size: float) -> Tensor:
        """Density on a `(box, box, box)` [z, y, x] grid; integrates to the sum of weights."""
        axis = (np.arange(box) - box // 2) * pixel_size
        # separable: one Gaussian per axis and blob
        gx, gy, gz = (
            np.exp(-((axis[None] - self.centres[:, i : i + 1]) ** 2) / (2 * self.width**2))
            for i in range(3)
        )
        norm = (pixel_size / (math.sqrt(2 * math.pi) * self.width)) ** 3
        density = np.einsum("n,nz,ny,nx->zyx", self.weights * norm, gz, gy, gx, optimize=True)
        return torch.from_numpy(density.astype(np.float32))


def _waves(position: Tensor, frequency: Tensor) -> Tensor:
    """Phase factors of `(t, blobs)` positions in Å along one axis: `(t, blobs, n)`."""
    angle = -2 * math.pi * position[..., None] * frequency
    return torch.polar(torch.ones_like(angle), angle)


def _part(rng: np.random.Generator, centre: Floats, radii: Floats, count: int) -> Floats:
    """`count` blob centres spread through an ellipsoid."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.asarray(centre + direction * rng.uniform(size=(count, 1)) ** (1 / 3) * radii)


def _parts() -> dict[str, Floats]:
    """The phantom's parts: the same in every process and version, whatever the data's seed."""
    rng = np.random.default_rng(20240)
    return {
        "body": _part(rng, np.array([0, 0, -24.0]), np.array([74, 58, 50.0]), 170),
        "lobe": _part(rng, np.array([-70.0, 10, 28]), np.array([36, 38, 44.0]), 130),
        "cap": _part(rng, np.array([52.0, 10, 52]), np.array([40, 36, 32.0]), 120),
        "arm": _part(rng, _HINGE + np.array([0, 46.0, 8]), np.array([15, 50, 15.0]), 70),
    }


# A state lacks some parts, or holds the whole complex with a subtle change
STATES: dict[str, tuple[str, ...]] = {
    "whole": (),
    "no_lobe": ("lobe",),
    "no_cap": ("cap",),
    "no_arm": ("arm",),
    "no_ball": (),
    "turned": (),
}
_BALL_CENTRE, _BALL_RADIUS = np.array([38.0, 0.0, -30.0]), 32.0  # Å; what no_ball lacks
_LOBE_HINGE, _LOBE_DEGREES = np.array([-40.0, 5.0, 5.0]), 15.0  # how turned differs


def complex_in_state(state: str, arm_degrees: float = 0.0) -> Blobs:
    """The complex in a compositional `state`, its arm turned by `arm_degrees` about its hinge.

    Subtle states: `no_ball` lacks the blobs inside a ball of 32 Å in its body, `turned` has its
    lobe turned by 15° about where it joins the body.
    """
    parts = {name: centres for name, centres in _parts().items() if name not in STATES[state]}
    if "arm" in parts and arm_degrees:
        parts["arm"] = _turned(parts["arm"], _HINGE, arm_degrees)
    if state == "turned":
        parts["lobe"] = _turned(parts["lobe"], _LOBE_HINGE, _LOBE_DEGREES)
    centres = np.concatenate(list(parts.values()))
    if state == "no_ball":
        centres = centres[np.linalg.norm(centres - _BALL_CENTRE, axis=1) > _BALL_RADIUS]
    return Blobs(centres, np.ones(len(centres)))


def _turned(centres: Floats, hinge: Floats, degrees: float) -> Floats:
    """`centres` turned by `degrees` about an axis along x through `hinge`."""
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * _ARM_AXIS)
    return np.asarray(turn.apply(centres - hinge) + hinge)


def junk(kind: str, rng: np.random.Generator) -> Blobs:
    """What is not the complex: `noise` (nothing), `ice` (one dense spot), `other` (a shape)."""
    if kind == "noise":
        return Blobs(np.zeros((1, 3)), np.zeros(1))
    if kind == "ice":
        return Blobs(rng.normal(size=(1, 3)) * 30, np.full(1, 250.0), width=22.0)
    centre = rng.normal(size=3) * 10
    return Blobs(_part(rng, centre, rng.uniform(20, 80, size=3), 300), np.ones(300))
