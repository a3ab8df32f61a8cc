"""docs/reliability.md from the tests: what each one breaks, what happens then, how it came out.

`pytest -m fault --reliability docs/reliability.md` writes the table between two lines of the page.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- table: written by `make reliability` -->", "<!-- end of the table -->"
_HEAD = ("| fault | what happens | test | last run |", "|---|---|---|---|")
_WORST = ("failed", "skipped", "passed")  # of the parts of a parametrised test


@dataclass(frozen=True)
class Fault:
    """A marked test."""

    test: str  # tests/…/test_x.py::test_name
    title: str
    outcome: str

    def row(self, came_out: str) -> str:
        """Its line in the table."""
        path, name = self.test.split("::")
        return f"| {self.title} | {self.outcome} | [{name}](../{path}) | {came_out} |"


def marked(folder: Path = ROOT / "tests") -> Iterator[Fault]:
    """All tests with the marker `fault`, read from their source."""
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    title, outcome = (ast.literal_eval(a) for a in mark.args)
                    yield Fault(f"{path.relative_to(ROOT)}::{node.name}", title, outcome)


def table(faults: list[Fault], came_out: dict[str, str]) -> str:
    """The rows, by title."""
    ordered = sorted(faults, key=lambda fault: (fault.title, fault.test))
    return "\n".join([*_HEAD, *(fault.row(came_out[fault.test]) for fault in ordered)])


def rows(page: str) -> list[str]:
    """Rows of the table in a page, without how they came out."""
    body = page.split(BEGIN)[1].split(END)[0].strip().splitlines()[len(_HEAD) :]
    return [line.rsplit(" | ", 1)[0] for line in body]


class Outcomes:
    """Plugin that notes how marked tests came out and writes the page at the end."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.came_out: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst outcome of a test's parts."""
        if report.when != "call" and report.outcome == "passed":
            return
        test, said = report.nodeid.split("[")[0], str(report.outcome)
        if said == "skipped" and isinstance(report.longrepr, tuple):
            said = f"skipped: {report.longrepr[2].removeprefix('Skipped: ')}"
        known = self.came_out.get(test, said)
        self.came_out[test] = min(known, said, key=lambda s: _WORST.index(s.split(":")[0]))

    def pytest_sessionfinish(self) -> None:
        """Write the table; a test that was not run keeps what the page says of it."""
        before, rest = self.page.read_text(encoding="utf-8").split(BEGIN)
        old, after = rest.split(END)
        faults = list(marked())
        came_out = {fault.test: _said(old, fault) for fault in faults} | self.came_out
        text = f"{before}{BEGIN}\n\n{table(faults, came_out)}\n\n{END}{after}"
        self.page.write_text(text, encoding="utf-8")


def _said(old: str, fault: Fault) -> str:
    """How a test came out as an old table has it."""
    lines = [line for line in old.splitlines() if f"[{fault.test.split('::')[1]}]" in line]
    return lines[0].rsplit(" | ", 1)[1].removesuffix(" |") if lines else "not run"
