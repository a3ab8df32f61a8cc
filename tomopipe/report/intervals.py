"""A chart of numbers with their errors, one a row, each row with its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from tomopipe.report.axes import Axis, axis
from tomopipe.report.charts import RIGHT, WIDTH, shorten, svg

_LEFT, _TOP, _ROW, _BELOW, _NOTE = 118, 4, 15, 34, 15  # pixels


@dataclass(frozen=True)
class Interval:
    """A value and its standard error; `tip` is said beside them on hover."""

    name: str
    value: float
    error: float
    colour: str
    tip: str


def intervals(
    rows: Sequence[Interval], label: str, *, title: str, notes: Sequence[str] = ()
) -> Markup:
    """Dots with error bars of one standard error, on one scale; notes stand below them.

    Parameters
    ----------
    rows
        From top to bottom.
    label
        What the numbers are, with their unit.
    title
        What the chart shows, for screen readers.
    notes
        Lines of text.
    """
    ends = [row.value + sign * row.error for row in rows for sign in (-1, 1)]
    x, base = axis(ends, label), _TOP + _ROW * len(rows)
    body = [_frame(x, base), *(_row(row, x, _TOP + _ROW * (i + 0.5)) for i, row in enumerate(rows))]
    tall = base + _BELOW
    for note in notes:
        tall += _NOTE
        body.append(f'<text class="soft" x="0" y="{tall - 4}">{escape(note)}</text>')
    return svg("".join(body), title, height=tall)


def _x(scale: Axis, value: float) -> float:
    return scale.place(value, _LEFT, WIDTH - RIGHT)


def _frame(x: Axis, base: int) -> str:
    parts = [f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>']
    for at, text in x.ticks.items():
        p = _x(x, at)
        parts.append(
            f'<line class="grid" x1="{p:.1f}" x2="{p:.1f}" y1="{_TOP}" y2="{base}"/>'
            f'<text x="{p:.1f}" y="{base + 14}" text-anchor="middle">{escape(text)}</text>'
        )
    middle = (_LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="label" x="{middle}" y="{base + 30}" text-anchor="middle">'
        f"{escape(x.label)}</text>"
    )
    return "".join(parts)


def _row(row: Interval, x: Axis, y: float) -> str:
    low, at, high = (_x(x, row.value + sign * row.error) for sign in (-1, 0, 1))
    tip = f"{row.name}: {row.value:,.0f} ± {row.error:,.0f}, {row.tip}"
    return (
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(shorten(row.name, 18))}'
        f"<title>{escape(row.name)}</title></text>"
        f'<g stroke="{row.colour}" fill="{row.colour}"><title>{escape(tip)}</title>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke-width="1.8"/>'
        f'<circle cx="{at:.1f}" cy="{y:.1f}" r="3.4"/></g>'
    )
