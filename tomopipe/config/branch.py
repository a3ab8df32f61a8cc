"""What a branch is: a data set, a subset of its particles, and the stages that it runs."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from tomopipe.config.analysis import AnalysisSettings, ConvergenceSettings, JunkSettings, Select
from tomopipe.config.base import Section
from tomopipe.config.fit import FitSettings
from tomopipe.config.importing import ExportSettings
from tomopipe.config.linear import ConsensusSettings, LinearSettings
from tomopipe.config.reconstruct import ClassesSettings
from tomopipe.config.repeat import Repeat, Replicates
from tomopipe.config.sources import Name
from tomopipe.config.training import HeterogeneousSettings, HomogeneousSettings
from tomopipe.errors import ConfigError

Stage = Literal[
    "consensus",
    "fit",
    "linear",
    "homogeneous",
    "heterogeneous",
    "convergence",
    "analysis",
    "classes",
    "junk",
    "export",
]
STAGES: tuple[Stage, ...] = get_args(Stage)

# By what the workflow asks for a stage's result, in the folder of the branch.
RESULTS: dict[Stage, str] = {
    "consensus": "consensus/map.mrc",
    "fit": "fit/fit.json",
    "linear": "linear/latents.parquet",
    "homogeneous": "homogeneous/map.mrc",
    "heterogeneous": "heterogeneous/latents.parquet",
    "convergence": "convergence",
    "analysis": "analysis/analysis.json",
    "classes": "classes",
    "junk": "junk.parquet",
    "export": "export",
}

# What a stage reads of its own branch: every stage named must be there, one of those joined by |.
NEEDS: dict[Stage, tuple[str, ...]] = {
    "convergence": ("heterogeneous",),
    "analysis": ("fit|linear|heterogeneous",),
    "classes": ("analysis",),
    "junk": ("consensus", "analysis"),
    "export": ("analysis",),
}

# What a branch that runs more than once must have.
_REPEATED = {"repeat": "junk", "replicates": "analysis"}
# What replicates run, which are there to be compared with the first of them.
_REPLICATED = {"consensus", "fit", "linear", "heterogeneous", "analysis"}

# Stages that run without a section of their own, with their defaults.
_FOLLOWING: dict[Stage, type[Section]] = {
    "convergence": ConvergenceSettings,
    "classes": ClassesSettings,
    "export": ExportSettings,
}


class Branch(Section):
    """A data set, a subset of its particles, models, and what is done with them.

    A stage runs when its section is there: `linear: {}` runs it with the defaults.
    """

    dataset: Name | None = Field(None, description="data set; left out: the parent's")
    parent: Name | None = Field(None, description="branch whose particles this one starts from")
    select: Select | None = Field(
        None, description="which of the parent's particles to keep; `{}` = undecided, waits"
    )
    repeat: Repeat = Field(
        None,
        description="run again on what is no junk: `until clean` for the defaults",
    )
    replicates: Replicates = Field(
        None, description="also fit with other seeds and say what agrees: a number, or a section"
    )
    consensus: ConsensusSettings | None = Field(None, description="back-projected map, half-maps")
    fit: FitSettings | None = Field(
        None,
        description="heterogeneity with the default models: linear, and a network where it pays",
    )
    linear: LinearSettings | None = Field(None, description="linear model of heterogeneity")
    homogeneous: HomogeneousSettings | None = Field(None, description="neural map without latents")
    heterogeneous: HeterogeneousSettings | None = Field(None, description="neural latent model")
    convergence: ConvergenceSettings | None = Field(
        None, description="verdict on the heterogeneous training; left out: the defaults"
    )
    analysis: AnalysisSettings | None = Field(
        None,
        description="clusters and volumes of the branch's model: fit, else the heterogeneous, else "
        "the linear one",
    )
    classes: ClassesSettings | None = Field(
        None,
        description="every cluster's own half-maps against the model's volume; left out: the "
        "defaults",
    )
    junk: JunkSettings | None = Field(None, description="evidence and decision for every cluster")
    export: ExportSettings | None = Field(
        None, description="STAR files of kept, junk and clusters; left out: the defaults"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_empty_sections(cls, raw: Any) -> Any:
        empty = (
            [key for key, value in raw.items() if value is None] if isinstance(raw, dict) else []
        )
        if empty:
            raise ValueError(f"{empty[0]} is empty: write {{}} for its defaults, or leave it out")
        return raw

    @model_validator(mode="after")
    def _stages_have_their_inputs(self) -> Branch:
        for stage, needs in NEEDS.items():
            given = {name for name in STAGES if getattr(self, name) is not None}
            missing = [need for need in needs if not given.intersection(need.split("|"))]
            if getattr(self, stage) is not None and missing:
                raise ValueError(f"{stage} needs {missing[0].replace('|', ' or ')} in this branch")
        for name, need in _REPEATED.items():
            if getattr(self, name) is not None and need not in self.stages and not self.is_replica:
                raise ValueError(f"{name} needs {need} in this branch: add `{need}: {{}}`")
        if self.fit is not None and (self.linear or self.heterogeneous) is not None:
            raise ValueError("fit holds both models: leave linear and heterogeneous out")
        if self.parent is None and self.select is not None:
            raise ValueError("select needs a parent: name the branch that it chooses from")
        if self.parent is not None and self.select is None:
            raise ValueError("parent needs select: write select: {} while it is undecided")
        if self.parent is None and self.dataset is None:
            raise ValueError("a branch without a parent needs a dataset")
        return self

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that run, in order; some follow from what they need."""
        on = {stage for stage in STAGES if getattr(self, stage) is not None}
        if self.heterogeneous is not None:
            on.add("convergence")
        if self.analysis is not None:
            on |= {"classes", "export"}
        if self.is_replica:
            on &= _REPLICATED
        return tuple(stage for stage in STAGES if stage in on)

    def settings(self, stage: Stage) -> Section:
        """The settings of a stage that runs, with all defaults filled in."""
        found = getattr(self, stage)
        if found is None and stage in self.stages:
            found = _FOLLOWING[stage]()
        if not isinstance(found, Section):
            raise ConfigError(f"the branch has no section {stage!r}: add `{stage}: {{}}`")
        return found

    @property
    def is_replica(self) -> bool:
        """Whether this is one of the further replicates of a branch."""
        return self.replicates is not None and (self.replicates.number or 1) > 1

    @property
    def model(self) -> Literal["fit", "heterogeneous", "linear"]:
        """The model that the analysis reads: the branch's last."""
        if self.fit is not None:
            return "fit"
        return "heterogeneous" if self.heterogeneous is not None else "linear"
