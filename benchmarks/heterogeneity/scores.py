"""How well latents and volumes of a model match the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.heterogeneity.motion import coordinate, motion
from benchmarks.heterogeneity.sets import Made, is_junk
from tomopipe.analysis.epochs import snapshot_epochs
from tomopipe.analysis.explore import Findings, explore
from tomopipe.analysis.latent import Latents, read_latents
from tomopipe.config.analysis import AnalysisSettings
from tomopipe.dataset.store import Store
from tomopipe.models import load_model
from tomopipe.physics.fsc import fsc
from tomopipe.simulate.particles import true_volume
from tomopipe.training.heldout import compare
from tomopipe.training.snapshots import read_snapshot

_SAMPLED, _NEIGHBOURS = 100, 10


def scores(made: Made, folder: Path) -> dict[str, float]:
    """All figures of one model on one set; those that a set has no truth for are left out."""
    latents = read_latents(folder / "latents.parquet")
    truth = made.truth.loc[list(latents.uids)]
    state = truth["state"].to_numpy(str)
    out = against_linear(made, folder)
    if (folder / "config.json").is_file():
        out["fsc_area"] = fsc_area(made, folder, truth, latents.z)
    if len(set(state)) > 1:
        labels, by_method = clusters(made, folder, latents)
        junk = is_junk(truth).to_numpy()
        labels = junk_as_one(labels, junk)
        by_method = {m: junk_as_one(x, junk) for m, x in by_method.items()}
        out |= {f"{m}_ari": float(adjusted_rand_score(state, x)) for m, x in by_method.items()}
        alone = junk_as_one(alone_clusters(made, folder, latents), junk)
        out |= {
            "ari": float(adjusted_rand_score(state, labels)),
            "ari_auto": float(adjusted_rand_score(state, alone)),
            "linear_accuracy": linear_accuracy(latents.z, state),
            "neighbours": neighbourhood(latents.z, state),
        }
        rarest = min(set(state), key=lambda s: (state == s).sum())
        out |= precision_recall("rare", labels, state == rarest)
        if junk.any():
            out |= precision_recall("junk", labels, junk, several=True)
    elif np.isfinite(truth["coordinate"].to_numpy(float)).all():
        out |= motion(made, folder, latents)
    return out


def against_linear(made: Made, folder: Path) -> dict[str, float]:
    """How much better a network predicts held-out tilts than the linear model it began from.

    `heldout_gain` is its share of what the linear model gains over one mean volume,
    `heldout_sigmas` the difference over its standard error; nothing without such a pair.
    """
    start = folder.parent / "start"
    if not start.is_dir():
        return {}
    found = compare(Store.open(made.store), start, folder, torch.device("cpu"))
    return {"heldout_gain": found.gain, "heldout_sigmas": found.sigmas}


def junk_as_one(labels: NDArray[np.int64], junk: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Clusters that are mostly junk become one, as they do when a person drops them."""
    share = pd.Series(junk).groupby(labels).mean()
    return np.where(share.loc[labels].to_numpy() > 0.5, -1, labels)


