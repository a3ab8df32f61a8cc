"""Colours that stay apart for colour-blind readers, the same for a thing wherever it appears."""

from __future__ import annotations

# Okabe & Ito (2008) with yellow and black replaced, which are illegible as points on white,
# then Tol's "muted" set for more groups.
_CATEGORIES = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#332288", "#882255",
    "#117733", "#aa4499", "#88ccee", "#999933", "#6b6b6b", "#ee8866", "#44bb99", "#bbaa33",
)  # fmt: skip

INK = "#1f2933"
SOFT = "#6b7785"
GRID = "#e4e2dc"
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREEN = "#009e73"
GREY = "#9aa3ad"

DECISIONS = {"keep": GREEN, "junk": ORANGE, "unsure": "#b8860b"}


def category(index: int) -> str:
    """Colour of the `index`-th cluster, state or tomogram; repeats after 16."""
    return _CATEGORIES[index % len(_CATEGORIES)]


def categories(count: int) -> list[str]:
    """Colours of `count` groups in order."""
    return [category(i) for i in range(count)]
