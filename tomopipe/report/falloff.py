"""How the signal falls with tilt, dose and tomogram (`falloff.json`), in words and charts.

The signal of an image at frequency k is that of the model times

    exp(-thickness (1 / cos(tilt) - 1) - (dose N + B) k^2 / 4),

N its accumulated dose and B the B-factor of its tomogram (`reconstruct/falloff.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from tomopipe.report import charts, figures
from tomopipe.report.axes import axis
from tomopipe.report.charts import Series
from tomopipe.report.intervals import Interval, intervals
from tomopipe.report.palette import BLUE, ORANGE
from tomopipe.report.records import DatasetRecord
from tomopipe.report.words import count, percent

Array = npt.NDArray[np.float64]
Found = Mapping[str, Any]

_TILT = 60.0  # degrees; of which the sentence tells where images are tilted as far
_STEEPEST = 75.0  # degrees; the measurement takes steeper images for this
_WEAK = 0.5  # share of the median's signal below which the alignment deserves a look
_MOST_ROWS = 40  # tomograms that a chart names
_COLUMNS = ["bfactor_A2", "error", "used"]


def falloff_sentence(dataset: DatasetRecord) -> str:
    """What was found, that models know of it, and whose alignment to check; else nothing.

    Shares come from the numbers that models use, at the resolution (Å) of the measurement.
    """
    found = dataset.falloff
    if found is None:
        return ""
    resolution = found.get("resolution_angstrom")
    if resolution is None:
        reason = found.get("reason") or "the half-maps agree in too few shells"
        return f"How the signal falls with tilt, dose and tomogram could not be measured: {reason}."
    tomograms = tomogram_table(found)
    parts = [_tilt_words(dataset), _dose_words(dataset), _tomogram_words(tomograms)]
    said = [part for part in parts if part]
    if not said:
        return (
            f"Tilt, dose and tomograms show the signal as modelled, to {resolution:.1f} Å: nothing "
            "differs beyond its error."
        )
    return (
        "The signal is not all as CTF and usual radiation damage explain it: at "
        f"{resolution:.1f} Å, {_joined(said)}. Models take this into account{_advice(tomograms)}."
    )


def _joined(parts: list[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _tilt_words(dataset: DatasetRecord) -> str:
    thickness = _used(dataset.falloff, "thickness")
    if thickness is None:
        return ""
    tilt = min(_TILT, _largest(dataset.images, "tilt_degrees") or _TILT)
    share = float(thickness_share(thickness, np.array(tilt)))
    return f"images at {tilt:.0f}° tilt show {percent(share, 1)} of the signal of untilted ones"


def _dose_words(dataset: DatasetRecord) -> str:
    found, dose = dataset.falloff or {}, _used(dataset.falloff, "dose")
    if dose is None:
        return ""
    most = _largest(dataset.images, "dose_e_per_A2")
    if most is None:
        return f"dose adds a B-factor of {dose:.3g} Å² for each e⁻/Å²"
    share = float(bfactor_share(dose * np.array(most), found["resolution_angstrom"]))
    return f"images at {most:.3g} e⁻/Å² show {percent(share, 1)} of that of unexposed ones"


def _tomogram_words(tomograms: pd.DataFrame) -> str:
    if not len(tomograms):
        return ""
    farthest = str(np.abs(np.log(tomograms["share"])).idxmax())
    share = percent(float(tomograms["share"][farthest]), 1)
    return f"tomogram {farthest} shows {share} of that of the median tomogram"


def _advice(tomograms: pd.DataFrame) -> str:
    """The end of the sentence: which tomograms to look at; of many, the worst and how many."""
    weak = tomograms[tomograms["share"] < _WEAK]
    if not len(weak):
        return ""
    if len(weak) == 1:
        named, shows = str(weak.index[0]), "it keeps"
    else:
        others = count(len(weak) - 1, "more tomogram")
        named, shows = f"{weak['share'].idxmin()} and of {others}", "they keep"
    return f", but look at the alignment of {named}: {shows} less than half of the median's signal"


def falloff_figures(dataset: DatasetRecord) -> list[tuple[str, Markup]]:
    """Heading and chart of each term that was found; none of what models do not use."""
    found = dataset.falloff or {}
    thickness, dose = _used(found, "thickness"), _used(found, "dose")
    most = _largest(dataset.images, "dose_e_per_A2")
    shown: list[tuple[str, Markup]] = []
    if thickness is not None:
        steepest = min(_largest(dataset.images, "tilt_degrees") or _TILT, _STEEPEST)
        tilts = np.linspace(0, steepest, 31)
        figure = _share_chart(tilts, thickness_share(thickness, tilts), "tilt (°)")
        shown.append(("Signal left by tilt", figure))
    if dose is not None and most is not None:
        doses = np.linspace(0, most, 31)
        share = bfactor_share(dose * doses, found["resolution_angstrom"])
        figure = _share_chart(doses, share, "accumulated dose (e⁻/Å²)")
        shown.append((f"Signal left by dose, at {_resolution(found)}", figure))
    tomograms = _tomogram_chart(found)
    if tomograms is not None:
        shown.append(("B-factors of tomograms", tomograms))
    return shown


def _share_chart(at: Array, share: Array, label: str) -> Markup:
    curve = Series("% of the signal left", at.tolist(), (100 * share).tolist())
    x, y = axis(curve.x, label), axis([*curve.y, 100.0], "signal left (%)", zero=True)
    return charts.lines([curve], x, y, title=f"Share of the signal that is left, by {label}")


def _tomogram_chart(found: Found) -> Markup | None:
    """B-factors with their errors, the smallest first; of many tomograms their distribution."""
    table = tomogram_table(found)
    if not len(table):
        return None
    label = "B-factor against the mean (Å²)"
    if len(table) > _MOST_ROWS:
        return figures.histogram(table["bfactor_A2"], label, "tomograms")
    rows = [
        Interval(str(name), value, error, ORANGE if share < _WEAK else BLUE, f"{used:,.0f} Å² used")
        for name, value, error, used, share in table.itertuples(name=None)
    ]
    notes = []
    if (table["share"] < _WEAK).any():
        notes.append(f"orange: less than half of the median's signal at {_resolution(found)}")
    if left := len(found["tomograms"]) - len(table):
        notes.append(f"and {count(left, 'tomogram')} with too few particles, not shown")
    return intervals(rows, label, title="B-factor of each tomogram", notes=notes)


def _resolution(found: Found) -> str:
    return f"{found['resolution_angstrom']:.1f} Å"


def thickness_share(thickness: float, tilt: Array) -> Array:
    """Share of an untilted image's signal that is left at each `tilt` (degrees)."""
    share: Array = np.exp(-thickness * (1 / np.cos(np.deg2rad(tilt)) - 1))
    return share


