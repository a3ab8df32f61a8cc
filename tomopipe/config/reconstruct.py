"""Settings of reconstructions: any particles' map, every class's, and whole tomograms."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tomopipe.config.base import Section, Seed

# Cn, Dn, T, O, I (RELION's I2), I1
SYMMETRY = r"^([CD][1-9][0-9]*|T|O|I|I1|I2)$"


class ReconstructSettings(Section):
    """A map of any particles: half-maps, mask, FSC, local resolution, sharpening."""

    symmetry: str = Field(
        "C1",
        pattern=SYMMETRY,
        description="point group: Cn, Dn, T, O, I (the same as I2) or I1, axes as in RELION",
    )
    wiener: float = Field(
        1.0,
        ge=0,
        description="factor on the Wiener term of the half-map FSC in map.mrc; 0 divides by the "
        "weights alone",
    )
    mask: str = Field(
        "auto",
        min_length=1,
        description="auto: around the map's density; sphere: 0.9 of the box; or an MRC file",
    )
    mask_lowpass_angstrom: float | None = Field(
        None,
        gt=0,
        description="resolution of the map that the automatic mask is drawn around (Å); by "
        "default where the unmasked FSC falls below 0.5, at the finest 15",
    )
    mask_dilate_pixels: float = Field(
        3.0, ge=0, description="how far the automatic mask reaches beyond the density (voxels)"
    )
    mask_edge_pixels: float = Field(
        10.0, ge=1, description="cosine edge of the automatic mask (voxels), at most a tenth of box"
    )
    bfactor_A2: float | Literal["auto"] = Field(
        "auto",
        description="B-factor that sharpening undoes (Å², positive; RELION writes it negative); "
        "auto: by a Guinier fit where the resolution allows one, else 0",
    )
    bfactor_from_angstrom: float = Field(
        10.0, gt=0, description="where the Guinier fit begins (Å); it ends at the resolution"
    )
    local_resolution: bool = Field(True, description="compute local resolution")
    local_window_angstrom: float | None = Field(
        None,
        gt=0,
        description="width of the local window (Å); by default 24 voxels, in "
        "small boxes a quarter of the box",
    )
    local_stride: int = Field(
        3, ge=1, description="voxels between places where local resolution is computed"
    )
    local_threshold: float = Field(
        0.5, gt=0, lt=1, description="FSC at which local resolution is read; 0.143 is noisier"
    )
    seed: Seed = Field(0, description="seed of the random phases")


class ClassesSettings(Section):
    """Every cluster's own map against the model's volume of it."""

    symmetry: str = Field("C1", pattern=SYMMETRY, description="point group of all classes")
    min_particles: int = Field(
        30, ge=2, description="with fewer particles a class is not supported by them"
    )
    resolution_ratio: float = Field(
        2.0,
        ge=1,
        description="not supported when its half-maps (FSC 0.143) reach a resolution worse than "
        "this many times that of as many particles of all classes together, or when map and model "
        "agree (FSC 0.5) only to one worse than this many times that of its half-maps",
    )
    min_difference: float = Field(
        0.3,
        ge=-1,
        le=1,
        description="not supported when the class's own map differs from the mean of all in "
        "another way than the model says: correlation of both differences below this",
    )
    seed: Seed = Field(0, description="seed of the random phases")


class TomogramSettings(Section):
    """Weighted back-projection of whole tilt series."""

    pixel_size_angstrom: float = Field(
        10.0, gt=0, description="pixel size of the tomogram (Å); images are cropped to it"
    )
    thickness_angstrom: float | None = Field(
        None,
        gt=0,
        description="size along z (Å); by default what the series says, else 3000",
    )
    filter_edge: float = Field(
        0.9,
        gt=0,
        le=1,
        description="where the ramp filter begins to fall off (of Nyquist); it is 0 at Nyquist",
    )
    dose_weighting: bool = Field(
        True, description="weight frequencies by exp(-dose / 2 critical dose)"
    )
    tilt_weighting: bool = Field(True, description="weight images by cos(tilt)")
    invert: bool = Field(
        False, description="turn the contrast round; as they are, images show protein dark"
    )
    slab_gb: float = Field(
        1.0, gt=0, description="memory for the part of the tomogram that is worked on (GB)"
    )
