"""Settings of simulated data sets with known truth."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tomopipe.config.base import Seed
from tomopipe.config.states import STATE_NAMES, MapState, StatesSettings

__all__ = ["STATE_NAMES", "MapState", "SimulateSettings"]

# What `noise: paper` sets unless it is given: Powell & Davis 2024, Methods
_PAPER: dict[str, Any] = {
    "tilts": 41,
    "min_tilts": 41,
    "tilt_group": 2,
    "amplitude_contrast": 0.1,
    "astigmatism_angstrom": 0.0,
}


class SimulateSettings(StatesSettings):
    """Particles of a built-in phantom, of given maps or of atomic models in uneven tilt series.

    Images have dose damage, CTF, shifts and noise.
    """

    particles: int = Field(480, ge=4, description="particles in all, junk included")
    box: int = Field(32, ge=8, multiple_of=2, description="box (pixels)")
    pixel_size_angstrom: float = Field(10.0, gt=0, description="pixel size (Å)")
    junk_fraction: float = Field(
        0.12, ge=0, lt=1, description="share of junk, its kinds in equal parts"
    )
    junk_kinds: tuple[Literal["noise", "ice", "other", "off-centre", "misaligned"], ...] = Field(
        ("noise", "ice", "other"),
        min_length=1,
        description="kinds of junk: nothing but noise, a dense spot, other shapes, and good "
        "particles that are a third of the box or more off centre or wrongly oriented",
    )
    tilts: int = Field(21, ge=1, description="most tilts a particle can have")
    min_tilts: int = Field(11, ge=1, description="fewest tilts a particle can have")
    tilt_step_degrees: float = Field(3.0, gt=0, le=10, description="tilt increment (degrees)")
    tilt_group: int = Field(
        1, ge=1, description="tilts taken on one side before the dose-symmetric scheme changes it"
    )
    dose_per_tilt: float = Field(3.0, ge=0, description="dose of one tilt image (e/Å²)")
    noise: Literal["white", "paper"] = Field(
        "white",
        description="white: white noise of the ratio snr, growing with the tilt; paper: as in the "
        "tomoDRGN paper, structural noise (1.4) before the CTF, the cosine of the tilt, shot noise "
        "(0.1) after it, its mixture of defoci, and its 41 tilts in groups of two, amplitude "
        "contrast 0.1 and no astigmatism unless these are given",
    )
    snr: float = Field(
        0.2,
        gt=0,
        description="variance of the signal over that of white noise, per image; not for paper",
    )
    defocus_angstrom: tuple[float, float] = Field(
        (20000.0, 40000.0),
        description="range of defocus (Å), one draw per tomogram; not for noise: paper",
    )
    astigmatism_angstrom: float = Field(
        500.0, ge=0, description="difference of the two defoci of astigmatism, at 30° (Å)"
    )
    voltage_kv: float = Field(300.0, gt=0, description="acceleration voltage (kV)")
    amplitude_contrast: float = Field(0.07, ge=0, lt=1, description="amplitude contrast")
    shift_pixels: float = Field(
        2.0, ge=0, description="largest shift of an image from its centre (pixels)"
    )
    one_pose: bool = Field(
        False,
        description="one 3D origin per particle and one defocus per tilt of a tomogram, as in "
        "RELION-5, not a shift and a defocus per image; always so in relion5 and warptools",
    )
    dialect: Literal["warp", "relion31", "relion5", "warptools"] = Field(
        "warp", description="program whose STAR files and stacks are written"
    )
    perturb_degrees: float = Field(
        0.0,
        ge=0,
        description="error of the poses written: mean and standard deviation of an angle about a "
        "random axis, per particle (degrees)",
    )
    perturb_angstrom: float = Field(
        0.0, ge=0, description="mean error of the shifts written, uniform along each axis (Å)"
    )
    tomograms: int = Field(6, ge=1, description="tomograms the particles come from")
    seed: Seed = Field(0, description="seed of the particles and their noise")

    @property
    def rigid(self) -> bool:
        """Whether particles have one pose and origin, and tilts one defocus."""
        return self.one_pose or self.dialect in ("relion5", "warptools")

    @model_validator(mode="before")
    @classmethod
    def _as_in_the_paper(cls, raw: Any) -> Any:
        paper = isinstance(raw, dict) and raw.get("noise") == "paper"
        return {**_PAPER, **_fewest(raw), **raw} if paper else raw

    @model_validator(mode="after")
    def _consistent(self) -> SimulateSettings:
        low, high = self.defocus_angstrom
        if not 0 < low <= high:
            raise ValueError("defocus_angstrom must be two rising numbers above 0")
        if self.min_tilts > self.tilts:
            raise ValueError("min_tilts must not exceed tilts")
        check_reach(self.tilts, self.tilt_step_degrees)
        return self


def check_reach(tilts: int, step_degrees: float) -> None:
    """Refuse tilts on both sides of 0 that reach 90°, where no beam comes through.

    Raises
    ------
    ValueError
        If they do.
    """
    reach = tilts // 2 * step_degrees
    if reach >= 90:
        raise ValueError(
            f"tilts: {tilts} in steps of {step_degrees:g} degrees reach {reach:g}: stay below 90"
        )


def _fewest(raw: dict[str, Any]) -> dict[str, Any]:
    """With `tilts` alone all particles have all of them."""
    return {"min_tilts": raw["tilts"]} if "tilts" in raw else {}
