"""What a run is: data sets, and a tree of branches grown on them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from tomopipe.config.analysis import Select
from tomopipe.config.base import Section
from tomopipe.config.branch import Branch, Stage
from tomopipe.config.cycles import unrolled
from tomopipe.config.fetch import Download
from tomopipe.config.messages import config_error, field_names
from tomopipe.config.sources import Dataset, Name, TiltSeriesSource
from tomopipe.config.yaml_text import load_yaml
from tomopipe.errors import ConfigError

_SELECTION, _SIGNALS = "selection.yaml", "junk_particles.parquet"
_CLUSTERS, _LATENTS = "analysis/clusters.parquet", "analysis/latents.parquet"
# Every job's command names files below `results`: what a shell, Snakemake or an option parser would
# read as more than a name is left out.
_PLAIN_PATH = re.compile(r"(?!-)[\w./+@,=-]+")
_SELECT_READS: dict[str, tuple[str, ...]] = {
    "junk": (_SELECTION, _CLUSTERS),
    "clusters": (_CLUSTERS,),
    "largest": (_CLUSTERS,),
    "region": (_LATENTS,),
    "max_error": (_LATENTS,),
    "min_signal": (_SIGNALS,),
}


def files_read(select: Select) -> dict[str, tuple[str, ...]]:
    """Files of the parent, by kind of selection or limit, that a selection reads."""
    given: list[str] = []
    for part in select.parts():
        limits = part.quality.model_dump(exclude_none=True) if part.quality else {}
        given += [*part.kinds, *limits]
    return {kind: _SELECT_READS[kind] for kind in given if kind in _SELECT_READS}


class Config(Section):
    """One run: where results go, the data sets, and the branches."""

    title: str = Field("", description="heading of the report")
    results: str = Field(
        "results",
        min_length=1,
        description="folder that everything goes to; letters, digits and / . _ - + @ , =",
    )
    downloads: dict[Name, Download] = Field(
        default_factory=dict, description="files of EMPIAR, Zenodo or a web server, by name"
    )
    tilt_series: dict[Name, TiltSeriesSource] = Field(
        default_factory=dict, description="aligned tilt series by name, to extract data sets from"
    )
    datasets: dict[Name, Dataset] = Field(min_length=1, description="data sets by name")
    branches: dict[Name, Branch] = Field(min_length=1, description="branches by name")

    @field_validator("results")
    @classmethod
    def _is_plain(cls, results: str) -> str:
        if not _PLAIN_PATH.fullmatch(results):
            raise ValueError(
                f"{results!r} would not be read as it stands by every job: use letters, digits and "
                "any of / . _ - + @ , =, and no - in front"
            )
        return os.path.normpath(results)  # jobs put paths together as text: out/, not out//

    @field_validator("branches")
    @classmethod
    def _unrolled(cls, branches: dict[str, Branch]) -> dict[str, Branch]:
        return unrolled(branches)

    @model_validator(mode="after")
    def _tree(self) -> Config:
        for name in self.branches:
            self.lineage(name)
            self._check_dataset(name)
            self._check_parent_has_what_select_reads(name)
        for name in self.datasets:
            self._check_extract(name)
            self._check_fetch(name)
        return self

    def _check_fetch(self, name: str) -> None:
        for download in self.downloads_of(name):
            if download not in self.downloads:
                known = ", ".join(self.downloads) or "none"
                raise ValueError(
                    f"dataset {name!r} fetches unknown download {download!r}: known are {known}"
                )

    def downloads_of(self, dataset: str) -> tuple[str, ...]:
        """Downloads that a data set is made from, its tilt series' among them."""
        source = self.datasets[dataset]
        series = self.tilt_series[source.extract.tilt_series].fetch if source.extract else ()
        return tuple(dict.fromkeys((*source.fetch, *series)))

    def _check_extract(self, name: str) -> None:
        """Tilt series and branch of `extract` exist, and the branch does not come after it."""
        extract = self.datasets[name].extract
        if extract is None:
            return
        source = self.tilt_series.get(extract.tilt_series)
        if source is None:
            known = ", ".join(self.tilt_series) or "none"
            raise ValueError(
                f"dataset {name!r} extracts from unknown tilt_series {extract.tilt_series!r}: "
                f"known are {known}"
            )
        if extract.particles is None and source.simulate is None:
            raise ValueError(
                f"dataset {name!r} extracts from {extract.tilt_series!r}, which is not simulated: "
                "set particles of extract to a STAR file with coordinates and poses"
            )
        if extract.keep is not None:
            if extract.keep not in self.branches:
                raise ValueError(
                    f"dataset {name!r} keeps particles of unknown branch {extract.keep!r}: known "
                    f"are {', '.join(self.branches)}"
                )
            if name in self.datasets_before(extract.keep):
                raise ValueError(
                    f"dataset {name!r} keeps particles of branch {extract.keep!r}, which is made "
                    "from it: name a branch of another data set"
                )

    def datasets_before(self, branch: str) -> set[str]:
        """Data sets that must be there before a branch can run: its lineage's, and theirs."""
        found: set[str] = set()
        waiting = {self.dataset_of(name) for name in self.lineage(branch)}
        while waiting:
            name = waiting.pop()
            found.add(name)
            extract = self.datasets[name].extract if name in self.datasets else None
            if extract is not None and extract.keep in self.branches:
                line = self.lineage(extract.keep)
                waiting |= {self.dataset_of(b) for b in line} - found
        return found

    def truth_of(self, dataset: str) -> str | None:
        """Folder below `results` with the truth of a data set, None for real data."""
        source = self.datasets[dataset]
        if source.simulate is not None:
            return f"datasets/{dataset}/simulated"
        if source.extract is not None and self.tilt_series[source.extract.tilt_series].simulate:
            return f"tilt_series/{source.extract.tilt_series}/simulated"
        return None

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
        return files_read(select) if select is not None else {}

    def select_of(self, name: str) -> Select | None:
        """What a branch keeps; on an extracted data set particles may be missing."""
        select = self.branches[name].select
        if select is not None and self.datasets[self.dataset_of(name)].extract is not None:
            return select.model_copy(update={"allow_missing": True})
        return select

    def lineage(self, name: str) -> list[str]:
        """The branch and its ancestors, youngest first."""
        line = [name]
        seen = {name}
        while (parent := self.branches[line[-1]].parent) is not None:
            if parent not in self.branches:
                known = ", ".join(self.branches)
                raise ValueError(
                    f"branch {line[-1]!r} has unknown parent {parent!r}: known are {known}"
                )
            if parent in seen:
                raise ValueError(f"branch {name!r} descends from itself: {' <- '.join(line)}")
            line.append(parent)
            seen.add(parent)
        return line

    def dataset_of(self, name: str) -> str:
        """The data set of a branch: its own, or that of the nearest ancestor that names one."""
        return self.datasets_by_branch[name]

    @cached_property
    def datasets_by_branch(self) -> dict[str, str]:
        """Data set of every branch, found once: rules ask for it in every job."""
        return {name: self._named_dataset(name) for name in self.branches}

    def _named_dataset(self, name: str) -> str:
        named = (self.branches[branch].dataset for branch in self.lineage(name))
        return next(dataset for dataset in named if dataset is not None)

    def is_ready(self, name: str) -> bool:
        """Whether every selection on the way from the root has been decided.

        The way leads on through a data set that keeps the particles of another branch.
        """
        line = self.lineage(name)
        selects = (self.branches[branch].select for branch in line)
        if not all(select is None or select.decided for select in selects):
            return False
        sources = (self.datasets[d].extract for d in {self.dataset_of(b) for b in line})
        return all(s is None or s.keep is None or self.is_ready(s.keep) for s in sources)

    @property
    def ready(self) -> tuple[str, ...]:
        """Branches that can run now."""
        return tuple(name for name in self.branches if self.is_ready(name))

    @property
    def waiting(self) -> dict[str, str]:
        """Branches that cannot run yet, each with the branch whose `select` is undecided."""
        return {name: self._undecided(name) for name in self.branches if not self.is_ready(name)}

    def _undecided(self, name: str) -> str:
        """The branch that a branch waits for: the first in its line that has no decision."""
        first = next(b for b in reversed(self.lineage(name)) if not self.is_ready(b))
        select = self.branches[first].select
        extract = self.datasets[self.dataset_of(first)].extract
        if (select is None or select.decided) and extract is not None and extract.keep:
            return self._undecided(extract.keep)
        return first


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
        raw = load_yaml(Path(path).read_text(encoding="utf-8"))
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
