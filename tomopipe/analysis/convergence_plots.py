"""Plots of the curves that a verdict on convergence rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tomopipe.training.verdict import Verdict


def write_plots(
    folder: Path,
    metrics: pd.DataFrame,
    latents: pd.DataFrame,
    volumes: pd.DataFrame,
    fsc: pd.DataFrame,
    found: Verdict,
) -> None:
    """Write loss.png, latent_shift.png, volume_cc.png and volume_fsc.png to `folder`.

    A curve without values has no plot. The verdict's epoch is marked.
    """
    axes = _axes("epoch", "loss")
    axes.plot(metrics["epoch"], metrics["loss"], label="training")
    if metrics["validation"].notna().any():
        axes.plot(metrics["epoch"], metrics["validation"], label="held-out tilts")
    _save(axes, folder / "loss.png", found)
    if len(latents):
        axes = _axes("epoch", "movement of latents / spread")
        axes.plot(latents["epoch"], latents["shift"], marker="o", label="median particle")
        axes.plot(latents["epoch"], latents["shift_p90"], marker=".", label="90th percentile")
        axes.set_ylim(bottom=0)
        _save(axes, folder / "latent_shift.png", found)
    if len(volumes):
        axes = _axes("epoch", "CC with the epoch before")
        for _, one in volumes.groupby("landmark"):
            axes.plot(one["epoch"], one["cc"], color="0.75", linewidth=1)
        median = volumes.groupby("epoch")["cc"].median()
        axes.plot(median.index, median, marker="o", label="median of landmarks")
        _save(axes, folder / "volume_cc.png", found)
    if len(fsc):
        axes = _axes("shell", "FSC with the epoch before")
        epochs = sorted(fsc["epoch"].unique())
        for i, epoch in enumerate(epochs):
            one = fsc[fsc["epoch"] == epoch]
            shade = str(0.85 * (1 - (i + 1) / len(epochs)))
            label = f"epoch {epoch}" if i in (0, len(epochs) - 1) else None
            axes.plot(one["shell"], one["fsc"], color=shade, label=label)
        axes.set_ylim(-0.05, 1.05)
        _save(axes, folder / "volume_fsc.png", None)


def _axes(x: str, y: str) -> Any:
    # no pyplot: its global state and display belong to the user
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _save(axes: Any, path: Path, found: Verdict | None) -> None:
    if found is not None and found.epoch:
        axes.axvline(found.epoch, color="tab:red", linewidth=1, linestyle="--", label=found.status)
    axes.legend(frameon=False, fontsize=8)
    axes.figure.savefig(path, dpi=120)