def clusters(
    made: Made, folder: Path, latents: Latents
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    """Labels in the order of `latents`: the model's own or else the default's, k-means', GMM's."""
    k = made.truth["state"].nunique()
    found = explore(latents, AnalysisSettings(clusters=k, umap=False, seed=made.seed))
    others = {m: _in_order(found, found.clusterings[m].labels, latents) for m in ("kmeans", "gmm")}
    own = own_clusters(folder, latents)
    return _in_order(found, found.chosen.labels, latents) if own is None else own, others


def alone_clusters(made: Made, folder: Path, latents: Latents) -> NDArray[np.int64]:
    """Labels in the order of `latents`, their number found as `analyze` finds it by itself.

    The same for every method, so that no method has it better by its number of clusters: by the
    mixture, on the latents of the linear model where a network began from one.
    """
    own = own_clusters(folder, latents)
    if own is not None:
        return own
    settings = AnalysisSettings(clusters="auto", umap=False, coordinate=False, seed=made.seed)
    start = folder.parent / "start"
    linear = read_latents(start / "latents.parquet") if start.is_dir() else None
    found = explore(latents, settings, others=False, linear=linear)
    return _in_order(found, found.chosen.labels, latents)


def own_clusters(folder: Path, latents: Latents) -> NDArray[np.int64] | None:
    """What the model itself wrote, as `tomopipe fit` does."""
    path = folder / "clusters.parquet"
    if not path.is_file():
        return None
    return pd.read_parquet(path).set_index("uid")["cluster"].loc[list(latents.uids)].to_numpy()


def _in_order(found: Findings, labels: NDArray[Any], latents: Latents) -> NDArray[np.int64]:
    return pd.Series(labels, index=found.latents.uids).loc[list(latents.uids)].to_numpy()


def epochs(made: Made, folder: Path, total: float) -> list[dict[str, float]]:
    """Seconds since the start and ARI (or |Spearman|) after each epoch of a network.

    What of the `total` seconds its epochs do not explain counts as spent before the first of them.
    """
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return []
    latents = read_latents(folder / "latents.parquet")
    state = made.truth["state"].loc[list(latents.uids)].to_numpy(str)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    spent = np.cumsum([json.loads(line)["seconds"] for line in lines])
    seconds = total - spent[-1] + spent
    rows = []
    for epoch in snapshot_epochs(snapshots):
        then = replace(latents, z=read_snapshot(snapshots, epoch), covariance=None)
        row = {"epoch": epoch, "seconds": float(seconds[epoch - 1])}
        if len(set(state)) > 1:
            labels = clusters(made, snapshots, then)[0]
            row["ari"] = float(adjusted_rand_score(state, labels))
        else:
            truth = made.truth["coordinate"].loc[list(latents.uids)].to_numpy(float)
            row["spearman"] = float(abs(spearmanr(coordinate(made, then), truth).statistic))
        rows.append(row)
    return rows


def linear_accuracy(z: np.ndarray, state: np.ndarray) -> float:
    """Cross-validated accuracy of a linear classifier on the latents."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return float((cross_val_predict(model, z, state, cv=5) == state).mean())


def neighbourhood(z: np.ndarray, state: np.ndarray) -> float:
    """Share of the ten nearest neighbours in latent space that are of a particle's own state."""
    near = NearestNeighbors(n_neighbors=_NEIGHBOURS + 1).fit(z).kneighbors(z)[1][:, 1:]
    return float((state[near] == state[:, None]).mean())


def precision_recall(
    name: str, labels: np.ndarray, wanted: np.ndarray, several: bool = False
) -> dict[str, float]:
    """Of the cluster that holds `wanted` best by F1, or of the best union of `several` clusters.

    A union is made of the clusters with the largest shares of `wanted`.
    """
    shares = {label: wanted[labels == label].mean() for label in set(labels)}
    order = sorted(shares, key=lambda label: -shares[label])
    groups = [order[: i + 1] if several else [order[i]] for i in range(len(order))]
    best = {f"{name}_precision": 0.0, f"{name}_recall": 0.0}
    top = 0.0
    for group in groups:
        said = np.isin(labels, group)
        hits = float((wanted & said).sum())
        precision, recall = hits / said.sum(), hits / wanted.sum()
        f1 = 2 * precision * recall / max(precision + recall, 1e-12)
        if f1 > top:
            top, best = f1, {f"{name}_precision": precision, f"{name}_recall": recall}
    return best


def fsc_area(made: Made, folder: Path, truth: pd.DataFrame, z: np.ndarray) -> float:
    """Mean area under the FSC of a particle's volume with its own truth (CryoBench)."""
    good = np.flatnonzero(~truth["junk"].to_numpy())
    rows = good[np.unique(np.linspace(0, len(good) - 1, _SAMPLED).astype(int))]
    model = load_model(folder)
    areas = []
    for row in rows:
        particle = truth.iloc[row]
        own = true_volume(made.settings, particle["state"], particle["coordinate"])
        volume = model.volumes(torch.tensor(z[row : row + 1]).float())[0].cpu()
        areas.append(float(fsc(volume, own).mean()))
    return float(np.mean(areas))
