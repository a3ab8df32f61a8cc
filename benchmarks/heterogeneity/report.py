"""The table and the plots of the benchmark, from its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.docs import DOCS, write_section
from benchmarks.heterogeneity.sets import SETS, STANDARD

HERE = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
Groups = dict[tuple[Any, ...], dict[str, list[Row]]]
BOUNDS = ("oracle", "supervised")
NETWORKS = ("split from linear", "split alone", "reference")
SEEDS = 3
WARM = NETWORKS[0]
# methods of the small tables, and what they are called there
SHOWN = {
    "default": "`fit` (the default)",
    "linear": "the linear model alone",
    "split from linear": "the network, from the linear model",
    "split alone": "the network alone",
    "reference": "tomoDRGN's objective",
    "supervised": "bound: true labels of the other four fifths",
    "oracle": "bound: true volumes",
}

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

    groups = grouped(related(rows))
    plots = write_plots(groups, DOCS / "benchmarks")
    pictures = "\n".join(f"![{alt}]({name})" for name, alt in plots.items())
    write_section("heterogeneity", f"{machine}\n\n{table(groups)}\n\n{pictures}")
    write_section("heterogeneity summary", f"{small_tables(groups, told)}\n\n{coverage(groups)}")
    write_section("heterogeneity volumes", small_tables(groups, drawn))
    write_section("heterogeneity held out", predictions(groups))


def small_tables(groups: Groups, said: Callable[[Sequence[Row]], str]) -> str:
    """A table for each box and noise: what is `said` of each method on each of the usual sets."""
    from benchmarks.heterogeneity.plots import parts

    tables = []
    for (source, box, noise), part in parts(groups).items():
        sets = [name for name in STANDARD if name in part]
        if source != "templates" or not sets:
            continue
        lines = [f"| box {box}, {noise} | {' | '.join(sets)} |", "|---|" + "--:|" * len(sets)]
        for method, words in SHOWN.items():
            cells = [said(part[name].get(method, [])) for name in sets]
            lines += [f"| {words} | {' | '.join(cells)} |"] if any(cells) else []
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def told(rows: Sequence[Row]) -> str:
    """Mean ARI, or order of a motion, with the seconds that it took, and fewer seeds than usual."""
    if not rows:
        return ""
    order = "spearman" in rows[0]
    figures = [row["spearman"] if order else row.get("ari_auto", row["ari"]) for row in rows]
    text = mean(figures, 3 if order else 2)
    if "seconds" in rows[0]:
        text += f" in {mean([row['seconds'] for row in rows], 0)} s"
    return text + few(rows)


def drawn(rows: Sequence[Row]) -> str:
    """Mean FSC area of the particles' volumes."""
    known = [row["fsc_area"] for row in rows if "fsc_area" in row]
    return mean(known, 3) + few(rows) if known else ""


def predictions(groups: Groups) -> str:
    """Mean gain of networks over their linear model on held-out tilts, in standard errors too."""
    lines = [f"| | {' | '.join(STANDARD)} |", "|---|" + "--:|" * len(STANDARD)]
    for box, noise in dict.fromkeys((place[1], place[2]) for place in groups):
        cells = []
        for name in STANDARD:
            methods = groups.get(("templates", box, noise, name), {})
            known = [row for row in methods.get(WARM, []) if row.get("heldout_gain") is not None]
            gain, errors = ([row[f"heldout_{k}"] for row in known] for k in ("gain", "sigmas"))
            told = f"{np.mean(gain):+.3f} ({np.mean(errors):+.1f}){few(known)}" if known else ""
            cells.append(told)
        lines.append(f"| box {box}, {noise} | {' | '.join(cells)} |")
    return "\n".join(lines)


def mean(values: Sequence[float], digits: int) -> str:
    """Mean as text."""
    return f"{np.mean(values):.{digits}f}"


def few(rows: Sequence[Row]) -> str:
    """How many seeds there are, if they are fewer than usual."""
    return "" if len(rows) >= SEEDS else f" ({len(rows)} {'seed' if len(rows) == 1 else 'seeds'})"


def coverage(groups: Groups) -> str:
    """How many runs of networks there are, of those of all sets, boxes, noises and seeds."""
    places = [p for p in groups if p[0] == "templates" and p[3] in STANDARD]
    measured = [len(groups[p].get(m, [])) for p in places for m in NETWORKS]
    return f"Runs of networks: {sum(measured)} of {SEEDS * len(NETWORKS) * len(places)}."


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
