"""A continuous motion: is the order found, and are the volumes along it as good as can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.heterogeneity.sets import Made
from tomopipe.analysis.explore import explore
from tomopipe.analysis.latent import Latents
from tomopipe.config.analysis import AnalysisSettings
from tomopipe.dataset.store import Store
from tomopipe.models import load_model
from tomopipe.physics.fsc import fsc
from tomopipe.physics.mask import sphere_mask
from tomopipe.reconstruct.half_maps import half_maps
from tomopipe.simulate.particles import true_volume

_PLACES, _SHARE = 10, 0.1  # of the particles that make one place


def coordinate(made: Made, latents: Latents) -> NDArray[np.float64]:
    """The one-dimensional coordinate that the analysis finds, in the order of `latents`."""
    found = explore(latents, AnalysisSettings(clusters=2, umap=True, seed=made.seed))
    table = found.coordinates.set_index("uid")["coordinate"]
    return table.loc[list(latents.uids)].to_numpy(float)


def motion(made: Made, folder: Path, latents: Latents) -> dict[str, float]:
    """|Spearman| with the true coordinate; FSC area along the path over that of the truth's order.

    At ten places: the model's volume at the mean latent of the tenth of the particles that lies
    nearest in the found coordinate, against the back-projection of the tenth that lies nearest in
    the true one; both against the true volume, inside a sphere.
    """
    found = coordinate(made, latents)
    true = made.truth["coordinate"].loc[list(latents.uids)].to_numpy(float)
    rho = float(spearmanr(found, true).statistic)
    out = {"spearman": abs(rho)}
    if not (folder / "config.json").is_file():
        return out
    model = load_model(folder)
    store = Store.open(made.store, list(latents.uids))
    ranks = [np.argsort(np.argsort(x)) / len(x) for x in (found * np.sign(rho or 1), true)]
    ours, bound = [], []
    for place in (np.arange(_PLACES) + 0.5) / _PLACES:
        near, best = (np.argsort(abs(r - place))[: round(_SHARE * len(r))] for r in ranks)
        truth = true_volume(made.settings, made.settings.moving[0], float(np.median(true[best])))
        z = torch.tensor(latents.z[near].mean(0, keepdims=True)).float()
        ours.append(_area(model.volumes(z)[0].cpu(), truth))
        bound.append(_area(half_maps(store, np.sort(best)).map, truth))
    return out | {
        "path_area": float(np.mean(ours)),
        "path_ratio": float(np.mean(ours) / np.mean(bound)),
    }


def _area(volume: Tensor, truth: Tensor) -> float:
    """Area under the FSC inside a sphere of .45 of the box."""
    box = truth.shape[-1]
    return float(fsc(volume, truth, sphere_mask(box, 0.45 * box - 3)).mean())
