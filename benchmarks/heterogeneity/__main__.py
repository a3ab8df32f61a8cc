"""Run the benchmark and write its table: `python -m benchmarks.heterogeneity --quick`."""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.heterogeneity.bounds import bounds
from benchmarks.heterogeneity.methods import ALL, QUICK, timed
from benchmarks.heterogeneity.scores import scores
from benchmarks.heterogeneity.sets import SETS, SNR, make
from tomopipe.io.atomic import write_json, write_text

HERE = Path(__file__).parents[1]
DOCS = HERE.parent / "docs" / "benchmarks.md"
COLUMNS = (
    "ari",
    "kmeans_ari",
    "gmm_ari",
    "linear_accuracy",
    "neighbours",
    "rare_precision",
    "rare_recall",
    "spearman",
    "fsc_area",
    "seconds",
)


def main() -> None:
    """Measure, keep every figure in results.json, and put the means into the docs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="linear model and bounds only")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--noise", nargs="+", default=["high noise"], choices=list(SNR))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--box", type=int, default=32)
    parser.add_argument("--work", type=Path, help="keep simulated sets here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(options, options.work or Path(temporary))
    record = {"machine": machine(), "box": options.box, "rows": rows}
    write_json(HERE / "results.json", record)
    write_docs(f"{machine()}\n\n{table(rows)}")


def measure(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """A row per set, noise level, seed and method (bounds are methods of their own)."""
    rows: list[dict[str, Any]] = []
    for noise in options.noise:
        for name in options.sets:
            for seed in range(options.seeds):
                made = make(name, noise, seed, options.box, work)
                keys = {"set": name, "noise": noise, "seed": seed}
                if name != "motion":
                    for bound, figures in bounds(made).items():
                        rows.append(keys | {"method": bound} | figures)
                for method, run in (QUICK if options.quick else ALL).items():
                    out = made.folder / "fits" / method.replace(" ", "_") / "model"
                    seconds = timed(run, made, out)
                    rows.append(keys | {"method": method, "seconds": seconds} | scores(made, out))
                    print(rows[-1], flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Means over seeds as a Markdown table, the spread behind the ARI."""
    lines = [
        "| set | noise | method | seeds | " + " | ".join(COLUMNS) + " |",
        "|---|---|---|--:|" + "--:|" * len(COLUMNS),
    ]
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["noise"], row["method"]), []).append(row)
    for (name, noise, method), members in groups.items():
        cells = [cell([m[c] for m in members if c in m], c) for c in COLUMNS]
        lines.append(
            f"| {name} | {noise} | {method} | {len(members)} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def cell(values: list[float], column: str) -> str:
    """Mean of the values; with lowest and highest for the ARI."""
    if not values:
        return ""
    if column == "seconds":
        return f"{np.mean(values):.0f}"
    text = f"{np.mean(values):.2f}"
    return f"{text} ({min(values):.2f}–{max(values):.2f})" if column == "ari" else text


def machine() -> str:
    """What it ran on, when, and at which commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores, {platform.machine()}, {datetime.now(UTC):%Y-%m-%d}, commit {commit}, "
        f"peak memory {peak:.1f} GB"
    )


def write_docs(text: str) -> None:
    """Replace what stands between the markers in docs/benchmarks.md."""
    begin, end = "<!-- begin heterogeneity -->", "<!-- end heterogeneity -->"
    docs = DOCS.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    write_text(DOCS, pattern.sub(lambda _: f"{begin}\n{text}\n{end}", docs))


if __name__ == "__main__":
    main()
