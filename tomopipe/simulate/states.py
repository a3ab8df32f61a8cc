"""What lies where a particle is: the density of every state, and of what is no particle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from tomopipe.config.states import MapState, StatesSettings
from tomopipe.errors import InputError
from tomopipe.simulate.maps import Source, Trajectory
from tomopipe.simulate.models import frames_of
from tomopipe.simulate.phantom import Blobs, complex_in_state, junk

Density = Blobs | Trajectory


def density_of(
    settings: StatesSettings, state: str, coordinate: float, box: int, pixel_size: float
) -> Density:
    """What a particle of `state` looks like; without a coordinate (NaN), at the motion's start.

    `box` and `pixel_size` (Å) are the grid of states that files give.
    """
    place = coordinate if np.isfinite(coordinate) else 0.0
    given = settings.states.get(state)
    if isinstance(given, MapState):
        return Trajectory(sources(settings, given), place, box, pixel_size)
    return complex_in_state(state, settings.motion_degrees * place if state == "whole" else 0.0)


def sources(settings: StatesSettings, state: MapState) -> tuple[Source, ...]:
    """Maps of a state, or the densities that are made of its atomic models.

    All models are centred on the first model of all states, so that states stay in one frame.
    """
    if state.maps:
        return state.maps
    centre = settings.first_model or state.models[0]
    return frames_of(state.models, settings.model_steps, settings.model_resolution_angstrom, centre)


def junk_density(
    settings: StatesSettings, kind: str, box: int, pixel_size: float, rng: np.random.Generator
) -> Density:
    """What is no particle: a map of `junk_maps` for `other` if there are any, else blobs."""
    if kind == "other" and settings.junk_maps:
        return Trajectory((str(rng.choice(settings.junk_maps)),), 0.0, box, pixel_size)
    blobs = junk(kind, rng)
    return replace(blobs, weights=blobs.weights * relative_mass(settings, box, pixel_size))


def relative_mass(settings: StatesSettings, box: int, pixel_size: float) -> float:
    """Mass of the reference state over that of the phantom's, whose blobs weigh one each.

    Maps have units of their own: shapes of blobs are to be as heavy as beside the phantom.

    Raises
    ------
    InputError
        If the reference's map holds no mass.
    """
    if not isinstance(settings.states.get(settings.reference), MapState):
        return 1.0
    heavy = mass(settings, settings.reference, float("nan"), box, pixel_size)
    if not heavy > 0:
        raise InputError(
            f"states: the voxels of {settings.reference}, the reference, sum up to {heavy:g}, and "
            "junk cannot be made as heavy: give a map of bright protein on a background of 0"
        )
    return heavy / complex_in_state("whole").mass


def mass(
    settings: StatesSettings, state: str, coordinate: float, box: int, pixel_size: float
) -> float:
    """Sum over the voxels of the map of `state`."""
    density = density_of(settings, state, coordinate, box, pixel_size)
    return density.mass if isinstance(density, Blobs) else float(density.volume().sum())


def random_state(settings: StatesSettings, rng: np.random.Generator) -> str:
    """A state, by the states' shares."""
    shares = np.array(list(settings.shares.values()))
    return str(rng.choice(list(settings.shares), p=shares / shares.sum()))


def rendered(
    settings: StatesSettings, state: str, coordinate: float, box: int, pixel_size: float
) -> Tensor:
    """Map `(box, box, box)` [z, y, x] of `state` at `coordinate`.

    Raises
    ------
    InputError
        If a file of the state is missing or cannot be used.
    """
    density = density_of(settings, state, coordinate, box, pixel_size)
    if isinstance(density, Trajectory):
        return density.volume()
    return density.volume(box, pixel_size)
