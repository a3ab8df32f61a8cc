"""Junk out until clean: `python -m benchmarks.cycle` on the set `junk`, by rounds.

Runs the rounds of `repeat: until clean` as the workflow does, with the default models, and writes
precision and recall of what was left out after one round and after all into docs/benchmarks.md.
Results that lie in the work folder are kept, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.docs import write_section
from benchmarks.engine.measure import HERE, machine
from benchmarks.heterogeneity.sets import Made, is_junk, make
from tomopipe.analysis.analyze import analyze
from tomopipe.analysis.fit import fit
from tomopipe.analysis.junk import find_junk
from tomopipe.analysis.select import select
from tomopipe.analysis.selection import read_selection, settle
from tomopipe.analysis.takeover import take_over
from tomopipe.config import Config, parse_config
from tomopipe.config.cycles import taken_from
from tomopipe.io.atomic import read_json, read_parquet, write_json
from tomopipe.reconstruct.consensus import consensus

_LAST = {
    "consensus": "consensus/consensus.json",
    "fit": "fit/fit.json",
    "analysis": "analysis/analysis.json",
    "junk": "junk.parquet",
}
Row = dict[str, Any]


def main() -> None:
    """Measure each seed that has not been measured in the work folder, then write the docs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--noise", default="high noise", choices=("high noise", "low noise"))
    parser.add_argument("--work", type=Path, default=HERE.parent / "results" / "cycle_benchmark")
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        made = make("junk", options.noise, seed, 32, options.work)
        rows += measured(made)
        print(pd.DataFrame(rows).to_string(), flush=True)
    text = f"{machine(torch.device('cpu'))}; {options.noise}.\n\n{table(rows)}"
    write_section("cycle", text)


def measured(made: Made) -> list[Row]:
    """A row for each round: what was left out so far against the truth, and seconds."""
    record = made.folder / "cycle" / "rounds.json"
    if record.is_file():
        return list(read_json(record))
    config = parse_config(
        {
            "datasets": {"junk": {"particles": str(made.folder / "raw" / "particles.star")}},
            "branches": {
                "cycle": {"dataset": "junk", "repeat": "until clean"}
                | {stage: {} for stage in _LAST}
            },
        }
    )
    rows = []
    for number, name in enumerate(config.branches, 1):
        start = time.monotonic()
        taken = run(config, name, made)
        seconds = time.monotonic() - start
        figures = figures_of(made, folder(made, name))
        rows.append({"seed": made.seed, "round": number} | figures)
        rows[-1] |= {"taken": taken, "seconds": seconds}
        print(rows[-1], flush=True)
    write_json(record, rows)
    return rows


def folder(made: Made, name: str | None) -> Path:
    """Where a round's results go."""
    return made.folder / "cycle" / str(name)


def run(config: Config, name: str, made: Made) -> bool:
    """All stages of a round; whether they were taken over from the round before."""
    branch, out = config.branches[name], folder(made, name)
    parent = folder(made, branch.parent) if branch.parent else None
    table = select(
        made.folder / "dataset", out / "selected.parquet", config.select_of(name), parent
    )
    uids = table.loc[table["kept"], "uid"].tolist()
    taken = []
    for stage in _LAST:
        source = taken_from(name, branch, stage)
        settings: Any = branch.settings(stage)
        wanted = settings.model_dump(mode="json")
        taken.append(take_over(stage, out, folder(made, source) if source else None, wanted))
        if taken[-1] or (out / _LAST[stage]).is_file():
            continue
        if stage == "consensus":
            consensus(made.store, out / stage, settings, uids)
        elif stage == "fit":
            fit(made.store, out / stage, settings, uids)
        elif stage == "analysis":
            analyze(made.store, out / "fit", out / stage, settings, uids)
        else:
            parts = (out / "fit", out / "analysis", out / "consensus")
            find_junk(made.store, *parts, out / "junk.parquet", settings)
    settle(out, folder(made, source) if source else None)
    return all(taken)


def figures_of(made: Made, out: Path) -> Row:
    """Precision and recall of all that this and earlier rounds left out."""
    selected = read_parquet(out / "selected.parquet").set_index("uid")["kept"]
    clusters = read_parquet(out / "analysis" / "clusters.parquet")
    decided = read_selection(out / "selection.yaml", clusters).decisions
    called = clusters.loc[clusters["cluster"].map(decided) == "junk", "uid"]
    left = ~selected.astype(bool)
    left.loc[called] = True
    true = is_junk(made.truth).loc[left.index]
    hits = int((left & true).sum())
    return {
        "particles": int(selected.sum()),
        "junk": len(called),
        "precision": hits / max(int(left.sum()), 1),
        "recall": hits / int(true.sum()),
    }


def table(rows: list[Row]) -> str:
    """One line a seed: after one round, and after all."""
    lines = [
        "| seed | one round: precision | recall | cycle: precision | recall | clean after round | "
        "a round taken over (s) |",
        "|---|---|---|---|---|---|---|",
    ]
    for seed, part in pd.DataFrame(rows).groupby("seed"):
        first, last = part.iloc[0], part.iloc[-1]
        clean = part.loc[part["junk"] == 0, "round"]
        ended = str(int(clean.iloc[0])) if len(clean) else "not"
        spent = f"{part.loc[part['taken'], 'seconds'].mean():.1f}" if part["taken"].any() else ""
        lines.append(
            f"| {seed} | {first.precision:.3f} | {first.recall:.3f} | {last.precision:.3f} | "
            f"{last.recall:.3f} | {ended} | {spent} |"
        )
    found = pd.DataFrame(rows)
    least = found.groupby("seed").last()[["precision", "recall"]].to_numpy().min()
    lines.append(f"\nLowest of the cycle's precisions and recalls: {least:.3f}.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
