"""The table and the plots of the benchmark, from its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.docs import DOCS, write_section
from benchmarks.heterogeneity.sets import SETS

HERE = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
Groups = dict[tuple[Any, ...], dict[str, list[Row]]]
BOUNDS = ("oracle", "supervised")

# columns of the table and how they are written: digits
COLUMNS = {
    "ari": 2,
    "ari_auto": 2,
    "kmeans_ari": 2,
    "gmm_ari": 2,
    "of_oracle": 2,
    "of_supervised": 2,
    "linear_accuracy": 2,
    "neighbours": 2,
    "fsc_area": 2,
    "spearman": 2,
    "path_ratio": 2,
    "rare_precision": 2,
    "rare_recall": 2,
    "junk_precision": 2,
    "junk_recall": 2,
    "heldout_gain": 2,
    "heldout_sigmas": 1,
    "seconds": 0,
    "to_target": 0,
    "memory_gb": 1,
}
_TARGET = 0.95  # of the supervised bound's ARI or order


def write_report(machine: str, rows: Sequence[Row]) -> None:
    """Put the tables between their markers in the docs, and the plots beside the pages."""
    from benchmarks.heterogeneity.plots import write_plots
    from benchmarks.heterogeneity.tables import small_tables

    groups = grouped(related(rows))
    plots = write_plots(groups, DOCS / "benchmarks")
    pictures = "\n".join(f"![{alt}]({name})" for name, alt in plots.items())
    write_section("heterogeneity", f"{machine}\n\n{table(groups)}\n\n{pictures}")
    for name, text in small_tables(groups).items():
        write_section(name, text)


def related(rows: Sequence[Row]) -> list[Row]:
    """Rows of methods and bounds, with their share of the bounds and the seconds to the target."""
    known = {(*place(row), row["seed"], row["method"]): row.get(quality(row)) for row in rows}
    out = []
    for row in rows:
        if row["method"] == "bounds":
            continue
        more: Row = {}
        measure = quality(row)
        for bound in BOUNDS:
            limit = known.get((*place(row), row["seed"], bound))
            if limit and row["method"] not in BOUNDS:
                more[f"of_{bound}"] = row[measure] / limit
        limit = known.get((*place(row), row["seed"], "supervised"))
        if limit and "seconds" in row:
            reached = [e for e in row["epochs"] if e[measure] >= _TARGET * limit]
            if reached:
                more["to_target"] = reached[0]["seconds"]
            elif row[measure] >= _TARGET * limit:
                more["to_target"] = row["seconds"]
        out.append(row | more)
    return out


def quality(row: Row) -> str:
    """The figure that bounds are compared by: the order of a motion, else the ARI."""
    return "ari" if "ari" in row else "spearman"


def place(row: Row) -> tuple[Any, ...]:
    """The kind of set that a row belongs to, seeds aside."""
    return row["source"], row["box"], row["noise"], row["set"]


def grouped(rows: Sequence[Row]) -> Groups:
    """Rows by kind of set, then by method, bounds first."""
    groups: Groups = {}
    for row in sorted(rows, key=lambda r: r["method"] not in BOUNDS):
        groups.setdefault(place(row), {}).setdefault(row["method"], []).append(row)
    return dict(sorted(groups.items(), key=lambda item: (*item[0][:3], _order(item[0][3]))))


def parts(groups: Groups) -> dict[tuple[str, int, str], dict[str, dict[str, list[Row]]]]:
    """Groups by source, box and noise, then set and method."""
    out: dict[tuple[str, int, str], dict[str, dict[str, list[Row]]]] = {}
    for (source, box, noise, name), methods in groups.items():
        out.setdefault((source, box, noise), {})[name] = methods
    return out


def _order(name: str) -> int:
    return SETS.index(name)


def table(groups: Groups) -> str:
    """Means over seeds as a Markdown table, with the spread behind the ARI; no empty columns."""
    all_rows = [row for methods in groups.values() for rows in methods.values() for row in rows]
    columns = [c for c in COLUMNS if any(c in row for row in all_rows)]
    lines = [
        "| set | of | box | noise | method | seeds | " + " | ".join(columns) + " | on |",
        "|---|---|--:|---|---|--:|" + "--:|" * len(columns) + "---|",
    ]
    for (source, box, noise, name), methods in groups.items():
        for method, rows in methods.items():
            head = f"| {name} | {source} | {box} | {noise} | {method} | {len(rows)} | "
            lines.append(
                head + " | ".join(cell(rows, c) for c in columns) + f" | {timed_on(rows)} |"
            )
    return "\n".join(lines)


def timed_on(rows: Sequence[Row]) -> str:
    """Processors that methods were timed on; seconds of different ones are no comparison."""
    return "; ".join(sorted({row["on"] for row in rows if "on" in row and "seconds" in row}))


def cell(rows: Sequence[Row], column: str) -> str:
    """Mean over the seeds; lowest and highest for the ARI; – where not all seeds got there."""
    values = [row[column] for row in rows if row.get(column) is not None]
    if column == "to_target" and len(values) < len(rows):
        measured = any("of_supervised" in row for row in rows)
        return "–" if measured else ""
    if not values:
        return ""
    digits = COLUMNS[column]
    text = f"{np.mean(values):.{digits}f}"
    if column == "ari":
        return f"{text} ({min(values):.{digits}f}–{max(values):.{digits}f})"
    return text
