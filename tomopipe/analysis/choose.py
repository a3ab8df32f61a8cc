"""A choice of clusters or of a region, tied to the analysis that it was made on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.errors import ConfigError
from tomopipe.io.atomic import fingerprint, read_parquet

# enough of a fingerprint to tell analyses apart, and short enough for a line of a config
_DIGITS = 16


def choose_clusters(
    parent: Path, how: Literal["keep", "drop"], labels: list[int]
) -> tuple[dict[str, Any], str]:
    """Give `select: clusters` of a branch, and a few words on how many particles it keeps.

    The choice carries the fingerprint of the clusters if the parent's analysis is there; the words
    are empty if it is not.

    Raises
    ------
    ConfigError
        If a label does not exist; says which do, and their counts.
    StateError
        If the clusters of the parent cannot be read.
    """
    choice: dict[str, Any] = {how: sorted(set(labels))}
    path = parent / "analysis" / "clusters.parquet"
    if not path.exists():
        return choice, ""
    table = read_parquet(path)
    counts = table["cluster"].astype(int).value_counts().sort_index()
    unknown = [label for label in choice[how] if label not in counts.index]
    if unknown:
        known = ", ".join(f"{label} ({count} particles)" for label, count in counts.items())
        raise ConfigError(
            f"clusters: {parent.name} has no cluster {unknown[0]}: choose among {known}"
        )
    among = table["cluster"].astype(int).isin(choice[how])
    kept = int((among if how == "keep" else ~among).sum())
    if not kept:
        raise ConfigError(f"clusters: all {len(counts)} of {parent.name} are dropped: drop fewer")
    mark = _short(clusters_fingerprint(table))
    return choice | {"of": mark}, f"{kept} of {len(table)} particles of {parent.name}"


def choose_region(
    parent: Path, region: Mapping[str, Sequence[float]]
) -> tuple[dict[str, Any], str]:
    """Give `select` of a branch by `region`, and a few words on how many particles it keeps.

    The choice carries the fingerprint of the region's columns if the parent's analysis is there;
    the words are empty if it is not.

    Raises
    ------
    ConfigError
        If a column does not exist.
    StateError
        If the latents of the parent cannot be read.
    """
    select: dict[str, Any] = {"region": region}
    path = parent / "analysis" / "latents.parquet"
    if not path.exists():
        return select, ""
    table = read_parquet(path)
    check_columns(table, region, path)
    inside = [table[name].between(low, high) for name, (low, high) in region.items()]
    kept = int(np.all(inside, axis=0).sum())
    mark = _short(region_fingerprint(table, region))
    return select | {"region_of": mark}, f"{kept} of {len(table)} particles of {parent.name}"


def check_columns(table: pd.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Raise `ConfigError` unless latents, read from `path`, have all columns of a region."""
    there = [name for name in table.columns if name != "uid"]
    if unknown := [name for name in columns if name not in there]:
        raise ConfigError(
            f"select: region names {unknown[0]!r}, {path} has {', '.join(there)}: correct it"
        )


def region_fingerprint(table: pd.DataFrame, columns: Iterable[str]) -> str:
    """Fingerprint of some coordinates of all particles, whatever the order of the rows."""
    ordered, names = table.sort_values("uid"), sorted(columns)
    values = [ordered[name].to_numpy(np.float64) for name in names]
    return fingerprint(names, ordered["uid"].astype(str).tolist(), *values)


def _short(mark: str) -> str:
    return mark[: len("sha256:") + _DIGITS]
