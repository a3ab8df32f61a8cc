"""Settings of the consensus and of the linear model."""

from __future__ import annotations

from pydantic import Field

from tomopipe.config.base import Section, Seed


class ConsensusSettings(Section):
    """Weighted back-projection with half-maps by particle."""

    mask_diameter_angstrom: float | None = Field(
        None, gt=0, description="diameter of the spherical mask (Å); by default 0.9 of the box"
    )
    wiener: float = Field(
        1.0,
        ge=0,
        description="factor on the Wiener term of the half-map FSC; 0 divides by the weights alone",
    )


class LinearSettings(Section):
    """Probabilistic principal components of the volume, by expectation maximisation."""

    # memory_gb decides how exact the statistics are
    undecided = frozenset({"scratch"})

    components: int = Field(6, ge=1, le=64, description="components K of the linear subspace")
    rounds: int = Field(30, ge=1, description="rounds of expectation maximisation")
    prior: float = Field(
        0.6,
        gt=0,
        description="prior variance of a component per Fourier shell, as a fraction of the mean "
        "map's power there",
    )
    local_angstrom: float = Field(
        20.0,
        ge=0,
        description="components are kept where they rise above noise within about this distance "
        "(Å, standard deviation of the neighbourhood); 0 = everywhere",
    )
    mask_diameter_angstrom: float | None = Field(
        None,
        gt=0,
        description="diameter of a spherical support (Å); by default a mask around the mean map",
    )
    mask_dilate_angstrom: float = Field(
        15.0, ge=0, description="how far the mask reaches beyond the mean map's density (Å)"
    )
    padding: int = Field(2, ge=1, le=3, description="oversampling of the Fourier grid")
    memory_gb: float | None = Field(
        None,
        gt=0,
        description="memory for the statistics (GB, of each process): 16 bytes a coefficient, or 8 "
        "if that does not fit, else a scratch file; by default 4, or 0.6 of a GPU's free memory",
    )
    scratch: str | None = Field(
        None,
        description="folder of the scratch file, which is gone when the step ends; by default "
        "beside the results",
    )
    seed: Seed = Field(0, description="seed of the first latents")
