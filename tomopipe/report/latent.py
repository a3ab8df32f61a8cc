"""Data of the interactive latent plot of a branch: axes, colours and uids, packed small."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tomopipe.analysis.latent import evenly
from tomopipe.report.cycles import without_copies
from tomopipe.report.palette import DECISIONS, GREY, categories
from tomopipe.report.records import BranchRecord, DatasetRecord

_UNKNOWN = 65535  # in packed values
_TOP = 65534
_MOST_AXES = 8
_MOST_GROUPS = 200
_MOST_DOTS = 100_000  # a browser draws no more in good time, and the page stays small


def drawn_uids(branches: Iterable[BranchRecord], dataset: DatasetRecord) -> list[str]:
    """Particles of a data set that latent plots of these branches draw, in its order."""
    shown = [
        _drawn(branch.analysis.latents)["uid"]
        for branch in map(without_copies, branches)
        if branch.dataset == dataset.name
        and branch.analysis is not None
        and branch.analysis.latents is not None
    ]
    if dataset.particles is None or not shown:
        return []
    uids = dataset.particles["uid"]
    return uids[uids.isin(pd.concat(shown))].astype(str).tolist()


def _drawn(latents: pd.DataFrame) -> pd.DataFrame:
    """All particles, or of very many an even sample."""
    return latents.iloc[evenly(len(latents), _MOST_DOTS)]


def latent_plot(
    branch: BranchRecord, dataset: DatasetRecord, uids: list[str]
) -> dict[str, Any] | None:
    """What `scatter.js` draws, or None without latents.

    Parameters
    ----------
    branch, dataset
        The particles with their latents, clusters, tomograms and truth.
    uids
        `drawn_uids` of the data set.

    Returns
    -------
    dict
        `rows` (base64 uint32 positions in `uids`), `axes` by column, `pairs` of axes to offer,
        `colours` by name (groups or numbers), `names` of columns for people, and `notes` on
        what is left out.
    """
    analysis = branch.analysis
    if analysis is None or analysis.latents is None or dataset.particles is None:
        return None
    latents = _drawn(analysis.latents).drop(columns=["tomogram"], errors="ignore")
    table = latents.merge(dataset.particles[["uid", "tomogram"]], on="uid", how="inner")
    axes = _axes(list(table.columns))
    position = pd.Series(np.arange(len(uids)), index=uids)
    rows = position.loc[table["uid"]].to_numpy("<u4")
    colours = _colours(table, branch, dataset)
    return {
        "branch": branch.name,
        "dataset": dataset.name,
        "rows": base64.b64encode(rows.tobytes()).decode(),
        "axes": {name: pack(table[name].to_numpy(float)) for name in axes},
        "pairs": _pairs(axes),
        "names": {name: readable(name) for name in axes},
        "colours": colours,
        "notes": _notes(len(latents), len(analysis.latents), colours),
    }


def _notes(drawn: int, of: int, colours: dict[str, dict[str, Any]]) -> list[str]:
    notes = []
    if drawn < of:
        notes.append(
            f"{drawn:,} of {of:,} particles are drawn, evenly spaced in the order of the data set; "
            "the counts of groups and the uids that are saved are of these. To take all particles "
            "of a place, use `select: {clusters: …}` or `select: {region: …}`."
        )
    if "tomogram" not in colours:
        notes.append(
            f"More than {_MOST_GROUPS} tomograms are too many to be shown as groups; each cluster "
            "says below how much of it is from one tomogram."
        )
    return notes


def readable(column: str) -> str:
    """A column's name as axes show it."""
    if match := re.fullmatch(r"(umap|pc|z)(\d+)", column):
        stem, number = match[1], int(match[2])
        return {"umap": f"UMAP {number + 1}", "pc": f"PC {number + 1}", "z": f"z{number}"}[stem]
    return column


def pack(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Numbers as base64 uint16 between `low` and `high`; what is not finite becomes unknown."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    span = (high - low) or 1.0
    scaled = np.where(np.isfinite(values), (values - low) / span * _TOP, _UNKNOWN)
    return {"low": low, "high": low + span, "data": _base64(np.round(scaled))}


def _base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.astype("<u2").tobytes()).decode()


def _axes(columns: list[str]) -> list[str]:
    found = []
    for stem in ("umap", "pc", "z"):
        names = [c for c in columns if re.fullmatch(rf"{stem}\d+", c)]
        found += sorted(names, key=lambda c: int(c[len(stem) :]))[:_MOST_AXES]
    return found


def _pairs(axes: list[str]) -> list[tuple[str, str]]:
    """Pairs worth offering: UMAP, the first components against each other, latents in turn."""
    named = [("umap0", "umap1"), ("pc0", "pc1"), ("pc0", "pc2"), ("pc1", "pc2")]
    latents = [a for a in axes if a.startswith("z")]
    named += [(a, b) for a, b in zip(latents[::2], latents[1::2], strict=False)]
    return [pair for pair in named if set(pair) <= set(axes)]


def _colours(
    table: pd.DataFrame, branch: BranchRecord, dataset: DatasetRecord
) -> dict[str, dict[str, Any]]:
    colours: dict[str, dict[str, Any]] = {}
    clusters = branch.analysis.clusters if branch.analysis else None
    if clusters is not None:
        label = clusters.set_index("uid")["cluster"].reindex(table["uid"])
        groups = [str(i) for i in range(int(label.max()) + 1)]
        colours["cluster"] = _groups("cluster", label.astype(str), groups, prefix="cluster ")
        if branch.decisions:
            decision = {label: d.decision for label, d in branch.decisions.items()}
            colours["decision"] = _groups("decision", label.map(decision), list(DECISIONS))
            colours["decision"]["colours"] = list(DECISIONS.values())
    if dataset.truth is not None:
        truth = dataset.truth.set_index("uid").reindex(table["uid"])
        colours["state"] = _groups("true state", truth["state"])
        if "coordinate" in truth and truth["coordinate"].notna().any():
            colours["true coordinate"] = _numbers("true coordinate", truth["coordinate"])
    if table["tomogram"].nunique() <= _MOST_GROUPS:
        colours["tomogram"] = _groups("tomogram", table["tomogram"])
    for column in ("coordinate", "error"):
        if column in table and table[column].notna().any():
            colours[column] = _numbers(column, table[column])
    return colours


def _groups(
    title: str, values: pd.Series[Any], names: list[str] | None = None, prefix: str = ""
) -> dict[str, Any]:
    names = sorted(values.dropna().astype(str).unique()) if names is None else names
    code = {name: i for i, name in enumerate(names)}
    packed = values.map(code).fillna(_UNKNOWN).to_numpy(float)
    return {
        "kind": "group",
        "title": title,
        "names": [prefix + name for name in names],
        "short": names,
        "colours": categories(len(names)) or [GREY],
        "packed": {"low": 0, "high": _TOP, "data": _base64(packed)},
    }


def _numbers(title: str, values: pd.Series[Any]) -> dict[str, Any]:
    """Numbers with a ramp from their 1st to 99th percentile: a few far ones would take it all."""
    numbers = values.to_numpy(float)
    low, high = np.nanpercentile(numbers, [1, 99])
    ramp = {"low": float(low), "high": float(high)}
    return {"kind": "number", "title": title, "packed": pack(numbers), "ramp": ramp}
