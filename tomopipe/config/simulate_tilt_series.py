"""Settings of simulated tilt series with known truth."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tomopipe.config.base import Seed
from tomopipe.config.simulate import check_reach
from tomopipe.config.states import STATE_NAMES, MapState, StatesSettings

_Size = Annotated[float, Field(gt=0)]
_Pixels = Annotated[int, Field(ge=16)]
_JunkKind = Literal["noise", "ice", "other", "misaligned", "membrane"]


class TiltSeriesSimulation(StatesSettings):
    """Whole tilt series of particles, chains of particles and a membrane in ice.

    The defaults are small enough for a test; a realistic series is 41 tilts of 4096 x 4096 pixels
    of 2 Å.
    """

    tomograms: int = Field(2, ge=1, description="tilt series")
    volume_angstrom: tuple[_Size, _Size, _Size] = Field(
        (2400.0, 2400.0, 900.0), description="size x, y, z of the volume with particles (Å)"
    )
    image_pixels: tuple[_Pixels, _Pixels] = Field(
        (512, 512), description="size x, y of a tilt image"
    )
    pixel_size_angstrom: float = Field(5.0, gt=0, description="pixel size of the tilt images (Å)")
    format: Literal["float32", "int16"] = Field("float32", description="values in the stacks")

    formats: tuple[Literal["warptools", "imod", "aretomo"], ...] = Field(
        ("warptools", "imod", "aretomo"),
        description="programs besides RELION-5 whose alignment files are written; warptools takes "
        "the images once more on disk",
    )

    particles: int = Field(40, ge=1, description="particles per tomogram, junk included")
    junk_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of junk in the list of particles"
    )
    junk_kinds: tuple[_JunkKind, ...] = Field(
        ("noise", "ice", "other"),
        min_length=1,
        description="kinds of junk: nothing but ice, a dense spot, other shapes, good particles of "
        "a wrong orientation, and places on the membrane",
    )
    separation_angstrom: float | None = Field(
        None, gt=0, description="least distance of two particles (Å); null = their diameter"
    )
    disomes: int = Field(0, ge=0, description="chains of two per tomogram")
    polysomes: int = Field(0, ge=0, description="longer chains per tomogram")
    polysome_length: int = Field(4, ge=3, description="particles in a longer chain")
    chain_angstrom: float | None = Field(
        None, gt=0, description="distance from a particle of a chain to the next (Å); null = touch"
    )
    chain_direction: tuple[float, float, float] = Field(
        (1.0, 0.0, 0.3),
        description="way to the next particle of a chain, in a particle's frame",
    )
    chain_degrees: tuple[float, float, float] = Field(
        (40.0, 15.0, -20.0),
        description="rotation from a particle of a chain to the next: rot, tilt, psi (degrees)",
    )
    membrane: Literal["none", "sheet", "vesicle"] = Field(
        "none", description="membrane of two leaflets: a flat sheet, or part of a vesicle"
    )
    vesicle_angstrom: float = Field(700.0, gt=0, description="radius of the vesicle (Å)")
    membrane_bound: int = Field(0, ge=0, description="particles bound to the membrane per tomogram")
    membrane_angstrom: float | None = Field(
        None,
        gt=0,
        description="distance of a bound particle's centre to the middle of the membrane (Å); "
        "null = touch",
    )
    membrane_degrees: tuple[float, float, float] = Field(
        (0.0, 0.0, 0.0),
        description="rot, tilt, psi that turn a particle to where its z axis is the membrane's "
        "normal; the angle about the normal is random",
    )
    membrane_state: str | None = Field(
        None, description="state of the bound particles; null = states by their shares"
    )
    beads: int = Field(0, ge=0, description="gold beads per tomogram")
    bead_radius_angstrom: float = Field(50.0, gt=0, description="radius of a gold bead (Å)")

    tilts: int = Field(21, ge=1, description="tilt images")
    tilt_step_degrees: float = Field(6.0, gt=0, le=10, description="tilt increment (degrees)")
    tilt_group: int = Field(
        2, ge=1, description="tilts taken on one side before the dose-symmetric scheme changes it"
    )
    dose_per_tilt: float = Field(3.0, ge=0, description="dose of one tilt image (e/Å²)")
    axis_degrees: float = Field(85.0, description="in-plane angle of the tilt axis (rlnTomoZRot)")
    x_tilt_degrees: float = Field(0.0, ge=-20, le=20, description="X tilt of the specimen")
    shift_angstrom: float = Field(
        60.0, ge=0, description="largest shift of a tilt image along each axis (Å)"
    )
    defocus_angstrom: tuple[float, float] = Field(
        (20000.0, 40000.0), description="range of defocus (Å), one draw per tomogram"
    )
    defocus_spread_angstrom: float = Field(
        300.0, ge=0, description="standard deviation of defocus from tilt to tilt (Å)"
    )
    astigmatism_angstrom: float = Field(
        500.0, ge=0, description="difference of the two defoci of astigmatism (Å)"
    )
    hand: int = Field(
        -1, ge=-1, le=1, description="sign of defocus over height along the beam (rlnTomoHand)"
    )
    voltage_kv: float = Field(300.0, gt=0, description="acceleration voltage (kV)")
    cs_mm: float = Field(2.7, ge=0, description="spherical aberration (mm)")
    amplitude_contrast: float = Field(0.07, ge=0, lt=1, description="amplitude contrast")

    snr: float | None = Field(
        0.1,
        gt=0,
        description="variance of a particle's signal over that of white noise in an untilted image "
        "of pixels of 10 Å, whatever the pixel size; null = no white noise",
    )
    structural_snr: float | None = Field(
        None,
        gt=0,
        description="the same for the noise that the CTF modulates, in pixels of the tilt images; "
        "null = none",
    )
    ice_angstrom: float | None = Field(
        None, ge=0, description="thickness of the ice, for its noise (Å); null = the volume's z"
    )
    perturb_degrees: float = Field(
        0.0,
        ge=0,
        description="error of the poses written: mean and standard deviation of an angle about a "
        "random axis (degrees)",
    )
    perturb_angstrom: float = Field(
        0.0, ge=0, description="mean error of the positions written, uniform along each axis (Å)"
    )
    tomogram_pixel_size_angstrom: float | None = Field(
        None,
        gt=0,
        description="also write tomograms of this pixel size (Å), by weighted back-projection; "
        "null = none",
    )
    seed: Seed = Field(0, description="seed of everything that is drawn")

    @model_validator(mode="after")
    def _consistent(self) -> TiltSeriesSimulation:
        low, high = self.defocus_angstrom
        if not 0 < low <= high:
            raise ValueError("defocus_angstrom must be two rising numbers above 0")
        if not any(self.chain_direction):
            raise ValueError("chain_direction: [0, 0, 0] leads nowhere")
        chained = 2 * self.disomes + self.polysome_length * self.polysomes
        junk = round(self.particles * self.junk_fraction)
        if chained + self.membrane_bound + junk > self.particles:
            raise ValueError(
                f"particles: {self.particles} are fewer than {chained} in chains, "
                f"{self.membrane_bound} on the membrane and {junk} of junk"
            )
        if self.membrane == "none" and (
            self.membrane_bound or (junk and "membrane" in self.junk_kinds)
        ):
            raise ValueError("membrane: set sheet or vesicle for particles or junk on it")
        check_reach(self.tilts, self.tilt_step_degrees)
        if not self.hand:
            raise ValueError("hand: give -1 or 1")
        if self.x_tilt_degrees and "aretomo" in self.formats:
            raise ValueError("formats: leave out aretomo, which cannot state x_tilt_degrees")
        if self.membrane_state is not None and self.membrane_state not in self.states:
            raise ValueError(f"membrane_state: {self.membrane_state!r} is none of the states")
        return self


__all__ = ["STATE_NAMES", "MapState", "TiltSeriesSimulation"]
