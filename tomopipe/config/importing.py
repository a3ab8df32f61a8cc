"""Settings of import and export."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from tomopipe.config.base import Section, Seed

Dialect = Literal[
    "auto", "warp", "cryosrpnt", "relion5", "warptools", "nextpyp", "relion31", "cistem", "single"
]


class ImportSettings(Section):
    """How a STAR file is read; everything is taken from its columns unless set here."""

    dialect: Dialect = Field(
        "auto", description="program that wrote the STAR file; auto = by columns"
    )
    data_dir: Path | None = Field(
        None,
        description="folder that image paths are relative to; null = look around the STAR file",
    )
    tomograms: Path | None = Field(
        None,
        description="tomograms STAR file, instead of the one that the optimisation set names or "
        "that stands beside the particles",
    )
    stack: Path | None = Field(
        None,
        description="image stack of a STAR file that names none (cisTEM); null = from the file",
    )
    contrast: Literal["auto", "bright", "dark"] = Field(
        "auto",
        description="sign of protein in the stacks; auto = measured, bright where not clear",
    )
    premultiplied: bool | Literal["auto"] = Field(
        "auto", description="stacks are multiplied by the CTF; auto = rlnCtfDataAreCtfPremultiplied"
    )
    dose_weighted: bool | Literal["auto"] = Field(
        "auto", description="stacks are dose-weighted; auto = what the program that wrote them does"
    )
    dose_per_tilt: float | None = Field(
        None, gt=0, description="dose of one tilt image (e/Å²); null = as the file says"
    )
    pixel_size_angstrom: float | None = Field(
        None, gt=0, description="pixel size of the images (Å); null = as the file says"
    )
    hand: Literal["keep", "mirror"] = Field(
        "keep", description="mirror = turn maps of the wrong hand into the right one (z to -z)"
    )
    defocus_hand: Literal["auto", "keep", "turn"] = Field(
        "auto",
        description="how defocus changes with height in RELION-5 and WarpTools sets: keep = as "
        "the files say; turn = the other way; auto = as the files say, unless the noise of "
        "premultiplied stacks clearly says otherwise",
    )
    seed: Seed = Field(0, description="seed of half-sets when the file has no rlnRandomSubset")


class ExportSettings(Section):
    """Which STAR files `export` writes."""

    relion5: bool = Field(True, description="also write a RELION-5 optimisation set per group")
    paths: Literal["source", "absolute"] = Field(
        "source",
        description="image paths: as in the source, or absolute so that they always resolve",
    )
