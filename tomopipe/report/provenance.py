"""Where the results come from: versions, input fingerprints, settings, and what each rule cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

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
