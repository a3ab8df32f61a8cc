"""Measure what runs cost and write it into the docs: `python -m benchmarks.scale`.

With `--bounded` every step runs on a store of 6.4 GB under a limit of 2 GB instead (an hour), with
`--analysis` clusters and coordinates of up to 200,000 particles are looked for.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.docs import write_section
from benchmarks.scale import analysis, bounded
from benchmarks.scale.costs import (
    AXES,
    BASE,
    PARTS,
    SCALED,
    Row,
    along,
    exponent,
    kept_coefficients,
    measure,
    parts_of,
)
from benchmarks.scale.measure import Cost
from benchmarks.scale.sets import Size
from tomopipe.reconstruct.falloff import MOST_IMAGES
from tomopipe.report.provenance import duration

_MEANING = {
    "prepare": "prepare",
    "falloff": "prepare: falloff of the signal, two passes",
    "consensus": "consensus",
    "statistics": "linear: statistics",
    "round": "linear: a round",
    "epoch": "train: an epoch with its embedding",
}
# steps of a run: parts, and how often each is done by default
_STEPS = {
    "prepare": {"prepare": 1},
    "prepare: falloff of the signal, two passes": {"falloff": 1},
    "consensus": {"consensus": 1},
    "linear model, 6 components, 30 rounds": {"statistics": 1, "round": 30},
    "network, 10 epochs": {"epoch": 10},
}


def main() -> None:
    """Measure, print and put the tables between their markers in docs/benchmarks/cost.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="keep the sets here")
    parser.add_argument("--bounded", action="store_true", help="memory under a limit, at 6.4 GB")
    parser.add_argument("--analysis", action="store_true", help="clusters of many particles")
    parser.add_argument("--no-docs", action="store_true", help="print the tables only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        if options.analysis:
            name, text = "scale analysis", analysis.table(analysis.measure())
        elif options.bounded:
            costs = bounded.measure(work)
            store = bounded.LARGE.folder(work) / "dataset" / "store"
            lines = streaming_line(bounded.streaming(store), bounded.training(store))
            name, text = "scale bounded", f"{bounded_table(costs)}\n\n{lines}"
        else:
            rows = measure(work)
            name, text = "scale", f"{cost_table(rows)}\n\n{estimate(rows)}"
    text = f"{machine()}\n\n{text}"
    print(text)
    if not options.no_docs:
        write_section(name, text)


def cost_table(rows: Sequence[Row]) -> str:
    """Cost of the base set, its exponents along each axis, and time per million coefficients."""
    lines = [
        f"Base: {BASE.particles} particles, {BASE.tilts} tilts, box {BASE.box}, K 6, z 8. "
        "Exponents are slopes of log seconds over log of what varies (values in the head). The "
        "last columns fit seconds = start + a x kept coefficients + b x box^3 to all sizes.",
        "",
        "| part | base, s | own memory, GB | "
        + " | ".join(f"{a} {', '.join(map(str, v))}" for a, v in AXES.items())
        + " | start, s | s per 10^6 coefficients | s per 10^6 voxels |",
        "|---|" + "--:|" * (len(AXES) + 5),
    ]
    for part in PARTS:
        base = along(rows, part, "particles")[1][1]
        cells = [_exponent_cell(rows, part, axis) for axis in AXES]
        start, per_coefficient, per_voxel = parts_of(rows, part)
        lines.append(
            f"| {_MEANING[part]} | {base.seconds:.3g} | {base.own_gb:.2f} | {' | '.join(cells)} | "
            f"{start:.2f} | {per_coefficient:.3f} | {per_voxel:.2f} |"
        )
    return "\n".join(lines)


def _exponent_cell(rows: Sequence[Row], part: str, axis: str) -> str:
    found = along(rows, part, axis)
    if len(found) < 2:
        return ""
    return f"{exponent([x for x, _ in found], [row.seconds for _, row in found]):.2f}"


def estimate(rows: Sequence[Row]) -> str:
    """What large sets would take, from the slopes; one core, and shared by 64."""
    kept = [kept_coefficients(size) / 1e9 for size in SCALED]
    few, many = SCALED
    lines = [
        f"Scaled, not measured: {few.tilts} tilts, box {few.box}, 3 Å and 3 e/Å² a tilt "
        f"({kept[0]:.2g} and {kept[1]:.2g} x 10^9 kept coefficients), from the slopes above.",
        "",
        f"| step | {few.particles:,} particles, one core | {many.particles:,}, one core | "
        f"{many.particles:,}, 64 processes of a core each |",
        "|---|--:|--:|--:|",
    ]
    for name, parts in _STEPS.items():
        first, second = (
            sum(times * part_seconds(rows, part, size) for part, times in parts.items())
            for size in SCALED
        )
        lines.append(
            f"| {name} | {duration(first)} | {duration(second)} | {duration(second / 64)} |"
        )
    return "\n".join(lines)


def part_seconds(rows: Sequence[Row], part: str, size: Size) -> float:
    """Seconds of one part at a size, from the slopes."""
    start, per_coefficient, per_voxel = parts_of(rows, part)
    images = size.particles * size.tilts
    share = min(MOST_IMAGES / images, 1.0) if part == "falloff" else 1.0  # it looks at no more
    million = kept_coefficients(size) / 1e6
    return start + per_coefficient * million * share + per_voxel * size.box**3 / 1e6


def bounded_table(costs: dict[str, Cost]) -> str:
    """Peak memory of each step under the limit."""
    size = bounded.LARGE
    lines = [
        f"{size.particles} particles x {size.tilts} tilts, box {size.box}, all coefficients kept "
        f"(store 6.4 GB). RLIMIT_DATA {bounded.LIMIT_GB:g} GB for each process; own: largest sum "
        "of anonymous pages (`/proc/PID/smaps_rollup`, every 0.05 s). Parts of the particles: "
        + ", ".join(f"{name} 1/{part}" for name, part in bounded.PARTS.items())
        + ".",
        "",
        "| step | time | own, GB | resident with mapped files, GB |",
        "|---|--:|--:|--:|",
    ]
    lines += [
        f"| {name} | {c.seconds:.0f} s | {c.own_gb:.2f} | {c.resident_gb:.2f} |"
        for name, c in costs.items()
    ]
    return "\n".join(lines)


def streaming_line(speeds: dict[str, float], steps: dict[str, float]) -> str:
    """How fast training batches, and training steps, come from disk and from memory."""
    shown = ", ".join(f"{name} {speed:.1f}" for name, speed in speeds.items())
    share = 100 * speeds["disk"] / speeds["memory"]
    ratio = 100 * steps["memory"] / steps["disk"]
    return (
        f"Batches of 8 random particles of that store, 10^6 coefficients a second: {shown}. From "
        f"disk just after its pages were dropped: {share:.0f} % of the speed from memory. A "
        f"training step on particles from disk takes {steps['disk']:.3f} s, from memory "
        f"{steps['memory']:.3f} s: {ratio:.0f} % of the speed from memory."
    )


def machine() -> str:
    """What it ran on, and when."""
    cores = len(os.sched_getaffinity(0))
    return f"One thread, {cores} cores, {platform.machine()}, {datetime.now(UTC):%Y-%m-%d}"


if __name__ == "__main__":
    main()
