"""Small tables of the benchmark, for people: a row for each method, a column for each set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.heterogeneity.report import BOUNDS, Groups, Row, parts
from benchmarks.heterogeneity.sets import STANDARD

SEEDS = 0, 1, 2  # of every set
NETWORKS = ("split from linear", "split alone", "reference")
_FIT, _WARM = "default", NETWORKS[0]
NAMES = {
    _FIT: "`fit` (the default)",
    "linear": "the linear model alone",
    "split from linear": "the network, from the linear model",
    "split alone": "the network alone",
    "reference": "tomoDRGN's objective, five epochs",
    "supervised": "class volumes from known labels",
    "oracle": "known volumes",
}

Methods = dict[str, list[Row]]  # of one set


def small_tables(groups: Groups) -> dict[str, str]:
    """Tables by the name of their place in the docs."""
    return {
        "heterogeneity summary": f"{by_noise(groups, clusters)}\n\n{coverage(groups)}",
        "heterogeneity volumes": by_noise(groups, volumes),
        "heterogeneity held out": predictions(groups),
    }


def by_noise(groups: Groups, cell: Callable[[Methods, str], str]) -> str:
    """A table for each box and noise of the usual sets, of what `cell` says of set and method."""
    tables = []
    for (source, box, noise), part in parts(groups).items():
        sets = [name for name in STANDARD if name in part]
        if source != "templates" or not sets:
            continue
        lines = [f"| box {box}, {noise} | {' | '.join(sets)} |", "|---|" + "--:|" * len(sets)]
        for method, name in NAMES.items():
            cells = [cell(part[of], method) for of in sets]
            lines += [f"| {name} | {' | '.join(cells)} |"] if any(cells) else []
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def clusters(methods: Methods, method: str) -> str:
    """Mean ARI of the clusters that a method counts itself, of a motion its order; and seconds."""
    rows = methods.get(method, [])
    if not rows:
        return ""
    figure, digits = ("spearman", 3) if "spearman" in rows[0] else ("ari_auto", 2)
    if figure == "ari_auto" and method in (*BOUNDS, _FIT):
        figure = "ari"  # which is of as many states as there are, or as `fit` has counted
    known = [row for row in rows if figure in row]
    if not known:
        return ""
    text = mean([row[figure] for row in known], digits)
    if "seconds" in known[0]:
        text += f" in {mean([row['seconds'] for row in known], 0)} s"
    return text + seeds_note(known)


def volumes(methods: Methods, method: str) -> str:
    """Mean FSC area of the particles' volumes; of networks what they add to `fit`, seed by seed."""
    rows = {row["seed"]: row["fsc_area"] for row in methods.get(method, []) if "fsc_area" in row}
    ours = {row["seed"]: row["fsc_area"] for row in methods.get(_FIT, []) if "fsc_area" in row}
    if method == _FIT and ours:
        return mean(list(ours.values()), 3)
    both = sorted(rows.keys() & ours.keys())
    if method not in NETWORKS or not both:
        return ""
    return f"{np.mean([rows[s] - ours[s] for s in both]):+.3f}{seeds_note(both)}"


def predictions(groups: Groups) -> str:
    """Mean gain of networks over their linear model on held-out tilts, in standard errors too."""
    lines = [f"| | {' | '.join(STANDARD)} |", "|---|" + "--:|" * len(STANDARD)]
    for (source, box, noise), part in parts(groups).items():
        if source != "templates":
            continue
        cells = []
        for name in STANDARD:
            rows = part.get(name, {}).get(_WARM, [])
            known = [row for row in rows if row.get("heldout_gain") is not None]
            gain, errors = ([row[f"heldout_{k}"] for row in known] for k in ("gain", "sigmas"))
            text = f"{np.mean(gain):+.3f} ({np.mean(errors):+.1f})" if known else ""
            cells.append(text + seeds_note(known) if known else "")
        lines.append(f"| box {box}, {noise} | {' | '.join(cells)} |")
    return "\n".join(lines)


def coverage(groups: Groups) -> str:
    """How many runs of networks there are, of those of all sets, boxes, noises and seeds."""
    places = [p for p in groups if p[0] == "templates" and p[3] in STANDARD]
    measured = [len(groups[p].get(m, [])) for p in places for m in NETWORKS]
    return f"Runs of networks: {sum(measured)} of {len(SEEDS) * len(NETWORKS) * len(places)}."


def mean(values: Sequence[float], digits: int) -> str:
    """Mean as text."""
    return f"{np.mean(values):.{digits}f}"


def seeds_note(known: Sequence[object]) -> str:
    """How many seeds there are, if they are not all."""
    if len(known) >= len(SEEDS):
        return ""
    return f" ({len(known)} {'seed' if len(known) == 1 else 'seeds'})"
