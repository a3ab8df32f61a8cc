"""Settings of the extraction of particles from tilt series."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tomopipe.config.base import Section
from tomopipe.config.tilt_series import TiltSeriesSettings


class CutSettings(Section):
    """How particle images are cut out of aligned tilt series."""

    box: int = Field(..., ge=16, le=2048, multiple_of=2, description="box (pixels)")
    pixel_size_angstrom: float = Field(
        ..., gt=0, description="pixel size of the images (Å), not below that of the tilt images"
    )
    contrast: Literal["dark", "bright"] = Field(
        "dark", description="sign of protein in the tilt images; it always comes out bright"
    )
    normalize: bool = Field(
        True, description="bring the background of every image to mean 0 and standard deviation 1"
    )
    background_diameter: float = Field(
        0.75,
        gt=0,
        le=1.3,
        description="what lies outside a circle of this diameter is background (of the box)",
    )
    ctf_premultiply: bool = Field(
        False, description="multiply images by their CTF, positive at low frequency"
    )
    dose_weight: bool = Field(
        False, description="multiply images by exp(-dose / 2 critical dose) per frequency"
    )
    padding: int = Field(
        2,
        ge=1,
        le=4,
        description="box in which CTF and dose weights are applied, before it is cut (of the box)",
    )
    recenter: bool = Field(
        True,
        description="put the refined centre of each particle into the middle of its box, so that "
        "its origin is 0; otherwise its coordinate, and the origin stays",
    )
    min_tilts: int = Field(
        3, ge=1, description="particles whose box lies in fewer tilt images are dropped"
    )
    max_dose_e_per_A2: float | None = Field(
        None,
        gt=0,
        description="leave out tilts with a higher accumulated dose (e/Å²); null = none",
    )
    outside: Literal["error", "drop"] = Field(
        "error", description="what to do with particles that lie outside their tomogram"
    )
    coordinates_pixel_size_angstrom: float | None = Field(
        None,
        gt=0,
        description="Å per pixel of rlnCoordinateX/Y/Z; null = as the STAR file says",
    )
    check_pixel_size: bool = Field(
        True, description="refuse tilt images whose header has another pixel size than the series"
    )
    dtype: Literal["float16", "float32"] = Field("float16", description="numbers in the stacks")
    paths: Literal["absolute", "relative"] = Field(
        "absolute",
        description="paths in the STAR files: absolute, or relative to the folder that they lie in",
    )


class ExtractSettings(CutSettings):
    """How aligned tilt series are read, and particle images cut out of them."""

    tilt_series: TiltSeriesSettings = Field(
        default_factory=TiltSeriesSettings,
        description='how the aligned tilt series are read, as JSON: {"hand": 1}',
    )
