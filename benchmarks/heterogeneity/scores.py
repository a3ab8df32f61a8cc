"""How well latents and volumes of a model match the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.heterogeneity.sets import Made
from tomopipe.analysis.analyze import explore
from tomopipe.analysis.latent import read_latents
from tomopipe.config.analysis import AnalysisSettings
from tomopipe.models import load_model
from tomopipe.physics.fsc import fsc
from tomopipe.simulate.particles import true_volume

_SAMPLED, _NEIGHBOURS = 100, 10


def scores(made: Made, folder: Path) -> dict[str, float]:
    """All figures of one model on one set; those that a set has no truth for are left out."""
    latents = read_latents(folder / "latents.parquet")
    truth = made.truth.loc[list(latents.uids)]
    state = truth["state"].to_numpy(str)
    k = len(set(state))
    out: dict[str, float] = {"fsc_area": fsc_area(made, folder, truth, latents.z)}
    if k > 1:
        found = explore(latents, AnalysisSettings(clusters=k, seed=made.seed))
        order = list(latents.uids)
        labels = pd.Series(found.chosen.labels, index=found.latents.uids).loc[order].to_numpy()
        for method in ("kmeans", "gmm"):
            other = pd.Series(found.clusterings[method].labels, index=found.latents.uids)
            out[f"{method}_ari"] = float(adjusted_rand_score(state, other.loc[order]))
        out |= {
            "ari": float(adjusted_rand_score(state, labels)),
            "linear_accuracy": linear_accuracy(latents.z, state),
            "neighbours": neighbourhood(latents.z, state),
        }
        rarest = min(set(state), key=lambda s: (state == s).sum())
        out |= precision_recall(labels, state == rarest)
    coordinate = truth["coordinate"].to_numpy(float)
    if np.isfinite(coordinate).mean() > 0.9:
        found = explore(latents, AnalysisSettings(clusters=2, umap=True, seed=made.seed))
        one = found.coordinates.set_index("uid")["coordinate"].loc[list(latents.uids)]
        out["spearman"] = float(abs(spearmanr(one, coordinate).statistic))
    return out


def linear_accuracy(z: np.ndarray, state: np.ndarray) -> float:
    """Cross-validated accuracy of a linear classifier on the latents."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return float((cross_val_predict(model, z, state, cv=5) == state).mean())


def neighbourhood(z: np.ndarray, state: np.ndarray) -> float:
    """Share of the ten nearest neighbours in latent space that are of a particle's own state."""
    near = NearestNeighbors(n_neighbors=_NEIGHBOURS + 1).fit(z).kneighbors(z)[1][:, 1:]
    return float((state[near] == state[:, None]).mean())


def precision_recall(labels: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Of the cluster that matches the rarest state best (by F1)."""
    best = {"rare_precision": 0.0, "rare_recall": 0.0}
    top = 0.0
    for label in set(labels):
        hits = float((wanted & (labels == label)).sum())
        precision, recall = hits / (labels == label).sum(), hits / wanted.sum()
        f1 = 2 * precision * recall / max(precision + recall, 1e-12)
        if f1 > top:
            top, best = f1, {"rare_precision": precision, "rare_recall": recall}
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
        volume = model.volumes(torch.from_numpy(z[row : row + 1]).float())[0].cpu()
        areas.append(float(fsc(volume, own).mean()))
    return float(np.mean(areas))
