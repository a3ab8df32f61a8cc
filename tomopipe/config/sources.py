"""Where particles come from: STAR files, simulations, and aligned tilt series."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from tomopipe.config.base import Section
from tomopipe.config.extract import CutSettings, ExtractSettings
from tomopipe.config.importing import ImportSettings
from tomopipe.config.prepare import PrepareSettings
from tomopipe.config.simulate import SimulateSettings
from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.config.tilt_series import TiltSeriesSettings

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class TiltSeriesSource(Section):
    """Aligned tilt series that data sets are extracted from."""

    about: str = Field("", description="what it is and where it came from, for the report")
    path: str | None = Field(
        None,
        min_length=1,
        description="tomograms STAR file of RELION-5, or folder of WarpTools, IMOD or AreTomo",
    )
    simulate: TiltSeriesSimulation | None = Field(
        None, description="simulate the tilt series instead of reading them"
    )
    fetch: tuple[Name, ...] = Field(
        (), description="names under downloads: files that must be here before it is read"
    )
    read: TiltSeriesSettings = Field(
        default_factory=TiltSeriesSettings, description="how their files are read"
    )

    @model_validator(mode="after")
    def _one_source(self) -> TiltSeriesSource:
        if (self.path is None) == (self.simulate is None):
            raise ValueError("give exactly one of path (alignment files) and simulate")
        return self


class ExtractedFrom(CutSettings):
    """Particles cut out of aligned tilt series, at any box and pixel size."""

    tilt_series: Name = Field(description="name under tilt_series")
    particles: str | None = Field(
        None,
        min_length=1,
        description="STAR file with coordinates and poses of the particles; images are not "
        "needed; null = those of the simulation",
    )
    keep: Name | None = Field(
        None, description="branch: extract only the particles that it kept; null = all"
    )
    jobs: int = Field(
        1, ge=1, description="jobs that the tomograms are shared among; no more than tomograms"
    )

    def settings(self, read: TiltSeriesSettings) -> ExtractSettings:
        """What the verb takes: how to cut, and how its tilt series are read."""
        cut = self.model_dump(include=set(CutSettings.model_fields))
        return ExtractSettings.model_validate(cut | {"tilt_series": read})


class Dataset(Section):
    """Particles and their images at one box and pixel size."""

    model_config = ConfigDict(populate_by_name=True)

    about: str = Field("", description="what it is and where it came from, for the report")
    particles: str | None = Field(
        None, min_length=1, description="particle STAR file, relative to the working directory"
    )
    simulate: SimulateSettings | None = Field(
        None, description="simulate the particles instead of reading them"
    )
    extract: ExtractedFrom | None = Field(
        None, description="cut the particles out of tilt series instead of reading them"
    )
    fetch: tuple[Name, ...] = Field(
        (), description="names under downloads: files that must be here before it is read"
    )
    import_: ImportSettings = Field(
        default_factory=ImportSettings, alias="import", description="how the STAR file is read"
    )
    prepare: PrepareSettings = Field(
        default_factory=PrepareSettings, description="how images become the packed store"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        given = [s for s in (self.particles, self.simulate, self.extract) if s is not None]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of particles (a STAR file), simulate, and extract (tilt series)"
            )
        return self
