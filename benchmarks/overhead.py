"""What the engine itself costs: help, start-up of verbs, plans of many branches, share of a run.

    python -m benchmarks.overhead [--results results/demo]

writes benchmarks/results/overhead.json and a table in docs/benchmarks/cost.md. Each figure is the
least of several runs: processor seconds (user and system, children included), which other work on
the machine hardly changes, and wall seconds, which it does. `--results` adds what of a finished run
was start-up: run `snakemake --cores 1` on the same machine before.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.collect import read_benchmarks
from benchmarks.docs import write_section
from benchmarks.engine.measure import HERE, machine
from tomopipe.cli.main import VERBS
from tomopipe.io.atomic import write_json

ROOT = HERE.parent
CHECKOUT = {"PYTHONPATH": str(ROOT)}  # this one, whatever is installed
TOMOPIPE = (sys.executable, "-m", "tomopipe")
# verb: its first work, and its arguments on a tiny set, in the order in which they can run
STEPS: dict[str, tuple[str, str]] = {
    "simulate": (
        "tomopipe.simulate.particles:simulate_particles",
        "particles --out sim --particles 40 --box 16 --pixel-size-angstrom 20",
    ),
    "import": ("tomopipe.dataset.importer:import_star", "sim/particles.star --out data"),
    "prepare": ("tomopipe.dataset.prepare:prepare", "data --out data/store"),
    "select": ("tomopipe.analysis.select:select", "data --out run/selected.parquet"),
    "consensus": ("tomopipe.reconstruct.consensus:consensus", "data/store --out run/consensus"),
    "linear": (
        "tomopipe.training.linear:fit_linear",
        "data/store --components 2 --out run/linear",
    ),
    "analyze": (
        "tomopipe.analysis.analyze:analyze",
        "data/store run/linear --clusters 2 --out run/analysis",
    ),
    "classes": (
        "tomopipe.reconstruct.classes:validate_classes",
        "data/store run/analysis --out run/classes",
    ),
    "junk": (
        "tomopipe.analysis.junk:find_junk",
        "data/store --model run/linear --analysis run/analysis --consensus run/consensus "
        "--out run/junk.parquet",
    ),
    "decide": ("tomopipe.analysis.selection:settle", "run"),
    "export": ("tomopipe.dataset.export:export", "data run --out run/export"),
    "report": (
        "tomopipe.report.build:build_report",
        "results --config config.yaml --out report.html",
    ),
}
# Runs a verb up to the call of its first work.
UNTIL = """
import importlib, os, sys
module, name = sys.argv[1].split(":")
loaded = importlib.import_module(module)
getattr(loaded, name)
setattr(loaded, name, lambda *a, **k: os._exit(0))
from tomopipe.cli.main import main
sys.exit(main(sys.argv[2:]) or "the work was never called")
"""
BRANCHES = (1, 50, 100, 200)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--branches", nargs="+", type=int, default=list(BRANCHES))
    parser.add_argument("--results", type=Path, help="results folder of a finished run")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "overhead.json")
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        record: dict[str, Any] = {
            "machine": machine(torch.device("cpu")),
            "help": helps(options.repeats),
            "verbs": verbs(Path(work), options.repeats),
            "plans": [plan(Path(work), n, options.repeats) for n in options.branches],
        }
    if options.results:
        record["run"] = share(options.results, record["verbs"])
    write_json(options.out, record)
    print(table(record))
    if not options.no_docs:
        write_section("overhead", table(record))


def least(command: Sequence[str], folder: Path, repeats: int) -> dict[str, float]:
    """Least processor and wall seconds of a command; a failure stops the benchmark."""
    taken = []
    for _ in range(repeats):
        before, start = _children(), time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env=os.environ | CHECKOUT
        )
        wall = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
        taken.append((_children() - before, wall))
    return {"cpu_s": min(cpu for cpu, _ in taken), "wall_s": min(wall for _, wall in taken)}


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def helps(repeats: int) -> dict[str, Any]:
    """`--help` of the slowest verb."""
    taken = {verb: least([*TOMOPIPE, verb, "--help"], ROOT, repeats) for verb in VERBS}
    slowest = max(taken, key=lambda verb: taken[verb]["cpu_s"])
    return {"verb": slowest, "verbs": len(taken), **taken[slowest]}


def verbs(work: Path, repeats: int) -> list[dict[str, Any]]:
    """Seconds to the first work of verbs, and of their whole run on a tiny set."""
    (work / "results").mkdir()
    config = {
        "results": "results",
        "datasets": {"d": {"particles": "sim/particles.star"}},
        "branches": {"b": {"dataset": "d", "linear": {}}},
    }
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    rows = []
    for verb, (first, words) in STEPS.items():
        arguments = [verb, *words.split(), "--threads", "1"]
        until = [sys.executable, "-c", UNTIL, first, *arguments]
        whole = least([*TOMOPIPE, *arguments], work, 1)  # leaves what the next verb reads
        rows.append({"verb": verb, **least(until, work, repeats), "whole_cpu_s": whole["cpu_s"]})
        print(rows[-1], flush=True)
    return rows


def many_branches(count: int) -> dict[str, Any]:
    """A config of branches in rows of twenty, each the child of the one before."""
    stages: dict[str, Any] = {"consensus": {}, "linear": {}, "analysis": {}, "junk": {}}
    branches: dict[str, Any] = {}
    for i in range(count):
        start = {"parent": f"b{i - 1}", "select": {"junk": "auto"}} if i % 20 else {"dataset": "d"}
        branches[f"b{i}"] = start | {name: dict(settings) for name, settings in stages.items()}
    return {
        "results": "out",
        "datasets": {"d": {"particles": "particles.star"}},
        "branches": branches,
    }


def plan(work: Path, count: int, repeats: int) -> dict[str, Any]:
    """`snakemake -n` of a config with many branches."""
    config = work / f"branches_{count}.yaml"
    config.write_text(yaml.safe_dump(many_branches(count)))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    taken = least(
        [*command, "--configfile", str(config), "-n", "--quiet", "all"], work, min(repeats, 2)
    )
    print(count, taken, flush=True)
    return {"branches": count, **taken}


def share(results: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Wall seconds of a run's jobs, and processor seconds of the start-up of their verbs.

    Jobs of verbs that were not measured count with the largest start-up that was.
    """
    start = {row["verb"]: row["cpu_s"] for row in rows}
    measured = read_benchmarks(results)
    own = sum(start.get(Path(m.step).name, max(start.values())) for m in measured)
    whole = sum(m.seconds for m in measured)
    return {"results": str(results), "jobs": len(measured), "seconds": whole, "start_s": own}


