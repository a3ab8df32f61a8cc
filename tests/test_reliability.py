"""docs/reliability.md lists the tests of faults that there are, and no others."""

from __future__ import annotations

from tests.reliability import ROOT, marked, rows, table


def test_every_fault_stands_in_the_page_and_every_line_has_its_test() -> None:
    faults = list(marked())
    assert len({fault.test for fault in faults}) == len(faults) > 15
    expected = table(faults, {fault.test: "" for fault in faults}).splitlines()[2:]
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    assert rows(page) == [line.rsplit(" | ", 1)[0] for line in expected], "run `make reliability`"


def test_outcomes_are_sentences() -> None:
    for fault in marked():
        assert fault.outcome.endswith("."), fault.test
        assert "|" not in fault.title + fault.outcome and "\n" not in fault.title + fault.outcome
