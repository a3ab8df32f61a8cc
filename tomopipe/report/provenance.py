"""Where the results come from: lineage of each step, fingerprints, and what each rule cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tomopipe.lineage.record import Lineage
from tomopipe.report.records import Record


def read_benchmarks(results: Path) -> pd.DataFrame | None:
    """Snakemake's benchmark files below `results`: columns rule, seconds, memory_mb; or None.

    Repeated measurements of one rule are averaged.
    """
    root = results / "benchmarks"
    rows = []
    for file in sorted(root.rglob("*.tsv")) + sorted(root.rglob("*.txt")):
        table = pd.read_csv(file, sep="\t", na_values="-")
        if "s" not in table:
            continue
        memory = table["max_rss"].mean() if "max_rss" in table else float("nan")
        name = str(file.relative_to(root).with_suffix(""))
        rows.append({"rule": name, "seconds": float(table["s"].mean()), "memory_mb": float(memory)})
    return pd.DataFrame(rows) if rows else None


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) rows."""
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            rows += flat(value, f"{name}.")
        else:
            rows.append((name, "–" if value is None else str(value)))
    return rows


@dataclass(frozen=True)
class Step:
    """One step's lineage as the report shows it, in words."""

    name: str
    finished: str
    took: str
    seed: str
    source: str
    files: int
    fingerprint: str
    made_with: str


def steps(lineage: Iterable[Lineage]) -> list[Step]:
    """Steps of a branch or data set, in the order in which they ended."""
    return [
        Step(
            name=one.step if one.step_format is None else f"{one.step} (format {one.step_format})",
            finished=one.finished.replace("T", " ").removesuffix("+00:00") + " UTC",
            took=duration(one.seconds),
            seed="–" if one.seed is None else str(one.seed),
            source=", ".join(f"{Path(i.path).name} {i.sha256[:8]}" for i in one.inputs) or "–",
            files=sum(output.files or 1 for output in one.outputs),
            fingerprint=one.fingerprint[:16],
            made_with=_made_with(one),
        )
        for one in lineage
    ]


def _made_with(one: Lineage) -> str:
    said = [f"tomopipe {one.versions.get('tomopipe', '?')}"]
    if one.commit:
        changed = " with changes" if one.commit.endswith("-dirty") else ""
        said[0] += f" ({one.commit[:8]}{changed})"
    said.append(f"torch {one.versions.get('torch', '?')}")
    threads, processes = one.machine.get("threads"), one.machine.get("processes", 1)
    said.append(f"{threads} thread{'s' if threads != 1 else ''}")
    said += [f"{processes} processes"] if processes > 1 else []
    return ", ".join([*said, *filter(None, [one.machine.get("gpu")])])


def decision(lineage: Iterable[Lineage]) -> str:
    """What the particles of a branch were chosen by, in a sentence; empty where nothing says."""
    made = next((one.chosen for one in lineage if one.step == "select"), None)
    if made is None:
        return ""
    kept = f"{made.kept:,} of {made.of:,} particles (uids {made.particles[7:15]})"
    if made.parent is None:
        return f"{kept}: all of the data set."
    by = f", decided by {'a person' if made.decided_by == 'person' else 'the automatic rule'}"
    on = f", on clusters {made.clusters[7:15]}" if made.clusters else ""
    return f"{kept} from {made.parent}{by if made.decided_by else ''}{on}."


def fingerprints(record: Record) -> list[tuple[str, str]]:
    """Fingerprints of the inputs of every data set, and of every branch's clusters."""
    rows: list[tuple[str, str]] = []
    for dataset in record.datasets.values():
        sources = dataset.info.get("sources")
        if isinstance(sources, dict):
            rows += [(f"{dataset.name}: {name}", str(value)) for name, value in sources.items()]
    for branch in record.branches.values():
        if branch.analysis is not None and branch.analysis.info.get("fingerprint"):
            rows.append((f"{branch.name}: clusters", str(branch.analysis.info["fingerprint"])))
    return rows
