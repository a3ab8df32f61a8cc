"""Run the benchmark and write its table: `python -m benchmarks.heterogeneity --quick`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.heterogeneity.methods import METHODS, QUICK
from benchmarks.heterogeneity.report import BOUNDS, HERE, write_report
from benchmarks.heterogeneity.sets import SETS, SNR, STANDARD, source
from benchmarks.heterogeneity.tables import SEEDS
from tomopipe.io.atomic import read_json, write_json

RESULTS = HERE / "results.json"
Cell = dict[str, Any]
_KEYS = ("source", "set", "noise", "box", "seed", "method")


def main() -> None:
    """Measure what is not yet in results.json, then write the docs from all that is."""
    options = arguments()
    record = read_json(RESULTS) if RESULTS.is_file() else {}
    rows = [row for row in record.get("rows", []) if set(_KEYS) <= set(row)]
    wanted = list(cells(options))
    if options.again:
        old = {key(c | {"method": m}) for c in wanted for m in stands_for(c["method"])}
        rows = [row for row in rows if key(row) not in old]
    done = {key(row) for row in rows}
    missing = [c for c in wanted if key(c) not in done]
    for cell, found in results(missing, options.work):
        methods = found if cell["method"] == "bounds" else {cell["method"]: found}
        stamp = {"commit": commit(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "on": processor()}
        rows += [cell | stamp | {"method": m} | figures for m, figures in methods.items()]
        if cell["method"] == "bounds":
            rows.append(cell | stamp)  # that the bounds of this set are known
        write_json(RESULTS, {"machine": machine(), "rows": rows})
    # the machine that measured last, which need not be this one
    write_report(machine() if missing else record["machine"], rows)


def arguments() -> argparse.Namespace:
    """Choose sets, methods, seeds, boxes and noise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)} and bounds")
    parser.add_argument("--sets", nargs="+", default=list(STANDARD), choices=SETS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--box", nargs="+", type=int, default=[32], choices=[32, 64])
    parser.add_argument("--noise", nargs="+", default=["high noise"], choices=list(SNR[source()]))
    parser.add_argument("--again", action="store_true", help="measure anew what is known already")
    parser.add_argument(
        "--work",
        type=Path,
        default=HERE.parent / "results" / "heterogeneity_benchmark",
        help="folder for sets and fits",
    )
    options = parser.parse_args()
    if options.quick:
        options.methods = list(QUICK)
    return options


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """Everything that is asked for: bounds of all sets first."""
    for method in ("bounds", *options.methods):
        for box, noise, name, seed in product(
            options.box, options.noise, options.sets, options.seeds
        ):
            values = (source(), name, noise, box, seed, method)
            yield dict(zip(_KEYS, values, strict=True))


def stands_for(method: str) -> tuple[str, ...]:
    """Methods of the rows that a cell gives."""
    return (method, *BOUNDS) if method == "bounds" else (method,)


def key(row: Cell) -> tuple[Any, ...]:
    """What tells one cell from another."""
    return tuple(row[k] for k in _KEYS)


def results(missing: list[Cell], work: Path) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Figures of each cell: bounds and scores side by side, timed methods one after another."""
    cores = len(os.sched_getaffinity(0))
    bounds = [c for c in missing if c["method"] == "bounds"]
    # the first of them alone: it writes the maps that the others read
    yield from side_by_side("bounds", bounds[:1], work, 1)
    yield from side_by_side("bounds", bounds[1:], work, cores)
    for method in dict.fromkeys(c["method"] for c in missing if c["method"] != "bounds"):
        timed = [c for c in missing if c["method"] == method]
        for cell in timed:
            print(f"{' '.join(map(str, key(cell)))} ...", flush=True)
            work_on("run", [cell], work, cores)
        yield from side_by_side("score", timed, work, cores)


def side_by_side(
    task: str, cells: list[Cell], work: Path, workers: int
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Share cells out over `workers` processes of one thread each."""
    shares = [cells[i::workers] for i in range(workers) if cells[i::workers]]
    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(lambda share: work_on(task, share, work, 1), shares)
        for share, found in zip(shares, done, strict=True):
            for cell, figures in zip(share, found, strict=True):
                print(f"{' '.join(map(str, key(cell)))}: {short(figures)}", flush=True)
                yield cell, figures


def work_on(task: str, cells: list[Cell], work: Path, threads: int) -> list[dict[str, Any]]:
    """Work on cells in a process of its own, so that its memory is its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.heterogeneity.job", task, work, json.dumps(cells)],
        cwd=HERE.parent,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        names = ", ".join(" ".join(map(str, key(c))) for c in cells)
        raise SystemExit(f"{task} of {names} failed:\n{done.stderr[-4000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def short(found: dict[str, Any]) -> str:
    """Format figures for the eye."""
    return ", ".join(f"{k} {v:.3g}" for k, v in found.items() if isinstance(v, float)) or str(found)


def commit() -> str:
    """Commit that the working tree is at, `+` for changes on top of it."""
    git = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(git, cwd=HERE, capture_output=True, text=True).stdout.strip()


def processor() -> str:
    """Cores that were used, and how wide and in what precision they multiply."""
    cores = len(os.sched_getaffinity(0))
    able = torch.cpu.get_capabilities()
    kinds = {"avx512_bf16": "AVX-512 with bf16", "avx512_f": "AVX-512", "avx2": "AVX2"}
    kind = next((text for name, text in kinds.items() if able.get(name)), platform.machine())
    return f"{cores} {'core' if cores == 1 else 'cores'}, {kind}"


def machine() -> str:
    """What it ran on, and when."""
    return f"{processor()}, {datetime.now(UTC):%Y-%m-%d}, commit {commit()}"


if __name__ == "__main__":
    main()