def table(record: dict[str, Any]) -> str:
    """Markdown."""
    shown = record["help"]
    lines = [
        record["machine"],
        "",
        "| | processor s | wall s | asked |",
        "|---|--:|--:|--:|",
        f"| `tomopipe VERB --help`, slowest of {shown['verbs']} ({shown['verb']}) "
        f"| {shown['cpu_s']:.2f} | {shown['wall_s']:.2f} | ≤ 0.5 |",
    ]
    lines += [
        f"| `tomopipe {row['verb']}` to its first work; its whole run on 40 particles, box 16: "
        f"{row['whole_cpu_s']:.1f} | {row['cpu_s']:.1f} | {row['wall_s']:.1f} | ≤ 4 |"
        for row in record["verbs"]
    ]
    lines += [
        f"| plan of {row['branches']} branches | {row['cpu_s']:.1f} | {row['wall_s']:.1f} "
        f"| {'≤ 15' if row['branches'] == 200 else ''} |"
        for row in record["plans"]
    ]
    if run := record.get("run"):
        part = 100 * run["start_s"] / run["seconds"]
        lines.append(
            f"| start-up of the {run['jobs']} jobs of `{run['results']}`, {part:.0f} % of "
            f"{run['seconds']:.0f} s of wall | {run['start_s']:.0f} | | ≤ 60 s, ≤ 5 % |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
