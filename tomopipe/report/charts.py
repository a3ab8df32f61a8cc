"""Small inline SVG charts.

Own code instead of a plotting library: a chart is a few kilobytes, takes the page's fonts, and
its values show on hover. Every function returns markup that is safe to put into the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup

from tomopipe.report.axes import Axis
from tomopipe.report.palette import BLUE, INK

WIDTH, HEIGHT = 340, 218
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 14, 40


@dataclass(frozen=True)
class Series:
    """One curve: `x` and `y` of the same length; points that are not finite are left out."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = BLUE
    dashed: bool = False
    points: bool = False


@dataclass(frozen=True)
class Mark:
    """A point worth naming, and the guide line it lies on."""

    x: float
    y: float
    label: str
    colour: str = INK


def lines(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    marks: Sequence[Mark] = (),
    levels: Sequence[tuple[float, str]] = (),
    bands: Sequence[tuple[float, float, str]] = (),
    title: str,
) -> Markup:
    """Curves over shared axes.

    Parameters
    ----------
    series
        The curves; a legend appears when there are several.
    x, y
        The axes.
    marks
        Named points, drawn as dots with their text beside them.
    levels
        Horizontal guide lines `(y, text)`.
    bands
        Shaded ranges of x `(from, to, text)`.
    title
        What the chart shows, for screen readers.
    """
    body = [_band(x, *band) for band in bands]
    body += [_frame(x, y)]
    body += [_level(y, at, text) for at, text in levels]
    body += [_curve(s, x, y) for s in series]
    body += [_mark(m, x, y) for m in marks]
    legend = _legend([(s.label, s.colour, s.dashed) for s in series]) if len(series) > 1 else ""
    return svg("".join(body), title) + Markup(legend)


def bars(
    edges: Sequence[float],
    counts: Sequence[float],
    x: Axis,
    y: Axis,
    *,
    title: str,
    colour: str = BLUE,
) -> Markup:
    """Histogram of `counts` between consecutive `edges` (one more edge than counts)."""
    drawn = []
    base = HEIGHT - BOTTOM
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        left, right = _x(x, low), _x(x, high)
        top = _y(y, count)
        tip = f"{low:g} to {high:g}: {count:g}" if high - low != 1 else f"{low + 0.5:g}: {count:g}"
        drawn.append(
            f'<rect x="{left + 0.5:.1f}" y="{top:.1f}" width="{max(right - left - 1, 0.8):.1f}" '
            f'height="{max(base - top, 0):.1f}" fill="{colour}"><title>{escape(tip)}</title></rect>'
        )
    return svg(_frame(x, y) + "".join(drawn), title)


def dots(
    xs: Sequence[float],
    ys: Sequence[float],
    colours: Sequence[str],
    x: Axis,
    y: Axis,
    *,
    title: str,
) -> Markup:
    """Scatter of at most a few thousand points."""
    body = "".join(
        f'<circle cx="{_x(x, a):.1f}" cy="{_y(y, b):.1f}" r="2.4" fill="{c}" fill-opacity=".6"/>'
        for a, b, c in zip(xs, ys, colours, strict=True)
        if np.isfinite(a) and np.isfinite(b)
    )
    return svg(_frame(x, y) + body, title)


def stacked(
    rows: Sequence[str],
    counts: Sequence[Sequence[int]],
    names: Sequence[str],
    colours: Sequence[str],
    *,
    title: str,
    note: str = "",
) -> Markup:
    """Horizontal bars, one a row, divided by group, on one scale; a note stands below them."""
    label, height, gap, width = 130, 16, 7, 700
    longest = max((sum(row) for row in counts), default=1) or 1
    scale = (width - label - 60) / longest
    parts: list[str] = []
    for i, (name, row) in enumerate(zip(rows, counts, strict=True)):
        top, at = i * (height + gap) + 2, float(label)
        parts.append(
            f'<text x="{label - 8}" y="{top + 13}" text-anchor="end">{escape(shorten(name, 24))}'
            f"<title>{escape(name)}</title></text>"
        )
        for group, count in enumerate(row):
            wide = count * scale
            tip = escape(f"{name}, {names[group]}: {count}")
            parts.append(
                f'<rect x="{at:.1f}" y="{top}" width="{max(wide - 0.6, 0):.1f}" height="{height}" '
                f'fill="{colours[group]}"><title>{tip}</title></rect>'
            )
            at += wide
        parts.append(f'<text class="soft" x="{at + 6:.1f}" y="{top + 13}">{sum(row):,}</text>')
    tall = len(rows) * (height + gap) + 4
    if note:
        parts.append(f'<text class="soft" x="{label}" y="{tall + 12}">{escape(note)}</text>')
        tall += height + gap
    entries = [(n, c, False) for n, c in zip(names, colours, strict=True)]
    legend = _legend(entries) if len(entries) > 1 else ""
    return svg("".join(parts), title, width=width, height=tall, wide=True) + Markup(legend)


