"""A choice of clusters by their labels, tied to the clusters that it was made on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.errors import ConfigError
from tomopipe.io.atomic import read_parquet

# enough of a fingerprint to tell clusters apart, and short enough for a line of a config
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
    mark = clusters_fingerprint(table).removeprefix("sha256:")[:_DIGITS]
    return choice | {"of": f"sha256:{mark}"}, f"{kept} of {len(table)} particles of {parent.name}"
