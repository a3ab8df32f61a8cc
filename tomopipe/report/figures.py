"""The charts of the report, each from the records it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from tomopipe.report import charts
from tomopipe.report.axes import Axis, axis
from tomopipe.report.charts import Mark, Series
from tomopipe.report.palette import BLUE, GREEN, GREY, ORANGE, categories, category

HALF_MAP_THRESHOLD = 0.143
_MOST_TOMOGRAMS = 40


def histogram(values: npt.ArrayLike, label: str, what: str, *, bins: int = 30) -> Markup | None:
    """Histogram of finite `values`; None when there are none.

    Whole numbers get a bar each. Other values that stand on a few places, such as doses and tilts
    of an evenly exposed series, get bars as wide as their smallest step: on bins of another width
    they would look like a comb.
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    whole = bool(np.all(finite == np.round(finite))) and high - low < 80
    edges = _edges(np.unique(finite.round(6)), bins, whole=whole)
    # places are rounded, so that the smallest and the largest value may lie just outside
    counts, _ = np.histogram(finite.clip(edges[0], edges[-1]), edges)
    x = axis([low, high], label) if high > low else Axis(edges[0], edges[-1], label)
    ticks = x.ticks or {low: f"{low:g}"}
    if whole:  # between two counts there is nothing to name
        ticks = {at: f"{at:g}" for at in ticks if at == round(at)}
    x = Axis(min(x.low, edges[0]), max(x.high, edges[-1]), label, ticks)
    y = axis(counts.tolist(), what, zero=True)
    return charts.bars(edges.tolist(), counts.tolist(), x, y, title=f"{what} by {label}")


def _edges(places: npt.NDArray[Any], bins: int, *, whole: bool) -> npt.NDArray[Any]:
    """Edges of bins for values at these sorted places."""
    low, high = float(places[0]), float(places[-1])
    step = float(np.diff(places).min()) if len(places) > 1 else 1.0
    count = round((high - low) / step)
    if count < 80 and len(places) > 0.5 * count:
        edges: npt.NDArray[Any] = low + step * (np.arange(count + 2) - 0.5)
        return edges
    # with most places empty the values are not on a grid
    return np.arange(low - 0.5, high + 1.5) if whole else np.linspace(low, high, bins + 1)


def fsc(
    curves: Sequence[Series], *, crossing: bool = True, at: float | None = None, title: str
) -> Markup:
    """FSC curves over frequency in 1/Å with resolutions as ticks.

    Parameters
    ----------
    curves
        `x` frequency in 1/Å, `y` FSC.
    crossing
        Mark where the first curve first falls below 0.143.
    at
        The resolution in Å to mark, where it is known already.
    title
        For screen readers.
    """
    highest = max(max(c.x) for c in curves)
    marks = []
    found = 1 / at if at else first_crossing(curves[0].x, curves[0].y)
    if crossing and found is not None and found <= highest * 1.001:
        marks = [Mark(found, HALF_MAP_THRESHOLD, f"{1 / found:.1f} Å", curves[0].colour)]
    lowest = min([0.0, *(float(np.nanmin(c.y)) for c in curves)])
    y = Axis(max(lowest, -0.3), 1.0, "FSC", {t: f"{t:g}" for t in (0, 0.2, 0.4, 0.6, 0.8, 1)})
    levels = [(HALF_MAP_THRESHOLD, "0.143")] if crossing else [(0.5, "0.5")]
    return charts.lines(
        curves, resolution_axis(highest), y, marks=marks, levels=levels, title=title
    )


def first_crossing(frequency: Sequence[float], curve: Sequence[float]) -> float | None:
    """Frequency where `curve` first falls below 0.143, interpolated; None if it never does."""
    before_f, before_c = 0.0, 1.0
    for f, c in zip(frequency, curve, strict=True):
        if c < HALF_MAP_THRESHOLD:
            return before_f + (f - before_f) * (before_c - HALF_MAP_THRESHOLD) / (before_c - c)
        before_f, before_c = f, c
    return None


