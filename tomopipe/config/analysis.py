"""Settings of analysis, convergence, junk and selection."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PlainSerializer, model_validator

from tomopipe.config.base import Section, Seed

# An end of a range, which may be open. JSON has no infinite numbers, but words that are read so.
_End = Annotated[
    float,
    Field(allow_inf_nan=True),
    PlainSerializer(lambda end: end if math.isfinite(end) else str(end), when_used="json"),
]


class AnalysisSettings(Section):
    """How latents are clustered and which volumes are written."""

    clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="number of clusters k; auto: as many states as the Bayesian information "
        "criterion finds, at most 12, for a network among the latents of the linear model beside "
        "it; without one, as many of its own as lie apart",
    )
    method: Literal["auto", "mixture", "graph", "kmeans", "gmm"] = Field(
        "auto",
        description="which labels are 'cluster': 'mixture' = Gaussian states seen through each "
        "particle's own posterior; 'graph' = a mixture on the UMAP of the neighbour graph, which "
        "follows bent and long states; k-means; 'gmm' = a mixture on the latents; auto: mixture, "
        "but graph for more than 24 latent dimensions",
    )
    metric: Literal["auto", "precision", "latent"] = Field(
        "auto",
        description="distance between particles: 'precision' weighs latent directions by how well "
        "the images determine them, 'latent' takes them as they are; 'auto' is precision, except "
        "for k-means on the linear model",
    )
    volumes_at: Literal["auto", "mean", "representative"] = Field(
        "auto",
        description="where a cluster's volume is decoded: its mean latent, or the particle nearest "
        "to its centre; 'auto' is mean for the linear model",
    )
    umap: bool = Field(
        True, description="compute the two UMAP coordinates (always, if the method is graph)"
    )
    umap_neighbors: int = Field(30, ge=2, description="neighbours of UMAP (particles)")
    umap_min_distance: float = Field(0.1, ge=0, le=1, description="UMAP min_dist")
    coordinate: bool = Field(
        True, description="compute a one-dimensional coordinate, for continuous motion"
    )
    traversal: int = Field(10, ge=2, description="volumes along each traversal")
    traversal_components: int = Field(3, ge=0, description="principal components traversed")
    volumes_box: int | None = Field(
        None, ge=8, multiple_of=2, description="box of written volumes (voxels); null = the model's"
    )
    backprojection: bool = Field(
        True, description="back-project every cluster's particles, with half-maps and their FSC"
    )
    trim: float = Field(
        0.02, ge=0, le=0.2, description="largest share of isolated particles left out of the fit"
    )
    seed: Seed = Field(0, description="seed of k-means, the mixture and UMAP")


class JunkSettings(Section):
    """Where a cluster stops being a particle; all limits are relative to the good clusters."""

    junk_below: float = Field(
        0.5,
        ge=0,
        le=1,
        description="junk when agreement with the consensus is below this share "
        "of what the good clusters reach",
    )
    unsure_below: float = Field(
        0.7, ge=0, le=1, description="unsure when agreement is below this share"
    )
    structure_below: float = Field(
        0.3,
        ge=0,
        le=1,
        description="junk_below for a cluster whose particles agree with each other: it is a "
        "structure, and a fifth of the complex still has this share",
    )
    structure_ratio: float = Field(
        1.5,
        ge=1,
        description="they agree when half-maps reach at most this many times the resolution (Å) "
        "that as many particles of all clusters would",
    )
    structure_signal: float = Field(
        0.75,
        ge=0,
        description="and when their images show at least this share of the signal that the "
        "correlation of their maps promises, which is its square",
    )
    structure_particles: int = Field(
        30, ge=2, description="with fewer particles this cannot be told"
    )
    sigmas: float = Field(
        4.0, gt=0, description="differences within this many spreads of the good clusters are noise"
    )
    max_junk_fraction: float = Field(
        0.5, gt=0, le=0.5, description="largest share of the particles that may be called junk"
    )
    min_particles: int = Field(
        5, ge=1, description="clusters smaller than this (particles) are unsure at worst"
    )
    controls: int = Field(
        1, ge=1, le=20, description="random groups of a cluster's size back-projected to compare"
    )
    seed: Seed = Field(0, description="seed of the random groups")

    @model_validator(mode="after")
    def _ordered(self) -> JunkSettings:
        if self.junk_below > self.unsure_below:
            raise ValueError("junk_below must not exceed unsure_below")
        return self


class ClusterChoice(Section):
    """Clusters of the parent's analysis, by label."""

    keep: tuple[int, ...] | None = Field(None, description="labels to keep, all others are left")
    drop: tuple[int, ...] | None = Field(None, description="labels to leave, all others are kept")
    of: str | None = Field(
        None, description="fingerprint of the clusters this was decided on (analysis.json)"
    )

    @model_validator(mode="after")
    def _one_list(self) -> ClusterChoice:
        if (self.keep is None) == (self.drop is None):
            raise ValueError("give exactly one of keep and drop")
        if not (self.keep or self.drop):
            raise ValueError("the list of clusters is empty")
        return self


