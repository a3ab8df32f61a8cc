"""Settings of simulated data sets with known truth."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from tomopipe.config.base import Section

STATE_NAMES = ("whole", "no_lobe", "no_cap", "no_arm", "no_ball", "turned")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # a state's name becomes a file name


class MapState(Section):
    """A state given by maps: one map, or several at even steps of a coordinate from 0 to 1."""

    population: float = Field(gt=0, description="share among the good particles")
    maps: tuple[str, ...] = Field(min_length=1, description="MRC files, cubes of bright protein")


class SimulateSettings(Section):
    """Particles of a built-in phantom or of given maps in uneven tilt series.

    Images have dose damage, CTF, shifts and noise.
    """

    particles: int = Field(480, ge=4, description="particles in all, junk included")
    box: int = Field(32, ge=8, multiple_of=2, description="box (pixels)")
    pixel_size_angstrom: float = Field(10.0, gt=0, description="pixel size (Å)")
    states: dict[str, float | MapState] = Field(
        {"whole": 0.5, "no_lobe": 0.3, "no_cap": 0.2},
        description="share of each state among the good particles: whole (with a moving arm), "
        "no_lobe, no_cap, no_arm, and the subtle no_ball (a ball of 32 Å is missing) and turned "
        "(the lobe by 15°); or states of your own, each `{population: 0.5, maps: [a.mrc]}`, "
        "several maps for a continuous motion",
    )
    motion_degrees: float = Field(
        60.0,
        ge=0,
        le=120,
        description="range over which the arm of the phantom's whole state turns (degrees)",
    )
    junk_fraction: float = Field(
        0.12, ge=0, lt=1, description="share of junk, its kinds in equal parts"
    )
    junk_kinds: tuple[Literal["noise", "ice", "other", "off-centre", "misaligned"], ...] = Field(
        ("noise", "ice", "other"),
        min_length=1,
        description="kinds of junk: nothing but noise, a dense spot, other shapes, and good "
        "particles that are a third of the box or more off centre or wrongly oriented",
    )
    junk_maps: tuple[str, ...] = Field(
        (), description="MRC files of other proteins, for junk of the kind `other`"
    )
    tilts: int = Field(21, ge=1, description="most tilts a particle can have")
    min_tilts: int = Field(11, ge=1, description="fewest tilts a particle can have")
    tilt_step_degrees: float = Field(3.0, gt=0, le=10, description="tilt increment (degrees)")
    dose_per_tilt: float = Field(3.0, ge=0, description="dose of one tilt image (e/Å²)")
    snr: float = Field(
        0.2, gt=0, description="variance of the signal over that of the noise, per image"
    )
    defocus_angstrom: tuple[float, float] = Field(
        (20000.0, 40000.0), description="range of defocus (Å), one draw per tomogram"
    )
    voltage_kv: float = Field(300.0, gt=0, description="acceleration voltage (kV)")
    shift_pixels: float = Field(
        2.0, ge=0, description="largest shift of an image from its centre (pixels)"
    )
    tomograms: int = Field(6, ge=1, description="tomograms the particles come from")
    seed: int = Field(0, ge=0, description="seed of the particles and their noise")

    @property
    def shares(self) -> dict[str, float]:
        """Share of every state."""
        return {
            name: state.population if isinstance(state, MapState) else state
            for name, state in self.states.items()
        }

    @property
    def reference(self) -> str:
        """State that sets the level of the noise: the first with maps, or the phantom's whole."""
        mapped = [name for name, state in self.states.items() if isinstance(state, MapState)]
        return mapped[0] if mapped else "whole"

    @property
    def moving(self) -> tuple[str, ...]:
        """States whose particles have a coordinate."""
        mapped = [n for n, s in self.states.items() if isinstance(s, MapState) and len(s.maps) > 1]
        turns = "whole" in self.states and not isinstance(self.states["whole"], MapState)
        return (*mapped, "whole") if turns and self.motion_degrees > 0 else tuple(mapped)

    @model_validator(mode="after")
    def _consistent(self) -> SimulateSettings:
        phantom = {n for n, state in self.states.items() if not isinstance(state, MapState)}
        unknown = sorted(phantom - set(STATE_NAMES))
        if unknown:
            raise ValueError(
                f"states: unknown {unknown}; known are {', '.join(STATE_NAMES)}, and any name "
                "with maps"
            )
        mapped = set(self.states) - phantom
        if phantom and mapped:
            raise ValueError("states: give maps for every state or for none")
        wrong = [name for name in mapped if name == "junk" or not _NAME.fullmatch(name)]
        if wrong:
            raise ValueError(
                f"states: {wrong[0]!r} cannot name a state: use letters, digits, '_', '-' and '.', "
                "and not junk"
            )
        if self.min_tilts > self.tilts:
            raise ValueError("min_tilts must not exceed tilts")
        return self
