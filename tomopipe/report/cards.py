"""Maps, clusters and traversals of a branch, as the template shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tomopipe.report.palette import BLUE, GREY, category
from tomopipe.report.records import AnalysisRecord, BranchRecord, DecisionRecord
from tomopipe.report.volumes import Map, slices
from tomopipe.report.words import percent


@dataclass(frozen=True)
class MapView:
    """A map as surface and slices."""

    key: str
    caption: str
    colour: str
    slices: list[tuple[str, str]]


@dataclass(frozen=True)
class ClusterCard:
    """A cluster: its volume, its particles' own map, the decision and the evidence.

    `tomogram` is its largest share from one tomogram, in words.
    """

    label: int
    count: int
    share: float
    colour: str
    view: MapView | None
    own: MapView | None
    decision: str
    reason: str
    evidence: list[tuple[str, str]]
    tomogram: str


@dataclass(frozen=True)
class Traversal:
    """Frames along one component, as keys of the branch's maps."""

    name: str
    frames: list[str]
    colour: str


def map_paths(branch: BranchRecord) -> dict[str, Path]:
    """Every map of the branch by the key that its views use."""
    paths = {}
    if branch.consensus is not None and branch.consensus.map is not None:
        paths["consensus"] = branch.consensus.map
    if branch.homogeneous is not None and branch.homogeneous.map is not None:
        paths["homogeneous"] = branch.homogeneous.map
    if branch.analysis is not None:
        paths |= {f"cluster_{c}": p for c, p in branch.analysis.volumes.items()}
        paths |= {f"own_{c}": p for c, p in branch.analysis.backprojections.items()}
        for name, frames in branch.analysis.traversals.items():
            paths |= {f"{name}_{i}": p for i, p in enumerate(frames)}
    return paths


def view(
    paths: Mapping[str, Path], key: str, caption: str, colour: str = "#8aa4bd"
) -> MapView | None:
    """A map with its slices, or None where it is missing."""
    return MapView(key, caption, colour, slices(Map.read(paths[key]))) if key in paths else None


# Columns of junk.parquet worth a reader's time, with their heading and format.
_EVIDENCE = {
    "cc_volume": ("CC of volume", "{:.2f}"),
    "agreement": ("agreement", "{:.2f}"),
    "signal": ("signal", "{:.2f}"),
    "place": ("place", "{:.1f}"),
    "latent_norm": ("latent norm", "{:.1f}"),
    "error_mean": ("error", "{:.3f}"),
}


def cluster_cards(
    branch: BranchRecord, analysis: AnalysisRecord, places: pd.DataFrame | None
) -> list[ClusterCard]:
    """A card per cluster, in order of label, without pictures yet.

    `places` has the cluster and the tomogram of each particle, where they are known.
    """
    if analysis.clusters is None:
        return []
    counts = analysis.clusters["cluster"].value_counts().sort_index()
    resolutions = analysis.info.get("resolutions_angstrom") or []
    shares = {} if places is None else _largest_shares(places)
    cards = []
    for label, number in ((int(str(c)), int(n)) for c, n in counts.items()):
        found = branch.decisions.get(label)
        evidence = _evidence({} if found is None else found.evidence)
        if label < len(resolutions) and resolutions[label]:
            evidence.append(("resolution", f"{resolutions[label]:.0f} Å"))
        cards.append(
            ClusterCard(
                label=label,
                count=number,
                share=number / len(analysis.clusters),
                colour=category(label),
                view=None,
                own=None,
                decision="" if found is None else found.decision,
                reason="" if found is None else _reason(found),
                evidence=evidence,
                tomogram=shares.get(label, ""),
            )
        )
    return cards


def _largest_shares(places: pd.DataFrame) -> dict[int, str]:
    """Each cluster's largest share from one tomogram; nothing where there is only one."""
    counts = pd.crosstab(places["cluster"], places["tomogram"].astype(str))
    if counts.shape[1] < 2:
        return {}
    shares = counts.div(counts.sum(axis=1), axis=0)
    fullest = zip(shares.index, shares.max(axis=1), shares.idxmax(axis=1), strict=True)
    return {int(c): f"{percent(share, 1)} from one tomogram ({name})" for c, share, name in fullest}


def _reason(decision: DecisionRecord) -> str:
    if decision.decision == decision.proposed:
        return decision.reason
    return f"Decided by a person; the rule proposed {decision.proposed}. {decision.reason}".strip()


def _evidence(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, form.format(float(row[column])))
        for column, (name, form) in _EVIDENCE.items()
        if row.get(column) is not None and np.isfinite(float(row[column]))
    ]


def with_views(card: ClusterCard, paths: Mapping[str, Path]) -> ClusterCard:
    """The card with the pictures of its cluster."""
    caption = f"Cluster {card.label}"
    return replace(
        card,
        view=view(paths, f"cluster_{card.label}", caption, card.colour),
        own=view(paths, f"own_{card.label}", f"{caption}, its particles alone", GREY),
    )


def traversals(analysis: AnalysisRecord | None) -> list[Traversal]:
    """Traversals with at least one frame."""
    if analysis is None:
        return []
    return [
        Traversal(_traversal_name(name), [f"{name}_{i}" for i in range(len(paths))], BLUE)
        for name, paths in analysis.traversals.items()
        if paths
    ]


def _traversal_name(name: str) -> str:
    return f"Principal component {name[2:]}" if name.startswith("pc") else name.capitalize()
