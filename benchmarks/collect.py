"""Write time and peak memory of every rule, from Snakemake's benchmark files, into the docs.

    python -m benchmarks.collect results/demo results/sim_ribosome

replaces one table per results folder in docs/benchmarks/cost.md, between its markers; the rest of
that file is written by hand. Run it on the machine where the results were made.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.docs import write_section


@dataclass(frozen=True)
class Measured:
    """One benchmark file: step, wall seconds, peak resident memory (MB; NaN unknown)."""

    step: str
    seconds: float
    memory_mb: float


def read_benchmarks(results: Path) -> list[Measured]:
    """Read the benchmark files of a results folder, in the order in which the rules finished."""
    root = results / "benchmarks"
    files = sorted(root.rglob("*.tsv"), key=lambda file: file.stat().st_mtime)
    return [read_one(file, str(file.relative_to(root).with_suffix(""))) for file in files]


def read_one(file: Path, step: str) -> Measured:
    """Read one benchmark file; the mean of its rows."""
    with file.open(newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    return Measured(step, *(mean(rows, name) for name in ("s", "max_rss")))


def mean(rows: Sequence[dict[str, str]], name: str) -> float:
    """Mean of a column; rules too short to be measured have '-' or 'NA' there."""
    values = [float(r[name]) for r in rows if re.fullmatch(r"[\d.]+(e-?\d+)?", r.get(name) or "")]
    return sum(values) / len(values) if values else float("nan")


def table(results: Path, measured: Sequence[Measured]) -> str:
    """Markdown table of one results folder."""
    lines = [
        f"### `{results}`",
        "",
        f"{machine()}. {minutes(sum(m.seconds for m in measured))} in all, "
        f"peak {max(m.memory_mb for m in measured if m.memory_mb == m.memory_mb):.0f} MB.",
        "",
        "| step | time | peak memory |",
        "|---|--:|--:|",
    ]
    for one in measured:
        lines.append(f"| {one.step} | {minutes(one.seconds)} | {megabytes(one.memory_mb)} |")
    return "\n".join(lines)


def machine() -> str:
    """Name the machine in a few words."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.+)", info.read_text())):
        cpu = found[1]
    return f"{os.cpu_count()} cores ({cpu}), Python {platform.python_version()}"


def minutes(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def megabytes(value: float) -> str:
    """Memory, or a dash where the rule was too short to be measured."""
    return "–" if value != value else f"{value:.0f} MB"


def main() -> None:
    """Collect the given results folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+")
    args = parser.parse_args()
    for results in args.results:
        measured = read_benchmarks(results)
        if not measured:
            parser.error(f"{results}/benchmarks holds no .tsv file: run the workflow first")
        write_section(str(results), table(results, measured))


if __name__ == "__main__":
    main()
