"""Recovery against the truth of simulated data: states against clusters, coordinates, FSC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from tomopipe.report import figures
from tomopipe.report.records import BranchRecord, DatasetRecord, Record

_ONE_STATE = 0.9  # share of one state from which clusters are no longer expected to be states
_MOVING = 0.6  # share of particles with a true coordinate from which one is looked for

_MOST_DOTS = 1500


@dataclass(frozen=True)
class Confusion:
    """Particles of each true state in each cluster; no ARI where nearly all are of one state."""

    states: list[str]
    clusters: list[int]
    counts: list[list[int]]
    ari: float | None


@dataclass(frozen=True)
class Coordinate:
    """A recovered coordinate against the true motion."""

    name: str
    spearman: float
    figure: Markup


def confusion(branch: BranchRecord, dataset: DatasetRecord) -> Confusion | None:
    """Truth against the branch's clusters; None without either."""
    if dataset.truth is None or branch.analysis is None or branch.analysis.clusters is None:
        return None
    table = branch.analysis.clusters.merge(dataset.truth[["uid", "state"]], on="uid")
    if not len(table):
        return None
    counts = pd.crosstab(table["state"].astype(str), table["cluster"])
    states = table["state"].astype(str)
    ari = None
    if states.value_counts(normalize=True).iloc[0] < _ONE_STATE:
        from sklearn.metrics import adjusted_rand_score

        ari = float(adjusted_rand_score(states, table["cluster"]))
    clusters = [int(c) for c in counts.columns]
    return Confusion([str(i) for i in counts.index], clusters, counts.to_numpy().tolist(), ari)


def coordinate(branch: BranchRecord, dataset: DatasetRecord) -> Coordinate | None:
    """The latent column that follows the true coordinate best, over particles that have one.

    The coordinate that the analysis itself names comes first; the choice among principal
    components is made with the truth and says so in its name.
    """
    if dataset.truth is None or branch.analysis is None or branch.analysis.latents is None:
        return None
    if "coordinate" not in dataset.truth:
        return None
    truth = dataset.truth[["uid", "coordinate"]].rename(columns={"coordinate": "true"})
    table = branch.analysis.latents.merge(truth.dropna(), on="uid")
    if len(table) < max(10, _MOVING * len(branch.analysis.latents)) or table["true"].nunique() < 5:
        return None
    columns = [c for c in table.columns if c.startswith("pc")][:6]
    if "coordinate" in table and table["coordinate"].notna().any():
        columns = ["coordinate"]
    if not columns:
        return None
    found = table[columns].corrwith(table["true"], method="spearman")
    best = str(found.abs().idxmax())
    shown = table.iloc[:: -(-len(table) // _MOST_DOTS)]
    figure = figures.against_truth(shown["true"].tolist(), shown[best].tolist(), best)
    return Coordinate(best, float(found[best]), figure)


def headline(record: Record) -> list[tuple[str, float, str]]:
    """The figures of `recovery.json`: (name, value, what it means)."""
    said = {
        "ari": ("ARI", "clusters against true states; 1 is perfect, 0 is chance"),
        "spearman": ("|Spearman|", "recovered against true motion coordinate; 1 is perfect"),
        "fsc_area": ("FSC area", "mean FSC of the recovered with the true maps; 1 is perfect"),
    }
    rows = []
    for key, (name, meaning) in said.items():
        value = record.recovery.get(key)
        if isinstance(value, int | float):
            rows.append((name, abs(float(value)) if key == "spearman" else float(value), meaning))
    return rows


def state_curves(recovery: dict[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """FSC of each state with its truth as (frequency, FSC), from `recovery.json`."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    states = recovery.get("states")
    if isinstance(states, dict):
        for name, entry in states.items():
            if isinstance(entry, dict) and entry.get("fsc") and entry.get("frequency_per_angstrom"):
                curves[str(name)] = (entry["frequency_per_angstrom"], entry["fsc"])
    return curves
