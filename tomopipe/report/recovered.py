"""What recovery says beyond the first headline: surroundings of particles, and series of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from tomopipe.report import charts
from tomopipe.report.axes import Axis, axis
from tomopipe.report.charts import Series
from tomopipe.report.palette import BLUE, GREEN, ORANGE

_WORDS = {"neighbours": "in a chain", "membrane": "on the membrane"}
_FIGURES = {
    "ari": ("ARI", BLUE),
    "states": ("FSC area of states", ORANGE),
    "fsc_area": ("FSC area of particles", GREEN),
}
_LEAST = 3  # data sets from which a series is drawn


@dataclass(frozen=True)
class Surrounding:
    """How well a branch tells particles with some surroundings from the others."""

    branch: str
    what: str
    clusters: str
    ari: float
    precision: float
    recall: float


def surroundings(recovery: Mapping[str, Any]) -> list[Surrounding]:
    """A row for each branch and each kind of surroundings that its simulation knows."""
    rows = []
    for dataset in recovery.get("datasets", {}).values():
        for branch, figures in dataset.get("branches", {}).items():
            for kind, found in figures.get("found", {}).items():
                rows.append(
                    Surrounding(
                        branch,
                        _WORDS.get(kind, kind),
                        ", ".join(map(str, found["clusters"])),
                        float(found["ari"]),
                        float(found["precision"]),
                        float(found["recall"]),
                    )
                )
    return rows


def junk_rows(recovery: Mapping[str, Any]) -> list[tuple[str, float | None, float]]:
    """(data set, precision, recall) of each data set's junk; no precision where none was found."""
    rows = []
    for name, dataset in recovery.get("datasets", {}).items():
        junk = dataset.get("junk") or {}
        if junk.get("true"):
            precision = junk.get("precision")
            known = None if precision is None else float(precision)
            rows.append((str(name), known, float(junk.get("recall") or 0.0)))
    return rows


def perturbation(recovery: Mapping[str, Any]) -> Markup | None:
    """Classification and volumes against the error of the poses; None for fewer than three."""
    rows = []
    for dataset in recovery.get("datasets", {}).values():
        error = dataset.get("perturbation") or {}
        if error.get("degrees") is not None and dataset.get("ari") is not None:
            areas = [state["area"] for state in (dataset.get("states") or {}).values()]
            states = float(np.mean(areas)) if areas else float("nan")
            rows.append((float(error["degrees"]), dataset | {"states": states}))
    rows.sort(key=lambda row: row[0])
    positive = [degrees for degrees, _ in rows if degrees > 0]
    if len({degrees for degrees, _ in rows}) < _LEAST or not positive:
        return None
    zero = min(positive) / 2  # where a logarithmic axis shows unperturbed poses
    place = [degrees or zero for degrees, _ in rows]
    label = "mean error of the poses (°), logarithmic"
    ticks = {p: f"{d:g}" for p, (d, _) in zip(place, rows, strict=True)}
    x = Axis(min(place) / 1.15, max(place) * 1.15, label, ticks, log=True)
    series = [
        Series(name, place, [_value(d.get(key)) for _, d in rows], colour, points=True)
        for key, (name, colour) in _FIGURES.items()
    ]
    y = axis([0.0, 1.0], "1 is perfect", zero=True)
    return charts.lines(series, x, y, title="Recovery against the error of the poses")


def _value(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
