"""The particles' own maps: back-projection of every cluster with half-maps and FSC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tomopipe.analysis.compare import mask_of, write_csv
from tomopipe.analysis.latent import Array
from tomopipe.dataset.store import Store
from tomopipe.io.mrc import write_volume
from tomopipe.io.progress import Progress
from tomopipe.reconstruct.backproject import accumulate
from tomopipe.reconstruct.half_maps import half_maps
from tomopipe.reconstruct.resolution import half_map_curves


def write_cluster_maps(store: Store, labels: pd.Series[int], out: Path) -> list[float | None]:
    """Back-project each cluster: `backprojection_NN.mrc` and `fsc_NN.csv` (half-maps) in `out`.

    A cluster whose particles are all of one half-set has no FSC.

    Parameters
    ----------
    store
        The branch's store.
    labels
        Cluster of each particle, indexed by uid.
    out
        Folder of the maps.

    Returns
    -------
    list
        Resolution in Å of each cluster's half-maps at FSC 0.143 inside its own mask, corrected for
        that mask, or None where a half has no particle.
    """
    k = int(labels.max()) + 1
    resolutions: list[float | None] = []
    with Progress(k, "back-projecting clusters") as progress:
        for cluster in range(k):
            members = positions(store, labels.index[labels == cluster].to_numpy(object))
            resolutions.append(_write_one(store, members, out, cluster))
            progress.advance()
    return resolutions


def _write_one(store: Store, members: Array, out: Path, cluster: int) -> float | None:
    pixel_size = store.pixel_size
    if len(np.unique(store.half[members])) < 2:
        write_volume(
            out / f"backprojection_{cluster:02d}.mrc", particle_map(store, members), pixel_size
        )
        return None
    maps = half_maps(store, members)
    volume = maps.map.numpy()
    write_volume(out / f"backprojection_{cluster:02d}.mrc", volume, pixel_size)
    # of the halves without their Wiener filter: it leaves strong shells alone, and a tight mask
    # carries those into the weak ones, where both halves would then agree
    curves = half_map_curves(*maps.unfiltered, torch.from_numpy(mask_of(volume)))
    write_csv(out / f"fsc_{cluster:02d}.csv", curves.table(pixel_size))
    return curves.resolution(pixel_size)


def particle_map(store: Store, members: Array) -> Array:
    """Back-projection `(box, box, box)` of the particles at positions `members`.

    Wiener-filtered by its half-maps where both half-sets have particles.
    """
    if len(np.unique(store.half[members])) < 2:
        volume: Array = accumulate(store, members).volume().numpy() * store.scale
    else:
        volume = half_maps(store, members).map.numpy()
    return volume


def positions(store: Store, uids: Array) -> Array:
    """Positions in `store` of particles, in the store's order."""
    return np.flatnonzero(np.isin(store.uids.astype(str), uids.astype(str)))
