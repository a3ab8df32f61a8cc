"""Settings of simulated data sets with known truth."""

from __future__ import annotations

from pydantic import Field, model_validator

from tomopipe.config.base import Section

STATE_NAMES = ("whole", "no_lobe", "no_cap", "no_arm", "no_ball", "turned")


class SimulateSettings(Section):
    """Particles of a built-in phantom in uneven tilt series, with dose damage, CTF and noise."""

    particles: int = Field(480, ge=4, description="particles in all, junk included")
    box: int = Field(32, ge=8, multiple_of=2, description="box (pixels)")
    pixel_size_angstrom: float = Field(10.0, gt=0, description="pixel size (Å)")
    states: dict[str, float] = Field(
        {"whole": 0.5, "no_lobe": 0.3, "no_cap": 0.2},
        description="share of each state among the good particles: whole (with a moving arm), "
        "no_lobe, no_cap, no_arm, and the subtle no_ball (a ball of 32 Å is missing) and turned "
        "(the lobe by 15°)",
    )
    motion_degrees: float = Field(
        60.0,
        ge=0,
        le=120,
        description="range over which the arm of the whole state turns (degrees)",
    )
    junk_fraction: float = Field(
        0.12, ge=0, lt=1, description="share of junk: noise, ice and other shapes in equal parts"
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
    seed: int = Field(0, ge=0, description="seed of the phantom's particles and noise")

    @model_validator(mode="after")
    def _consistent(self) -> SimulateSettings:
        unknown = sorted(set(self.states) - set(STATE_NAMES))
        if unknown:
            raise ValueError(f"states: unknown {unknown}; known are {', '.join(STATE_NAMES)}")
        if self.min_tilts > self.tilts:
            raise ValueError("min_tilts must not exceed tilts")
        return self
