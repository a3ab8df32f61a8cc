"""What a run is: data sets, and a tree of branches grown on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_validator

from tomopipe.config.analysis import AnalysisSettings, ConvergenceSettings, JunkSettings, Select
from tomopipe.config.base import Section
from tomopipe.config.fit import FitSettings
from tomopipe.config.importing import ExportSettings, ImportSettings
from tomopipe.config.linear import ConsensusSettings, LinearSettings
from tomopipe.config.messages import config_error, field_names
from tomopipe.config.prepare import PrepareSettings
from tomopipe.config.reconstruct import ClassesSettings
from tomopipe.config.simulate import SimulateSettings
from tomopipe.config.training import HeterogeneousSettings, HomogeneousSettings
from tomopipe.errors import ConfigError

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
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

# What a stage reads of its own branch: every stage named must be there, one of those joined by |.
NEEDS: dict[Stage, tuple[str, ...]] = {
    "convergence": ("heterogeneous",),
    "analysis": ("fit|linear|heterogeneous",),
    "classes": ("analysis",),
    "junk": ("consensus", "analysis"),
    "export": ("analysis",),
}

# Stages that run without a section of their own, with their defaults.
_FOLLOWING: dict[Stage, type[Section]] = {
    "convergence": ConvergenceSettings,
    "classes": ClassesSettings,
    "export": ExportSettings,
}

_SELECTION, _SIGNALS = "selection.yaml", "junk_particles.parquet"
_CLUSTERS, _LATENTS = "analysis/clusters.parquet", "analysis/latents.parquet"
_SELECT_READS: dict[str, tuple[str, ...]] = {
    "junk": (_SELECTION, _CLUSTERS),
    "clusters": (_CLUSTERS,),
    "largest": (_CLUSTERS,),
    "region": (_LATENTS,),
    "max_error": (_LATENTS,),
    "min_signal": (_SIGNALS,),
}


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
    import_: ImportSettings = Field(
        default_factory=ImportSettings, alias="import", description="how the STAR file is read"
    )
    prepare: PrepareSettings = Field(
        default_factory=PrepareSettings, description="how images become the packed store"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        if (self.particles is None) == (self.simulate is None):
            raise ValueError("give exactly one of particles (a STAR file) and simulate")
        return self


class Branch(Section):
    """A data set, a subset of its particles, models, and what is done with them.

    A stage runs when its section is there: `linear: {}` runs it with the defaults.
    """

    dataset: Name | None = Field(None, description="data set; left out: the parent's")
    parent: Name | None = Field(None, description="branch whose particles this one starts from")
    select: Select | None = Field(
        None, description="which of the parent's particles to keep; `{}` = undecided, waits"
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
    def model(self) -> Literal["fit", "heterogeneous", "linear"]:
        """The model that the analysis reads: the branch's last."""
        if self.fit is not None:
            return "fit"
        return "heterogeneous" if self.heterogeneous is not None else "linear"

    @property
    def may_train(self) -> bool:
        """Whether the model that the analysis reads can be a network."""
        if self.fit is not None:
            return self.fit.network != "never"
        return self.heterogeneous is not None


class Config(Section):
    """One run: where results go, the data sets, and the branches."""

    title: str = Field("", description="heading of the report")
    results: str = Field("results", min_length=1, description="folder that everything goes to")
    datasets: dict[Name, Dataset] = Field(min_length=1, description="data sets by name")
    branches: dict[Name, Branch] = Field(min_length=1, description="branches by name")

    @model_validator(mode="after")
    def _tree(self) -> Config:
        for name in self.branches:
            self.lineage(name)
            self._check_dataset(name)
            self._check_parent_has_what_select_reads(name)
        return self

    def _check_dataset(self, name: str) -> None:
        dataset = self.dataset_of(name)
        if dataset not in self.datasets:
            known = ", ".join(self.datasets)
            raise ValueError(f"branch {name!r} has unknown dataset {dataset!r}: known are {known}")

    def _check_parent_has_what_select_reads(self, name: str) -> None:
        parent = self.branches[name].parent
        for kind, files in self.select_reads(name).items():
            needed: Stage = "junk" if {_SELECTION, _SIGNALS}.intersection(files) else "analysis"
            if parent is not None and needed not in self.branches[parent].stages:
                raise ValueError(
                    f"branch {name!r} selects by {kind}, which reads {needed} of its parent "
                    f"{parent!r}: add `{needed}: {{}}` there"
                )

    def select_reads(self, name: str) -> dict[str, tuple[str, ...]]:
        """Files of the parent, by kind of selection or limit, that a branch's `select` reads."""
        select = self.branches[name].select
        if select is None:
            return {}
        limits = select.quality.model_dump(exclude_none=True) if select.quality else {}
        given = (*select.kinds, *limits)
        return {kind: _SELECT_READS[kind] for kind in given if kind in _SELECT_READS}

    def lineage(self, name: str) -> list[str]:
        """The branch and its ancestors, youngest first."""
        line = [name]
        while (parent := self.branches[line[-1]].parent) is not None:
            if parent not in self.branches:
                known = ", ".join(self.branches)
                raise ValueError(
                    f"branch {line[-1]!r} has unknown parent {parent!r}: known are {known}"
                )
            if parent in line:
                raise ValueError(f"branch {name!r} descends from itself: {' <- '.join(line)}")
            line.append(parent)
        return line

    def dataset_of(self, name: str) -> str:
        """The data set of a branch: its own, or that of the nearest ancestor that names one."""
        named = (self.branches[branch].dataset for branch in self.lineage(name))
        return next(dataset for dataset in named if dataset is not None)

    def is_ready(self, name: str) -> bool:
        """Whether every selection on the way from the root has been decided."""
        selects = (self.branches[branch].select for branch in self.lineage(name))
        return all(select is None or select.decided for select in selects)

    @property
    def ready(self) -> tuple[str, ...]:
        """Branches that can run now."""
        return tuple(name for name in self.branches if self.is_ready(name))

    @property
    def waiting(self) -> dict[str, str]:
        """Branches that cannot run yet, each with the branch whose `select` is undecided."""
        return {
            name: next(b for b in reversed(self.lineage(name)) if not self.is_ready(b))
            for name in self.branches
            if not self.is_ready(name)
        }


def parse_config(raw: Mapping[str, Any], source: str = "the config") -> Config:
    """Check a config that has been read already.

    Raises
    ------
    ConfigError
        One sentence with the path of the first wrong field, what is wrong, and the fix.
    """
    try:
        return Config.model_validate(dict(raw))
    except ValidationError as error:
        raise config_error(error, source, field_names(Config)) from None


def read_config(path: Path | str) -> Config:
    """Read and check a config file; raises `ConfigError` in one sentence."""
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give the config file of your run"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: is not valid YAML: {reason}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a mapping with the keys results, datasets, branches")
    return parse_config(raw, str(path))
