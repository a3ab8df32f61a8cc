"""What the report shows of the classes: a table with verdicts, and the FSC behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tomopipe.report import figures
from tomopipe.report.palette import category
from tomopipe.report.records import ClassesRecord

# Columns of classes.csv with their heading and format.
_COLUMNS = {
    "resolution_0143_angstrom": ("half-maps", "{:.1f} Å"),
    "expected_0143_angstrom": ("expected", "{:.1f} Å"),
    "model_resolution_05_angstrom": ("map and model", "{:.1f} Å"),
    "model_fsc_area": ("FSC area", "{:.2f}"),
    "difference_cc": ("difference", "{:.2f}"),
}


@dataclass(frozen=True)
class ClassRow:
    """One class: its figures as text, and the verdict."""

    label: int
    count: int
    colour: str
    cells: list[str]
    supported: bool
    reason: str


@dataclass(frozen=True)
class Classes:
    """All classes of a branch, with the headings of their cells and two charts."""

    headings: list[str]
    rows: list[ClassRow]
    half: Markup | None
    model: Markup | None


def classes(record: ClassesRecord | None) -> Classes | None:
    """Table and charts, or None where the stage has left nothing."""
    if record is None or not record.rows:
        return None
    return Classes(
        headings=[heading for heading, _ in _COLUMNS.values()],
        rows=[_row(row) for row in record.rows],
        half=_chart(record, "fsc_corrected", "Half-map FSC of each class"),
        model=_chart(record, "fsc_model", "FSC of each class with its model volume"),
    )


def _row(row: Mapping[str, Any]) -> ClassRow:
    label = int(row["cluster"])
    return ClassRow(
        label=label,
        count=int(row["particles"]),
        colour=category(label),
        cells=[
            "–" if row.get(column) is None else form.format(float(row[column]))
            for column, (_, form) in _COLUMNS.items()
        ],
        supported=bool(row.get("supported")),
        reason=str(row.get("reason", "")),
    )


def _chart(record: ClassesRecord, column: str, title: str) -> Markup | None:
    if record.fsc is None or column not in record.fsc:
        return None
    table = record.fsc.assign(fsc=record.fsc[column]).dropna(subset=["fsc"])
    return figures.cluster_fsc(table, title=title) if len(table) else None
