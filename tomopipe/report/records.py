"""What the report knows of a results tree; None stands for a stage that has left nothing (yet)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from tomopipe.config.repeat import RepeatSettings, ReplicateSettings
from tomopipe.lineage.record import Lineage

State = Literal["done", "unfinished", "not run", "waiting"]


@dataclass(frozen=True)
class DatasetRecord:
    """Particles, images, import, truth (uid, state, coordinate, junk), falloff of the signal."""

    name: str
    about: str
    path: Path
    particles: pd.DataFrame | None
    images: pd.DataFrame | None
    info: dict[str, Any]
    truth: pd.DataFrame | None
    falloff: dict[str, Any] | None = None
    lineage: tuple[Lineage, ...] = ()


@dataclass(frozen=True)
class ConsensusRecord:
    """The back-projected map, its half-maps' FSC, and the numbers beside them."""

    map: Path | None
    fsc: pd.DataFrame | None
    info: dict[str, Any]


@dataclass(frozen=True)
class ModelRecord:
    """A trained model: settings, losses by epoch, a linear one's spectrum, a mean map."""

    kind: str
    config: dict[str, Any]
    metrics: pd.DataFrame | None
    spectrum: pd.DataFrame | None
    map: Path | None


@dataclass(frozen=True)
class AnalysisRecord:
    """Latents, clusters and volumes of a branch's last model."""

    info: dict[str, Any]
    latents: pd.DataFrame | None
    clusters: pd.DataFrame | None
    volumes: dict[int, Path]
    backprojections: dict[int, Path]
    traversals: dict[str, list[Path]]
    fscs: dict[int, Path]


@dataclass(frozen=True)
class ClassesRecord:
    """Figures and verdict of every class, and the FSC curves behind them."""

    rows: tuple[dict[str, Any], ...]
    fsc: pd.DataFrame | None

    @property
    def unsupported(self) -> list[dict[str, Any]]:
        """Rows of classes that their own particles do not show."""
        return [row for row in self.rows if not row.get("supported")]


@dataclass(frozen=True)
class DecisionRecord:
    """What was decided on one cluster, what the rule proposed, and the evidence."""

    cluster: int
    decision: str
    proposed: str
    reason: str
    count: int
    evidence: dict[str, Any]


@dataclass(frozen=True)
class SelectionRecord:
    """The decisions on all clusters; stale ones were made on clusters that are no longer there.

    `problem` is what is wrong with the file that holds them, which has no decisions then.
    """

    decided_by: str
    decisions: tuple[DecisionRecord, ...]
    stale: bool
    problem: str = ""

    def clusters(self, decision: str) -> list[int]:
        """Labels of the clusters of one decision."""
        return [d.cluster for d in self.decisions if d.decision == decision]

    def particles(self, decision: str) -> int:
        """Particles in the clusters of one decision."""
        return sum(d.count for d in self.decisions if d.decision == decision)


@dataclass(frozen=True)
class BranchRecord:
    """Everything a branch has left behind.

    `written` is its name in the config, which its rounds and replicates share; `taken` holds the
    stages that it took over, by the branch that they are from; `signal` is that of each particle.
    """

    name: str
    dataset: str
    parent: str | None
    select: dict[str, Any]
    state: State
    waits: str
    missing: tuple[str, ...]
    path: Path
    settings: dict[str, Any]
    selected: pd.DataFrame | None
    consensus: ConsensusRecord | None
    fit: dict[str, Any] | None
    linear: ModelRecord | None
    homogeneous: ModelRecord | None
    heterogeneous: ModelRecord | None
    convergence: dict[str, Any] | None
    analysis: AnalysisRecord | None
    classes: ClassesRecord | None
    selection: SelectionRecord | None
    exports: tuple[Path, ...]
    written: str
    repeat: RepeatSettings | None
    replicates: ReplicateSettings | None
    taken: dict[str, str]
    agreement: dict[str, Any] | None
    lineage: tuple[Lineage, ...] = ()
    signal: pd.DataFrame | None = None

    @property
    def kept(self) -> int | None:
        """Number of particles, or None before `select` has run."""
        return None if self.selected is None else int(self.selected["kept"].sum())

    @property
    def decisions(self) -> dict[int, DecisionRecord]:
        """Decisions by cluster; empty where there are none."""
        return {} if self.selection is None else {d.cluster: d for d in self.selection.decisions}


@dataclass(frozen=True)
class Record:
    """A whole results tree."""

    title: str
    root: Path
    datasets: dict[str, DatasetRecord]
    branches: dict[str, BranchRecord]
    recovery: dict[str, Any]
    settings: dict[str, Any]
    benchmarks: pd.DataFrame | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def depth(self, name: str) -> int:
        """Number of ancestors of a branch."""
        parent = self.branches[name].parent
        return 0 if parent is None else 1 + self.depth(parent)

    def tree(self, parent: str | None = None) -> list[str]:
        """Branch names from the roots down, children after their parent."""
        names: list[str] = []
        for name, branch in self.branches.items():
            if branch.parent == parent:
                names += [name, *self.tree(name)]
        return names
