"""Whether the particles of a cluster agree with each other, whatever they show."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from tomopipe.physics.fsc import resolution_at
from tomopipe.reconstruct.resolution import fewer_particles

_THRESHOLD = 0.143


def add_coherence(
    table: pd.DataFrame, analysis_dir: Path, consensus_dir: Path, pixel_size: float
) -> None:
    """Add `resolution` and `expected` (Å): where half-maps agree, and where so many would.

    Both are read at FSC 0.143 without a mask: that of the cluster's own half-maps, and that of
    the consensus if it were of as few particles. NaN where the analysis back-projected no clusters.
    """
    whole, total = _curve(consensus_dir / "fsc.csv"), table["count"].sum()
    own, expected = [], []
    for cluster, count in zip(table["cluster"], table["count"], strict=True):
        path = analysis_dir / "volumes" / f"fsc_{cluster:02d}.csv"
        known = path.is_file()
        fewer = fewer_particles(whole, count / total)
        own.append(resolution_at(_curve(path), pixel_size, _THRESHOLD) if known else None)
        expected.append(resolution_at(fewer, pixel_size, _THRESHOLD))
    table["resolution"] = pd.Series(own, index=table.index, dtype=float)
    table["expected"] = pd.Series(expected, index=table.index, dtype=float)


def _curve(path: Path) -> Tensor:
    return torch.tensor(pd.read_csv(path)["fsc"].to_numpy())
