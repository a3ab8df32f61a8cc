"""What changed from epoch to epoch: latents of all particles, and volumes at latent landmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.analysis.clusters import kmeans
from tomopipe.analysis.compare import correlation_matrix, fsc_table, mask_of
from tomopipe.analysis.latent import Array
from tomopipe.training.verdict import latent_shift

# volumes `(m, n, n, n)` of the model as it was after an epoch, at latents `(m, zdim)`; None where
# that epoch's decoder was not kept
EpochVolumes = Callable[[int, Array], Array | None]


def snapshot_epochs(folder: Path) -> list[int]:
    """Epochs (from 1) with latents in a `snapshots` folder, in order."""
    return sorted(int(p.stem.removeprefix("epoch_")) for p in folder.glob("epoch_*.safetensors"))


def latent_changes(latents: Iterable[tuple[int, Array]]) -> pd.DataFrame:
    """How latents `(n, K)` moved between consecutive epochs: a row for each but the first.

    Epochs come in order with their latents, of which two are held at a time.

    Columns
    -------
    epoch, epochs_before
        The epoch, and how many lie between it and the one compared.
    shift
        Median distance moved over the latent spread, per epoch, after the best affine map.
    shift_p90
        The same for the 90th percentile of the particles.
    cosine_distance
        Median of 1 - cos of the angle between a particle's places before and after, seen from the
        centre, after the best turn.
    """
    rows = []
    for (earlier, before), (later, after) in pairwise(latents):
        aligned, target = _turned(before, after)
        moved = np.linalg.norm(target - aligned, axis=1)
        spread = max(float(np.sqrt((target**2).sum(axis=1).mean())), 1e-12)
        norms = np.linalg.norm(aligned, axis=1) * np.linalg.norm(target, axis=1)
        cosine = (aligned * target).sum(axis=1) / np.clip(norms, 1e-12, None)
        rows.append(
            {
                "epoch": later,
                "epochs_before": later - earlier,
                "shift": latent_shift(before, after) / (later - earlier),
                "shift_p90": float(np.percentile(moved, 90)) / spread / (later - earlier),
                "cosine_distance": float(np.median(1 - cosine)),
            }
        )
    columns = ["epoch", "epochs_before", "shift", "shift_p90", "cosine_distance"]
    return pd.DataFrame(rows, columns=columns)


def _turned(before: Array, after: Array) -> tuple[Array, Array]:
    """Both centred, `before` turned and scaled onto `after` (orthogonal Procrustes)."""
    x, y = before - before.mean(axis=0), after - after.mean(axis=0)
    u, s, vt = np.linalg.svd(x.T @ y)
    scale = s.sum() / max(float((x**2).sum()), 1e-300)
    return scale * x @ u @ vt, y


def landmarks(z: Array, count: int, seed: int) -> Array:
    """Positions of the particles nearest to the k-means centres of the last latents `(n, K)`."""
    return kmeans(np.asarray(z, dtype=np.float64), count, seed=seed).representatives


def volume_changes(
    latents: Iterable[tuple[int, Array]], volumes_at: EpochVolumes
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """CC and FSC of landmark volumes between consecutive epochs that kept their decoder.

    `latents` are those of the landmarks `(m, K)`, epoch by epoch. Each epoch's decoder makes the
    volumes of the same particles at that epoch's latents, so a turn of latent space changes
    nothing. Correlations are inside the mask of the later volume.

    Returns
    -------
    tuple
        Table of epoch, landmark, cc, fsc_half (share of shells before the FSC first falls below
        0.5); and of epoch, shell, fsc (median over the landmarks).
    """
    changes, curves = [], []
    before: Array | None = None
    for epoch, z in latents:
        volumes = volumes_at(epoch, z)
        if volumes is not None and before is not None:
            pairs = [_compare(a, b) for a, b in zip(before, volumes, strict=True)]
            for landmark, (cc, curve) in enumerate(pairs):
                share = _agreeing(curve)
                changes.append((epoch, landmark, cc, share))
            median = np.median([curve for _, curve in pairs], axis=0)
            curves += [(epoch, shell + 1, value) for shell, value in enumerate(median)]
        before = volumes
    return (
        pd.DataFrame(changes, columns=["epoch", "landmark", "cc", "fsc_half"]),
        pd.DataFrame(curves, columns=["epoch", "shell", "fsc"]),
    )


def _compare(before: Array, after: Array) -> tuple[float, Array]:
    mask = mask_of(after)
    cc = correlation_matrix(np.stack([before, after]), mask)[0, 1]
    return float(cc), fsc_table(before, after, mask, 1.0)["fsc_masked"].to_numpy()


def _agreeing(curve: Array) -> float:
    """Share of the shells before a curve first falls below 0.5."""
    below = np.flatnonzero(curve < 0.5)
    return float(below[0] if len(below) else len(curve)) / len(curve)
