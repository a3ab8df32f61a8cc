"""Tomograms whose particles show more of the consensus than those of others."""

from __future__ import annotations

import pandas as pd

from tomopipe.report.records import BranchRecord, DatasetRecord

_LEAST = 10  # particles of a tomogram that counts
_RATIO, _SIGMAS = 1.5, 4.0  # of the largest to the smallest, and of their difference to its error


def signal_sentence(branch: BranchRecord, dataset: DatasetRecord) -> str:
    """Say so where the signal of kept particles depends on the tomogram; else nothing.

    The signal is that of `junk_particles.parquet`: 1 for the mean of the good clusters. Models may
    know the B-factor of a tomogram (`report/falloff.py`), but not its scale, and may take a
    difference of scale for structure.
    """
    found, particles, selection = branch.signal, dataset.particles, branch.selection
    if found is None or particles is None or selection is None or selection.stale:
        return ""
    kept = found[found["cluster"].isin(selection.clusters("keep"))].dropna(subset=["signal"])
    table = kept.merge(particles[["uid", "tomogram"]], on="uid")
    signal = table.groupby("tomogram")["signal"].agg(["mean", "sem", "size"])
    signal = signal[signal["size"] >= _LEAST].sort_values("mean")
    if len(signal) < 2:
        return ""
    low, high = signal.iloc[0], signal.iloc[-1]
    error = float((low["sem"] ** 2 + high["sem"] ** 2) ** 0.5)
    if high["mean"] < _RATIO * low["mean"] or high["mean"] - low["mean"] < _SIGMAS * error:
        return ""
    return (
        f"Kept particles of tomogram {signal.index[0]} show {_number(low)} of the usual signal, "
        f"those of {signal.index[-1]} {_number(high)}: no model here knows of tomograms that are "
        "weaker at all resolutions alike, as from ice or crowding, so that this may look like "
        "heterogeneity. Colour the latents by tomogram before you believe a component."
    )


def _number(row: pd.Series) -> str:
    return f"{row['mean']:.2f} ± {row['sem']:.2f}"