def bfactor_share(bfactor: Array, resolution: float) -> Array:
    """Share of the signal that each B-factor (Å²) leaves at a resolution (Å)."""
    share: Array = np.exp(-bfactor / (4 * resolution**2))
    return share


def tomogram_table(found: Found) -> pd.DataFrame:
    """Tomograms whose error is known, by B-factor; empty where none is used.

    Returns
    -------
    pandas.DataFrame
        By name: `bfactor_A2`, `error` and `used` (Å²), and `share` of the median tomogram's signal
        at the resolution of the measurement.
    """
    rows = found.get("tomograms") or {}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS).astype(float)
    table = table.dropna().sort_values("bfactor_A2")
    if not (table["used"] != 0).any():
        table = table.head(0)
    against = (table["used"] - table["used"].median()).to_numpy(float)
    return table.assign(share=bfactor_share(against, found.get("resolution_angstrom") or np.inf))


def _used(found: Found | None, term: str) -> float | None:
    """What models use of a term; None where it was not found."""
    estimate = (found or {}).get(term)
    return None if estimate is None else float(estimate["used"])


def _largest(images: pd.DataFrame | None, column: str) -> float | None:
    """The largest magnitude in a column of images; None where none is known or above 0."""
    if images is None or column not in images:
        return None
    known = images[column].abs().max()
    return float(known) if known > 0 else None
