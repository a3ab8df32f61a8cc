"""Settings of reading aligned tilt series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from tomopipe.config.base import Section

TiltSeriesFormat = Literal["auto", "relion5", "warptools", "imod", "aretomo"]
_Size = Annotated[float, Field(gt=0)]


class TiltSeriesSettings(Section):
    """How aligned tilt series are read; what their files say is taken unless set here."""

    format: TiltSeriesFormat = Field(
        "auto", description="program that aligned the tilt series; auto = by the files present"
    )
    data_dir: Path | None = Field(
        None,
        description="folder that holds the tilt images; null = look around the alignment files",
    )
    pixel_size_angstrom: float | None = Field(
        None, gt=0, description="pixel size of the tilt images (Å); null = as the files say"
    )
    volume_angstrom: tuple[_Size, _Size, _Size] | None = Field(
        None, description="size of the tomograms, x, y, z (Å); null = as the files say"
    )
    hand: int | None = Field(
        None,
        ge=-1,
        le=1,
        description="sign of the change of defocus over height (rlnTomoHand); null = as the files "
        "say, else -1 as in RELION; before invert_tilt",
    )
    invert_tilt: bool = Field(
        False,
        description="turn the signs of the tilt angles, and of the hand: for coordinates from "
        "tomograms whose z runs the other way",
    )
    voltage_kv: float | None = Field(
        None, gt=0, description="acceleration voltage (kV); null = as the files say"
    )
    cs_mm: float | None = Field(
        None, ge=0, description="spherical aberration (mm); null = as the files say, else 2.7"
    )
    amplitude_contrast: float | None = Field(
        None, ge=0, lt=1, description="amplitude contrast; null = as the files say, else 0.07"
    )
    dose_per_tilt: float | None = Field(
        None, gt=0, description="dose of one tilt image (e/Å²); null = as the files say"
    )
    exposure_order: Literal["auto", "sections"] = Field(
        "auto",
        description="imod, aretomo: auto = exposure_list, else the .mdoc beside; sections = the "
        "stack's sections stand in the order of exposure",
    )
    exposure_list: Path | None = Field(
        None,
        description="imod, aretomo: CSV file of lines `order,tilt angle` (order from 1 or 0), or a "
        "folder with NAME.csv per tilt series",
    )
    ctf: Path | None = Field(
        None,
        description="imod, aretomo: folder with NAME.defocus of IMOD or NAME_CTF.txt of ctffind4 "
        "per tilt series, or such a file of a single one; null = beside the alignment",
    )

    @field_validator("hand")
    @classmethod
    def _a_sign(cls, hand: int | None) -> int | None:
        if hand == 0:
            raise ValueError("must be 1 or -1")
        return hand
