"""Figures in the docs: what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`."""

from __future__ import annotations

import re
from pathlib import Path

from tomopipe.io.atomic import write_text

DOCS = Path(__file__).resolve().parents[1] / "docs"


def pages() -> list[Path]:
    """Pages of the docs that hold figures of benchmarks."""
    return [DOCS / "benchmarks.md", *sorted((DOCS / "benchmarks").glob("*.md"))]


def write_section(name: str, text: str) -> None:
    """Replace what stands between the markers of `name`, on whichever page they are.

    Raises
    ------
    SystemExit
        If no page has them.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    for page in pages():
        content = page.read_text(encoding="utf-8")
        if pattern.search(content):
            write_text(page, pattern.sub(lambda _: f"{begin}\n{text}\n{end}", content))
            return
    raise SystemExit(f"no page of docs/benchmarks has a place for {begin}: put both markers in")
