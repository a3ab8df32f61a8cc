"""Plots of the benchmark: quality of every method beside the bounds, and against seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt

from benchmarks.heterogeneity.report import Groups, parts
from benchmarks.heterogeneity.report import quality as measure

_BOUNDS = {"oracle": ("black", "-"), "supervised": ("black", ":")}


def write_plots(groups: Groups, folder: Path) -> dict[str, str]:
    """Write the SVG files; their names with what they show."""
    folder.mkdir(parents=True, exist_ok=True)
    # no date and no random ids: the same figures give the same file
    plt.rcParams.update({"svg.hashsalt": "tomopipe", "font.size": 8, "svg.fonttype": "none"})
    methods = [m for m in dict.fromkeys(m for g in groups.values() for m in g) if m not in _BOUNDS]
    colours = {m: f"C{i}" for i, m in enumerate(methods)}
    written = {}
    for (source, box, noise), part in parts(groups).items():
        end = f"{source}_{box}_{noise.replace(' ', '_')}.svg"
        quality(part, colours, folder / f"quality_{end}")
        written[f"quality_{end}"] = f"Quality per set, {source}, box {box}, {noise}"
        if seconds(part, colours, folder / f"seconds_{end}"):
            written[f"seconds_{end}"] = f"Quality against seconds, {source}, box {box}, {noise}"
    return written


def qualities(rows: list[Any]) -> list[float]:
    """The figure that tells most, of those rows that have it."""
    return [row[figure] for row in rows if (figure := measure(row)) in row]


def quality(part: dict[str, Any], colours: dict[str, str], path: Path) -> None:
    """Bars of the mean, whiskers from the lowest to the highest seed, lines at the bounds."""
    figure, axes = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
    width = 0.8 / max(len(colours), 1)
    for i, methods in enumerate(part.values()):
        for j, (method, colour) in enumerate(colours.items()):
            values = qualities(methods.get(method, []))
            if values:
                mean, x = np.mean(values), i - 0.4 + (j + 0.5) * width
                # a mean of equal values can be off by its last digit
                spread = np.clip([[mean - min(values)], [max(values) - mean]], 0, None)
                axes.bar(x, mean, width * 0.9, color=colour, yerr=spread, ecolor="grey")
        for bound, (colour, style) in _BOUNDS.items():
            values = qualities(methods.get(bound, []))
            if values:
                axes.hlines(np.mean(values), i - 0.42, i + 0.42, colour, style, lw=1)
    for method, colour in colours.items():
        axes.bar(0, 0, color=colour, label=method)
    for bound, (colour, style) in _BOUNDS.items():
        axes.plot([], [], style, color=colour, lw=1, label=bound)
    axes.set_xticks(range(len(part)), part)
    axes.set(ylim=(0, 1.05), ylabel="ARI (motions: Spearman)")
    figure.legend(loc="outside right upper", frameon=False)
    save(figure, path)


def seconds(part: dict[str, Any], colours: dict[str, str], path: Path) -> bool:
    """Quality against seconds: a dot per method, a line per seed of those that tell of epochs."""
    figure, grid = plt.subplots(
        1,
        len(part),
        figsize=(1.9 * len(part), 2.2),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    timed = False
    for axes, (name, methods) in zip(grid[0], part.items(), strict=True):
        for method, colour in colours.items():
            for row in methods.get(method, []):
                if (known := measure(row)) in row:
                    timed = True
                    axes.plot(row["seconds"], row[known], "o", ms=3, color=colour)
                    line = [(e["seconds"], e[known]) for e in row["epochs"]]
                    axes.plot(*zip(*line, strict=True) if line else ([], []), color=colour, lw=0.7)
        for bound, (colour, style) in _BOUNDS.items():
            values = qualities(methods.get(bound, []))
            if values:
                axes.axhline(np.mean(values), color=colour, ls=style, lw=0.8)
        axes.set(title=name, xscale="log", xlabel="seconds", ylim=(0, 1.05))
    grid[0][0].set_ylabel("ARI (motions: Spearman)")
    if timed:
        save(figure, path)
    else:
        plt.close(figure)
    return timed


def save(figure: Any, path: Path) -> None:
    """Write a figure without its date."""
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
