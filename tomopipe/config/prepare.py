"""Settings of the packed training store."""

from __future__ import annotations

from pydantic import Field, model_validator

from tomopipe.config.base import Section


class PrepareSettings(Section):
    """How images become the packed half-plane coefficients that every model reads."""

    undecided = frozenset({"workers"})

    window_inner: float = Field(
        0.8,
        gt=0,
        le=1.4,
        description="radius where the real-space window begins to fall (of half the box)",
    )
    window_outer: float = Field(
        0.9,
        gt=0,
        le=1.5,
        description="radius where the real-space window reaches 0 (of half the box)",
    )
    dose_mask: bool = Field(
        True,
        description="leave out frequencies beyond the optimal dose of Grant & Grigorieff (2015)",
    )
    dose_weighting: bool = Field(
        True, description="weight the loss per frequency by exp(-dose / 2 critical dose)"
    )
    tilt_weighting: bool = Field(True, description="weight the loss per image by cos(stage tilt)")
    falloff: bool = Field(
        True,
        description="measure by half-maps how the signal falls with tilt, dose and tomogram, and "
        "tell every later step, where it does beyond the errors",
    )
    workers: int = Field(0, ge=0, description="processes that read stacks; 0 = all cores")

    @model_validator(mode="after")
    def _window(self) -> PrepareSettings:
        if self.window_outer <= self.window_inner:
            raise ValueError("window_outer must be larger than window_inner")
        return self