def resolution_axis(highest: float) -> Axis:
    """Axis of frequency (1/Å) up to `highest`, ticked at round resolutions in Å."""
    rounds = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 60, 100, 200)
    ticks: dict[float, str] = {}
    for resolution in rounds:
        at = 1 / resolution
        if at <= highest * 1.001 and all(abs(at - t) > highest * 0.07 for t in ticks):
            ticks[at] = str(resolution)
    return Axis(0.0, highest, "resolution (Å)", ticks)


def consensus_fsc(table: pd.DataFrame, resolution: float | None = None) -> Markup:
    """Half-map FSC, unmasked and, where given, masked and corrected for the mask.

    `resolution` in Å is marked.
    """
    x = table["frequency_per_angstrom"].tolist()
    named = {"fsc_masked": ("masked", BLUE, False), "fsc": ("unmasked", GREY, True)}
    if "fsc_corrected" in table:
        named = {
            "fsc_corrected": ("corrected", BLUE, False),
            "fsc_masked": ("masked", GREEN, True),
            "fsc": ("unmasked", GREY, True),
        }
    curves = [
        Series(label, x, table[column].tolist(), colour, dashed)
        for column, (label, colour, dashed) in named.items()
        if column in table and table[column].notna().any()
    ]
    return fsc(curves, at=resolution, title="Fourier shell correlation of the half-maps")


def spectrum(table: pd.DataFrame) -> Markup:
    """Share of the variance that each linear component explains."""
    share = table["fraction"] if "fraction" in table else table["eigenvalue"]
    values = share.to_numpy(dtype=float) * (100 if "fraction" in table else 1)
    edges = np.arange(len(values) + 1) + 0.5
    ticks = {float(i): str(i) for i in range(1, len(values) + 1)}
    x = Axis(0.5, len(values) + 0.5, "component", ticks)
    y = axis(values.tolist(), "variance (%)", zero=True)
    return charts.bars(edges.tolist(), values.tolist(), x, y, title="Spectrum of the linear model")


_LOSSES = {
    "loss": ("training", BLUE, False),
    "validation": ("held-out tilts", ORANGE, False),
}


def losses(metrics: pd.DataFrame, verdict: tuple[float, str] | None = None) -> Markup | None:
    """Training and held-out loss; the epochs since `verdict` (epoch, status) are shaded."""
    epochs = (
        metrics["epoch"].to_numpy(dtype=float) if "epoch" in metrics else np.arange(len(metrics))
    )
    curves = [
        Series(label, epochs.tolist(), metrics[column].astype(float).tolist(), colour, dashed)
        for column, (label, colour, dashed) in _LOSSES.items()
        if column in metrics and metrics[column].notna().any()
    ]
    if not curves or not len(epochs):
        return None
    y = axis([v for c in curves for v in _settled_range(c.y)], "loss per coefficient")
    x = _epoch_axis(epochs.tolist())
    return charts.lines(curves, x, y, bands=_since(verdict, x), title="Loss by epoch")


def _epoch_axis(epochs: Sequence[float]) -> Axis:
    low, high = min(epochs), max(max(epochs), min(epochs) + 1)
    rounded = axis([low, high], "epoch").ticks
    whole = {t: s for t, s in rounded.items() if low <= t <= high and t == round(t)}
    return Axis(low, high, "epoch", {t: f"{t:g}" for t in whole})


def _since(verdict: tuple[float, str] | None, x: Axis) -> list[tuple[float, float, str]]:
    return [] if verdict is None else [(max(verdict[0], x.low), x.high, verdict[1])]


def _settled_range(values: Sequence[float]) -> list[float]:
    """Values without the steep start, which would flatten everything after it."""
    late = [v for v in values[min(1, len(values) - 1) :] if np.isfinite(v)]
    return late or [v for v in values if np.isfinite(v)]