def shorten(text: str, length: int) -> str:
    """`text` cut in the middle to at most `length` characters."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[-(length - 1 - head) :]}"


def _x(scale: Axis, value: float) -> float:
    return scale.place(float(value), LEFT, WIDTH - RIGHT)


def _y(scale: Axis, value: float) -> float:
    return scale.place(float(value), HEIGHT - BOTTOM, TOP)


def svg(
    body: str, title: str, *, width: int = WIDTH, height: int = HEIGHT, wide: bool = False
) -> Markup:
    """A chart around its `body`, in pixels; `title` is for screen readers."""
    kind = "chart wide" if wide else "chart"
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{body}</svg>'
    )


def _frame(x: Axis, y: Axis) -> str:
    base, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for at, text in y.ticks.items():
        p = _y(y, at)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{end}" y1="{p:.1f}" y2="{p:.1f}"/>'
            f'<text x="{LEFT - 7}" y="{p + 3.5:.1f}" text-anchor="end">{escape(text)}</text>'
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{end}" y1="{base}" y2="{base}"/>')
    for at, text in x.ticks.items():
        p = _x(x, at)
        parts.append(
            f'<line class="axis" x1="{p:.1f}" x2="{p:.1f}" y1="{base}" y2="{base + 4}"/>'
            f'<text x="{p:.1f}" y="{base + 16}" text-anchor="middle">{escape(text)}</text>'
        )
    middle = (TOP + base) / 2
    parts.append(
        f'<text class="label" x="{(LEFT + end) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x.label)}</text>"
        f'<text class="label" transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.label)}</text>"
    )
    return "".join(parts)


def _curve(series: Series, x: Axis, y: Axis) -> str:
    # what lies above the axis is drawn at its end and named by its own value
    usable = [
        (_x(x, a), max(_y(y, b), TOP), a, b)
        for a, b in zip(series.x, series.y, strict=True)
        if np.isfinite(a) and np.isfinite(b) and (b > 0 or not y.log)
    ]
    dash = ' stroke-dasharray="5 4"' if series.dashed else ""
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _, _ in usable)
    drawn = (
        f'<polyline points="{path}" fill="none" stroke="{series.colour}" stroke-width="1.8"{dash}/>'
    )
    # invisible discs carry the values on hover; drawn ones mark sparse series
    opacity = "1" if series.points or len(usable) == 1 else "0"
    if len(usable) <= 400:
        drawn += "".join(
            f'<circle class="hit" cx="{px:.1f}" cy="{py:.1f}" r="2.6" fill="{series.colour}" '
            f'fill-opacity="{opacity}"><title>{escape(f"{series.label}: {a:.5g}, {b:.4g}")}</title>'
            "</circle>"
            for px, py, a, b in usable
        )
    return drawn


def _mark(mark: Mark, x: Axis, y: Axis) -> str:
    px, py = _x(x, mark.x), _y(y, mark.y)
    anchor, shift = ("end", -8) if px > WIDTH * 0.62 else ("start", 8)
    return (
        f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{py:.1f}" y2="{HEIGHT - BOTTOM}" '
        f'stroke="{mark.colour}" stroke-dasharray="2 3"/>'
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{mark.colour}" stroke="#fff"/>'
        f'<text class="mark" x="{px + shift:.1f}" y="{max(py - 8, TOP + 8):.1f}" '
        f'text-anchor="{anchor}">{escape(mark.label)}</text>'
    )


def _level(y: Axis, at: float, text: str) -> str:
    p = _y(y, at)
    return (
        f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{p:.1f}" y2="{p:.1f}"/>'
        f'<text class="soft" x="{WIDTH - RIGHT - 2}" y="{p - 4:.1f}" text-anchor="end">'
        f"{escape(text)}</text>"
    )


def _band(x: Axis, low: float, high: float, text: str) -> str:
    left, right = _x(x, low), _x(x, high)
    return (
        f'<rect class="band" x="{left:.1f}" y="{TOP}" width="{max(right - left, 0):.1f}" '
        f'height="{HEIGHT - BOTTOM - TOP}"/>'
        f'<text class="soft" x="{left + 5:.1f}" y="{HEIGHT - BOTTOM - 6}">'
        f"{escape(text)}</text>"
    )


def _legend(entries: Sequence[tuple[str, str, bool]]) -> str:
    items = "".join(
        f'<li><i style="border-color:{colour};border-style:{"dashed" if dashed else "solid"}"></i>'
        f"{escape(label)}</li>"
        for label, colour, dashed in entries
    )
    return f'<ul class="legend">{items}</ul>'
