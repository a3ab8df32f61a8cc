"""What a run has left, apart from what says when and where it was made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LINEAGE_ROW = r'<tr><th scope="row">\w+ \(format \d+\)</th>.*?</tr>'
"""A step's row of the report's lineage."""


def result_files(results: Path) -> Iterator[Path]:
    """Results of the workflow below a folder; no logs, costs and lineage, and nothing hidden."""
    for path in sorted(results.rglob("*")):
        inside = path.relative_to(results)
        hidden = any(part.startswith(".") for part in inside.parts)
        told = inside.parts[0] in ("logs", "benchmarks") or path.name.endswith("lineage.json")
        if path.is_file() and not hidden and not told:
            yield path