def by_epoch(
    epochs: Sequence[float],
    values: Sequence[float | None],
    label: str,
    limit: float | None,
    verdict: tuple[float, str] | None = None,
) -> Markup | None:
    """One measure of convergence by epoch with the limit it has to meet; None without any value."""
    known = [(float(e), float(v)) for e, v in zip(epochs, values, strict=False) if v is not None]
    known = [(e, v) for e, v in known if np.isfinite(v)]
    if not known:
        return None
    x, y = _epoch_axis([e for e, _ in known]), [v for _, v in known]
    curve = Series(label, [e for e, _ in known], y, BLUE, points=len(known) < 40)
    levels = [] if limit is None else [(limit, f"limit {limit:g}")]
    vertical = axis(y if limit is None else [*y, limit], label)
    bands = _since(verdict, x)
    return charts.lines([curve], x, vertical, levels=levels, bands=bands, title=f"{label} by epoch")


def per_tomogram(tomograms: pd.Series[Any], groups: pd.Series[Any], names: Sequence[str]) -> Markup:
    """Particles of each group in every tomogram, of many the fullest, and how many others."""
    counts = pd.crosstab(tomograms.astype(str), groups)
    counts, note = _fullest(counts.reindex(columns=range(len(names)), fill_value=0))
    rows = [str(i) for i in counts.index]
    title = "Particles of each cluster by tomogram"
    return charts.stacked(
        rows, counts.to_numpy().tolist(), names, categories(len(names)), title=title, note=note
    )


def tomogram_counts(tomograms: pd.Series[Any]) -> Markup | None:
    """Particles of every tomogram; None of more tomograms than a chart names."""
    counts = tomograms.astype(str).value_counts().sort_index()
    if len(counts) > _MOST_TOMOGRAMS:
        return None
    return charts.stacked(
        [str(i) for i in counts.index],
        [[count] for count in counts.tolist()],
        ["particles"],
        [BLUE],
        title="Particles by tomogram",
    )


def tomogram_spread(tomograms: pd.Series[Any]) -> Markup | None:
    """How full the tomograms are, where they are too many to be named; else None."""
    counts = tomograms.astype(str).value_counts()
    if len(counts) <= _MOST_TOMOGRAMS:
        return None
    return histogram(counts.to_numpy(), "particles in a tomogram", "tomograms")


def _fullest(counts: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The fullest rows in their order, and a note on all others."""
    left = len(counts) - _MOST_TOMOGRAMS
    if left <= 0:
        return counts, ""
    fullest = counts.index.isin(counts.sum(axis=1).nlargest(_MOST_TOMOGRAMS).index)
    others = int(counts[~fullest].to_numpy().sum())
    return counts[fullest], f"and {left:,} tomograms with {others:,} particles in all, not shown"


def cluster_fsc(table: pd.DataFrame, *, title: str = "Half-map FSC of each cluster") -> Markup:
    """FSC of every cluster; columns cluster, frequency_per_angstrom, fsc."""
    curves = [
        Series(f"cluster {label}", part["frequency_per_angstrom"].tolist(), part["fsc"].tolist(),
               category(int(str(label))))
        for label, part in table.groupby("cluster")
    ]  # fmt: skip
    return fsc(curves, crossing=False, title=title)


def against_truth(true: Sequence[float], found: Sequence[float], name: str) -> Markup:
    """A recovered coordinate against the true one."""
    x, y = axis(true, "true coordinate"), axis(found, name)
    return charts.dots(true, found, [GREEN] * len(true), x, y, title=f"{name} against the truth")


def state_fsc(curves: dict[str, tuple[list[float], list[float]]]) -> Markup:
    """FSC of the recovered map of each state with its true map, by (frequency, FSC)."""
    series = [
        Series(name, x, y, category(i)) for i, (name, (x, y)) in enumerate(sorted(curves.items()))
    ]
    return fsc(series, crossing=False, title="FSC with the true map of each state")


__all__ = [
    "against_truth",
    "by_epoch",
    "cluster_fsc",
    "consensus_fsc",
    "histogram",
    "losses",
    "per_tomogram",
    "spectrum",
    "state_fsc",
    "tomogram_counts",
    "tomogram_spread",
]
