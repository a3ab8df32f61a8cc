"""Settings of the default combination: the linear model, and a network where it pays."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tomopipe.config.base import Section, Seed
from tomopipe.config.linear import LinearSettings
from tomopipe.config.training import HeterogeneousSettings


class NetworkSettings(HeterogeneousSettings):
    """The network of `fit`: in fewer epochs, and no longer than until it has converged."""

    epochs: int = Field(10, ge=1, description="passes over the particles")
    stop: Literal["never", "converged"] = Field(
        "converged", description="when training ends before its last epoch"
    )


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
        description="number of clusters in fit/clusters.parquet; auto: as many as the Bayesian "
        "information criterion finds. Report, junk and export go by `analysis: {clusters: …}`",
    )
    linear: LinearSettings = Field(
        default_factory=LinearSettings, description="settings of the linear model"
    )
    heterogeneous: NetworkSettings = Field(
        default_factory=NetworkSettings,
        description="settings of the network; its `device` is also that of the linear model",
    )
    seed: Seed = Field(0, description="seed of the clusters")

    def undeciding(self) -> dict[str, Any]:
        """As always, but the device decides whether `network: auto` trains a network."""
        found = super().undeciding()
        idle = {name: True for name in found["heterogeneous"] if name != "device"}
        return found | {"heterogeneous": idle}

    @property
    def wants_gpu(self) -> bool:
        """Whether a network may be trained, and on a GPU."""
        return self.network != "never" and self.heterogeneous.wants_gpu