class Quality(Section):
    """Limits on single particles."""

    min_images: int | None = Field(None, ge=1, description="fewest tilt images of a particle")
    max_error: float | None = Field(
        None, gt=0, description="largest normalised residual ('error' in the parent's latents)"
    )
    min_signal: float | None = Field(
        None,
        description="least contrast of the consensus in a particle's images, 1 being that of the "
        "good clusters ('signal' in the parent's junk_particles.parquet)",
    )

    @model_validator(mode="after")
    def _some_limit(self) -> Quality:
        if self.min_images is None and self.max_error is None and self.min_signal is None:
            raise ValueError("give min_images, max_error, min_signal or several")
        return self


class Select(Section):
    """Which of the parent's particles a branch keeps: one kind, or several that must all agree.

    Without any kind the branch is undecided and waits; so it does while a selection inside another
    has none.
    """

    model_config = ConfigDict(populate_by_name=True)

    all: Literal[True] | None = Field(
        None, description="everything that the parent kept, for a child on another data set"
    )
    junk: Literal["auto"] | None = Field(
        None, description="obey the parent's selection.yaml: junk is left, keep and unsure stay"
    )
    clusters: ClusterChoice | None = Field(None, description="clusters by label")
    largest: int | None = Field(None, ge=1, description="the n largest clusters of the parent")
    region: dict[str, tuple[_End, _End]] | None = Field(
        None,
        min_length=1,
        description="ranges [low, high] of columns of the parent's analysis/latents.parquet "
        "(z0, pc0, umap0, coordinate, ...); -.inf and .inf for an open end",
    )
    region_of: str | None = Field(
        None,
        description="fingerprint of those columns that region was decided on (`tomopipe branch` "
        "writes it); where they have changed, region is refused",
    )
    file: str | None = Field(
        None, min_length=1, description="uids to keep: text (one a line), parquet, CSV or STAR"
    )
    quality: Quality | None = Field(None, description="limits on single particles")
    any_of: tuple[Select, ...] | None = Field(
        None, min_length=1, description="selections of which at least one must agree"
    )
    not_: Select | None = Field(
        None, alias="not", description="a selection whose particles are left, all others are kept"
    )
    allow_missing: bool = Field(
        False,
        description="particles that this branch's data set lacks are left as 'absent'; always so "
        "where the data set is extracted, since a larger box leaves the tilt images sooner",
    )

    @model_validator(mode="after")
    def _ranges(self) -> Select:
        for column, (low, high) in (self.region or {}).items():
            if not low <= high:
                raise ValueError(f"region {column}: {low} is above {high}")
        if self.region_of is not None and self.region is None:
            raise ValueError("region_of is given without region: add region or remove it")
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds that are given, as they are written."""
        names = ("all", "junk", "clusters", "largest", "region", "file", "quality")
        given = (*names, "any_of", "not_")
        return tuple(name.rstrip("_") for name in given if getattr(self, name) is not None)

    @property
    def inside(self) -> tuple[Select, ...]:
        """The selections that this one combines."""
        return (*(self.any_of or ()), *([self.not_] if self.not_ else []))

    def parts(self) -> Iterator[Select]:
        """Give this selection and all that are inside it, however deep."""
        yield self
        for select in self.inside:
            yield from select.parts()

    @property
    def decided(self) -> bool:
        """Whether any kind is given, here and in every selection inside."""
        return all(part.kinds for part in self.parts())


class ConvergenceSettings(Section):
    """When a training counts as finished."""

    gain: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="the held-out loss has settled when an epoch lowers it by less than this share "
        "of all that was gained",
    )
    shift: float = Field(
        0.15,
        gt=0,
        description="latents have settled when half of the particles move less than this share of "
        "the latent spread in an epoch, whole-space turns and stretches taken out",
    )
    volume_cc: float = Field(
        0.98,
        gt=0,
        lt=1,
        description="volumes have settled when the median CC of landmarks with the epoch before "
        "is at least this",
    )
    rise: float = Field(
        0.05,
        gt=0,
        description="overfitting when the held-out loss stands this share of the gain above its "
        "minimum",
    )
    patience: int = Field(3, ge=1, description="epochs in a row that must agree")
    landmarks: int = Field(8, ge=1, le=100, description="latent landmarks decoded at every epoch")
    volumes_box: int = Field(
        48, ge=16, multiple_of=2, description="largest box of the volumes compared (voxels)"
    )
    seed: Seed = Field(0, description="seed of the landmarks")
