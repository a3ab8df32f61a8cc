"""Settings that say which states simulated particles have."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from tomopipe.config.base import Section

STATE_NAMES = ("whole", "no_lobe", "no_cap", "no_arm", "no_ball", "turned")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # a state's name becomes a file name


class MapState(Section):
    """A state given by files: one, or several at even steps of a coordinate from 0 to 1."""

    population: float = Field(gt=0, description="share among the good particles")
    maps: tuple[str, ...] = Field((), description="MRC files, cubes of bright protein")
    models: tuple[str, ...] = Field(
        (), description="atomic models (PDB or mmCIF, also .gz) instead of maps"
    )

    @property
    def files(self) -> tuple[str, ...]:
        """The maps or models, in the order of the coordinate."""
        return self.maps or self.models

    @model_validator(mode="after")
    def _one_kind(self) -> MapState:
        if bool(self.maps) == bool(self.models):
            raise ValueError("give maps or models of a state, one kind of the two")
        return self


class StatesSettings(Section):
    """States of the built-in phantom or of given maps and atomic models."""

    states: dict[str, float | MapState] = Field(
        {"whole": 0.5, "no_lobe": 0.3, "no_cap": 0.2},
        min_length=1,
        description="share of each state among the good particles: whole (with a moving arm), "
        "no_lobe, no_cap, no_arm, and the subtle no_ball (a ball of 32 Å is missing) and turned "
        "(the lobe by 15°); or states of your own, each `{population: 0.5, maps: [a.mrc]}` or "
        "`{population: 0.5, models: [a.cif]}`, several files for a continuous motion",
    )
    motion_degrees: float = Field(
        60.0,
        ge=0,
        le=120,
        description="range over which the arm of the phantom's whole state turns (degrees)",
    )
    model_resolution_angstrom: float = Field(
        6.0, gt=0, description="resolution of the densities made of atomic models (Å)"
    )
    model_steps: int = Field(
        10, ge=1, description="densities made from one atomic model of a motion to the next"
    )
    junk_maps: tuple[str, ...] = Field(
        (), description="MRC files of other proteins, for junk of the kind `other`"
    )

    @property
    def shares(self) -> dict[str, float]:
        """Share of every state."""
        return {
            name: state.population if isinstance(state, MapState) else state
            for name, state in self.states.items()
        }

    @property
    def reference(self) -> str:
        """State that sets the level of the noise: the first with files, or the phantom's whole."""
        mapped = [name for name, state in self.states.items() if isinstance(state, MapState)]
        return mapped[0] if mapped else "whole"

    @property
    def moving(self) -> tuple[str, ...]:
        """States whose particles have a coordinate."""
        mapped = [n for n, s in self.states.items() if isinstance(s, MapState) and len(s.files) > 1]
        turns = "whole" in self.states and not isinstance(self.states["whole"], MapState)
        return (*mapped, "whole") if turns and self.motion_degrees > 0 else tuple(mapped)

    @property
    def files(self) -> tuple[str, ...]:
        """Maps and models that states and junk are made of."""
        given = [state.files for state in self.states.values() if isinstance(state, MapState)]
        return tuple(file for files in (*given, self.junk_maps) for file in files)

    @property
    def first_model(self) -> str | None:
        """Atomic model whose centre of mass is the centre of all models."""
        states = [s for s in self.states.values() if isinstance(s, MapState) and s.models]
        return states[0].models[0] if states else None

    @model_validator(mode="after")
    def _known_states(self) -> StatesSettings:
        phantom = {n for n, state in self.states.items() if not isinstance(state, MapState)}
        unknown = sorted(phantom - set(STATE_NAMES))
        if unknown:
            raise ValueError(
                f"states: unknown {unknown}; known are {', '.join(STATE_NAMES)}, and any name "
                "with maps or models"
            )
        if absent := [name for name, share in self.shares.items() if share <= 0]:
            raise ValueError(
                f"states: the share of {absent[0]} is {self.shares[absent[0]]:g}: give one above "
                "0, or leave the state out"
            )
        mapped = set(self.states) - phantom
        if phantom and mapped:
            raise ValueError("states: give maps or models for every state or for none")
        wrong = [name for name in mapped if name == "junk" or not _NAME.fullmatch(name)]
        if wrong:
            raise ValueError(
                f"states: {wrong[0]!r} cannot name a state: use letters, digits, '_', '-' and '.', "
                "and not junk"
            )
        return self
