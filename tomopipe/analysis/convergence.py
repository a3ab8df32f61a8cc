"""The verdict on a training: converged at epoch N, not yet, or overfitting since N."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import tomopipe
from tomopipe.analysis.compare import write_csv
from tomopipe.analysis.convergence_plots import write_plots
from tomopipe.analysis.epochs import (
    EpochVolumes,
    landmarks,
    latent_changes,
    snapshot_epochs,
    volume_changes,
)
from tomopipe.analysis.latent import Array
from tomopipe.analysis.metrics import read_metrics
from tomopipe.config.analysis import ConvergenceSettings
from tomopipe.io.atomic import atomic_directory, read_json, write_json
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.snapshots import read_snapshot
from tomopipe.training.verdict import Limits, Verdict, verdict

STEP_FORMAT = 2


@dataclass(frozen=True)
class Curves:
    """What the verdict rests on.

    Attributes
    ----------
    metrics
        A row an epoch: epoch, loss, validation, …
    latents
        `latent_changes`.
    volumes, fsc
        `volume_changes`.
    """

    metrics: pd.DataFrame
    latents: pd.DataFrame
    volumes: pd.DataFrame
    fsc: pd.DataFrame


def assess(model_dir: Path, out: Path, settings: ConvergenceSettings) -> dict[str, Any]:
    """Judge a neural training from its metrics and snapshots.

    Writes to `out`: convergence.json (status, epoch, sentence, numbers, limits), loss.csv,
    latent_shift.csv, volume_cc.csv, volume_fsc.csv and a PNG of each curve.

    Parameters
    ----------
    model_dir
        Folder of a homogeneous or heterogeneous model.
    out
        Folder that is replaced as a whole.
    settings
        Limits of the rules.

    Raises
    ------
    StateError
        If metrics are missing or snapshots are damaged.
    """
    metrics = read_metrics(model_dir / "metrics.jsonl")
    folder = model_dir / "snapshots"
    epochs = snapshot_epochs(folder)
    volumes, fsc = _volume_changes(model_dir, epochs, settings)
    curves = Curves(metrics, latent_changes(_latents(folder, epochs)), volumes, fsc)
    kind = read_json(model_dir / "config.json").get("kind")
    found = judge(curves, settings, has_latents=kind != "homogeneous")
    report = {
        "step_format": STEP_FORMAT,
        "version": tomopipe.__version__,
        "model": str(model_dir),
        "epochs": len(metrics),
        "settings": settings.model_dump(mode="json"),
    }
    with atomic_directory(out) as temporary:
        write_json(temporary / "convergence.json", {**asdict(found), **numbers(curves), **report})
        times = ["seconds", "seconds_left"]  # two runs with the same losses leave the same file
        write_csv(temporary / "loss.csv", curves.metrics.drop(columns=times, errors="ignore"))
        write_csv(temporary / "latent_shift.csv", curves.latents)
        write_csv(temporary / "volume_cc.csv", curves.volumes)
        write_csv(temporary / "volume_fsc.csv", curves.fsc)
        write_plots(temporary, curves.metrics, curves.latents, curves.volumes, curves.fsc, found)
    return {**asdict(found), **report}


def judge(curves: Curves, settings: ConvergenceSettings, *, has_latents: bool = True) -> Verdict:
    """Apply the rules of `tomopipe.training.verdict`; `converged` waits until volumes agree too.

    Where no decoders were kept, loss and latents decide alone.
    """
    epochs = curves.metrics["epoch"].to_numpy(int)
    validation = curves.metrics["validation"].to_numpy(float)
    shift = curves.latents.set_index("epoch")["shift"].reindex(epochs).to_numpy(float)
    if curves.latents.empty and "latent_shift" in curves.metrics:
        shift = curves.metrics["latent_shift"].to_numpy(float)
    if not has_latents:
        # one volume moves no particle; without a held-out loss nothing is known of it
        shift = np.full(len(epochs), 0.0 if np.isfinite(validation).all() else np.nan)
    limits = Limits(settings.gain, settings.shift, settings.rise, settings.patience)
    zero = curves.metrics.get("validation_zero")
    baseline = None if zero is None else float(zero.iloc[0])
    found = verdict(list(validation), list(shift), limits, baseline)
    if found.status != "converged" or curves.volumes.empty:
        return found
    settled, last = _volumes_settled(curves.volumes, settings)
    if settled is None:
        return replace(
            found,
            status="not yet",
            epoch=0,
            sentence=f"not yet converged: loss and latents stand still since epoch {found.epoch}, "
            f"but volumes at landmarks still change (median CC with the epoch before {last:.3f}, "
            f"limit {settings.volume_cc:g})",
        )
    epoch = max(found.epoch, settled)
    sentence = (
        f"{found.sentence.replace(f'epoch {found.epoch}', f'epoch {epoch}', 1)}; volumes at "
        f"landmarks agree with the epoch before (median CC {last:.3f})"
    )
    return replace(found, epoch=epoch, sentence=sentence)


def numbers(curves: Curves) -> dict[str, Any]:
    """Curves of an epoch each, for convergence.json and the report."""
    cc = curves.volumes.groupby("epoch")["cc"]
    return {
        "curves": {
            "epoch": curves.metrics["epoch"].tolist(),
            "loss": _column(curves.metrics, "loss"),
            "validation": _column(curves.metrics, "validation"),
            "latent_epoch": curves.latents["epoch"].tolist(),
            "latent_shift": curves.latents["shift"].tolist(),
            "cosine_distance": curves.latents["cosine_distance"].tolist(),
            "volume_epoch": cc.median().index.tolist(),
            "volume_cc_median": cc.median().tolist(),
            "volume_cc_lowest": cc.min().tolist(),
        }
    }


def _column(table: pd.DataFrame, name: str) -> list[float]:
    return [float(value) for value in table[name]]


def _latents(folder: Path, epochs: Iterable[int]) -> Iterator[tuple[int, Array]]:
    """Epochs with their latents, read when asked for: together they may not fit in memory."""
    for epoch in epochs:
        yield epoch, read_snapshot(folder, epoch).astype(np.float64)


def _volume_changes(
    model_dir: Path, epochs: Sequence[int], settings: ConvergenceSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    if not epochs:
        return volume_changes([], lambda epoch, z: None)
    folder = model_dir / "snapshots"
    (last,) = (z for _, z in _latents(folder, epochs[-1:]))
    particles = landmarks(last, settings.landmarks, settings.seed)
    some = ((epoch, z[particles]) for epoch, z in _latents(folder, epochs))
    return volume_changes(some, epoch_volumes(model_dir, settings.volumes_box))


def epoch_volumes(model_dir: Path, largest_box: int) -> EpochVolumes:
    """Decoder snapshots of a heterogeneous model as a function of epoch and latents."""

    def volumes(epoch: int, z: Array) -> Array | None:
        if not (model_dir / "snapshots" / f"decoder_{epoch:03d}.safetensors").is_file():
            return None
        model = HeterogeneousModel.load(model_dir, epoch=epoch)
        box = min(model.box, largest_box)
        result: Array = model.volumes(torch.as_tensor(z, dtype=torch.float32), box=box).numpy()
        return result

    return volumes


def _volumes_settled(
    volumes: pd.DataFrame, settings: ConvergenceSettings
) -> tuple[int | None, float]:
    """Epoch since which the median CC is high enough (None: too short), and the last CC."""
    median = volumes.groupby("epoch")["cc"].median()
    quiet = (median >= settings.volume_cc).to_numpy()
    run = len(quiet) if quiet.all() else int(np.argmin(quiet[::-1]))
    # with fewer comparisons than patience (few decoders kept), those that there are must agree
    needed = min(settings.patience, len(quiet))
    settled = int(median.index[len(quiet) - run]) if run >= needed else None
    return settled, float(median.iloc[-1])
