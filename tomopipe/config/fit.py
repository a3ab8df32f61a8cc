"""Settings of the default combination: the linear model, and a network where it pays."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tomopipe.config.base import Section
from tomopipe.config.linear import LinearSettings
from tomopipe.config.training import HeterogeneousSettings


class FitSettings(Section):
    """Heterogeneity without choosing a model: latents and clusters of every particle."""

    network: Literal["auto", "always", "never"] = Field(
        "auto",
        description="whether a network is trained from the linear model and kept if it predicts "
        "held-out tilts better; auto: where there is a GPU, because on a CPU it takes minutes to "
        "hours and seldom separates better",
    )
    clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="number of clusters; auto: as many as the Bayesian information criterion finds",
    )
    linear: LinearSettings = Field(
        default_factory=LinearSettings, description="settings of the linear model"
    )
    heterogeneous: HeterogeneousSettings = Field(
        default_factory=lambda: HeterogeneousSettings(epochs=10, stop="converged"),
        description="settings of the network",
    )
    seed: int = Field(0, ge=0, description="seed of the clusters")
