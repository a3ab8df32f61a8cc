"""What is known about each cluster when junk is looked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tomopipe.analysis.cluster_maps import particle_map, positions
from tomopipe.analysis.coherence import add_coherence
from tomopipe.analysis.compare import correlation_matrix, read_maps
from tomopipe.analysis.latent import Array, Latents
from tomopipe.analysis.signal import consensus_signal
from tomopipe.analysis.volumes import resize
from tomopipe.config.analysis import JunkSettings
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json
from tomopipe.io.mrc import read_volume
from tomopipe.io.progress import Progress
from tomopipe.physics.project import lowpass


def gather_evidence(
    store: Store,
    latents: Latents,
    clusters: pd.DataFrame,
    analysis_dir: Path,
    consensus_dir: Path,
    settings: JunkSettings,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evidence on every cluster, a row each; and on every particle: uid, cluster, signal, error.

    Columns
    -------
    cluster, count, fraction
        Label, particles, and their share of all.
    cc_volume
        Masked CC of the model's volume with the consensus.
    cc_backprojection, cc_control
        Masked CC of the back-projection of its particles with the consensus, and the mean of that
        for random groups of its size; both low-passed to the consensus' resolution.
    agreement
        Their ratio.
    signal, signal_error, without_signal
        Mean contrast of the consensus in its particles' images, its standard error, and the share
        of its particles below a quarter of the overall median.
    resolution, expected
        Where its half-maps agree (Å, FSC 0.143), and those of as many particles of all together.
    place, volume_pc0, volume_pc1
        Distance of its volume from the middle of all volumes, in typical distances, and its
        coordinates in the PCA of the volumes.
    latent_norm
        Mean distance of its particles from the median latent, in units of the median particle's.
    error_mean, error_p90
        Mean and 90th percentile of its particles' normalised residual.

    All correlations are inside the consensus' mask.
    """
    labels = pd.Series(clusters["cluster"].to_numpy(), index=clusters["uid"].to_numpy(object))
    consensus = Consensus.read(consensus_dir, store)
    table = _counts(labels)
    k = len(table)
    volumes = _model_volumes(analysis_dir, k, store)
    everything = np.concatenate([consensus.map[None], volumes])
    table["cc_volume"] = correlation_matrix(everything, consensus.mask)[0, 1:]
    _add_backprojections(table, labels, store, analysis_dir, consensus, settings)
    add_coherence(table, analysis_dir, consensus_dir, store.pixel_size)
    masked = consensus.halves * consensus.mask
    particles = pd.DataFrame(
        {"uid": store.uids, "cluster": labels.loc[list(store.uids)].to_numpy()}
    )
    particles["signal"] = consensus_signal(store, masked, consensus.radius)
    error = pd.Series(latents.error, index=latents.uids)
    particles["error"] = error.loc[list(store.uids)].to_numpy()
    _add_particles(table, particles)
    _add_place(table, volumes, consensus.mask)
    _add_norm(table, labels, latents)
    return table, particles


class Consensus:
    """The consensus map, its half-maps and mask, and the radius (lattice units) of FSC 0.5."""

    def __init__(self, volume: Array, halves: Array, mask: Array, radius: float) -> None:
        self.map, self.halves, self.mask, self.radius = volume, halves, mask, radius

    @classmethod
    def read(cls, folder: Path, store: Store) -> Consensus:
        """Read a consensus folder.

        Raises
        ------
        StateError
            If its maps are not of the store's box.
        """
        names = ("map", "half1", "half2", "mask")
        maps, _ = read_maps([folder / f"{name}.mrc" for name in names])
        if maps.shape[-1] != store.box:
            raise StateError(
                f"{folder}/map.mrc has box {maps.shape[-1]}, the store {store.box}: "
                "run the consensus of this branch again"
            )
        found = read_json(folder / "consensus.json").get("resolution_05_angstrom")
        radius = store.box * store.pixel_size / found if found else store.box / 4
        return cls(maps[0], maps[1:3], maps[3], float(np.clip(radius, 3, store.box / 2 - 1)))

    def filtered(self, volume: Array) -> Array:
        """Low-pass a map to the consensus' resolution."""
        tensor = torch.as_tensor(np.asarray(volume, dtype=np.float32))
        result: Array = lowpass(tensor, self.radius).numpy()
        return result

    @cached_property
    def _filtered_map(self) -> Array:
        return self.filtered(self.map)

    def agreement(self, volume: Array) -> float:
        """Masked CC with the consensus, both low-passed."""
        pair = np.stack([self._filtered_map, self.filtered(volume)])
        return float(correlation_matrix(pair, self.mask)[0, 1])


def _counts(labels: pd.Series[int]) -> pd.DataFrame:
    counts = labels.value_counts().sort_index()
    table = pd.DataFrame({"cluster": counts.index.to_numpy(np.int32), "count": counts.to_numpy()})
    table["fraction"] = table["count"] / len(labels)
    return table


def _model_volumes(analysis_dir: Path, k: int, store: Store) -> Array:
    maps = []
    for cluster in range(k):
        volume, pixel_size = read_volume(analysis_dir / "volumes" / f"cluster_{cluster:02d}.mrc")
        maps.append(resize(volume, pixel_size, store.box)[0])
    return np.stack(maps)


def _add_backprojections(
    table: pd.DataFrame,
    labels: pd.Series[int],
    store: Store,
    analysis_dir: Path,
    consensus: Consensus,
    settings: JunkSettings,
) -> None:
    own, control = [], []
    draw = np.random.default_rng(settings.seed)
    with Progress(len(table), "evidence on clusters") as progress:
        for cluster, count in zip(table["cluster"], table["count"], strict=True):
            saved = analysis_dir / "volumes" / f"backprojection_{cluster:02d}.mrc"
            if saved.exists():
                volume = read_volume(saved)[0]
            else:
                members = positions(store, labels.index[labels == cluster].to_numpy(object))
                volume = particle_map(store, members)
            own.append(consensus.agreement(volume))
            if count < store.n_particles:
                control.append(_control(store, consensus, count, settings.controls, draw))
            else:
                control.append(own[-1])  # any group of that size is the cluster itself
            progress.advance()
    table["cc_backprojection"], table["cc_control"] = own, control
    table["agreement"] = np.clip(own, 0, None) / np.clip(control, 0.05, None)


def _control(
    store: Store, consensus: Consensus, count: int, groups: int, draw: np.random.Generator
) -> float:
    """Mean agreement of random groups of `count` particles with the consensus."""
    chosen = [np.sort(draw.choice(store.n_particles, count, replace=False)) for _ in range(groups)]
    return float(np.mean([consensus.agreement(particle_map(store, group)) for group in chosen]))


def _add_particles(table: pd.DataFrame, particles: pd.DataFrame) -> None:
    """What a cluster's particles show, each by itself."""
    weak = particles["signal"] < 0.25 * particles["signal"].median()
    groups = particles.assign(weak=weak).groupby("cluster")
    table["signal"] = groups["signal"].mean().to_numpy()
    table["signal_error"] = groups["signal"].sem().fillna(np.inf).to_numpy()
    table["without_signal"] = groups["weak"].mean().to_numpy()
    table["error_mean"] = groups["error"].mean().to_numpy()
    table["error_p90"] = groups["error"].quantile(0.9).to_numpy()


def _add_place(table: pd.DataFrame, volumes: Array, mask: Array) -> None:
    flat = (volumes * np.sqrt(mask)).reshape(len(volumes), -1).astype(np.float64)
    middle = np.median(flat, axis=0)
    distance = np.linalg.norm(flat - middle, axis=1)
    typical = max(float(np.median(distance)), 1e-30)
    table["place"] = distance / typical
    # the PCA of k volumes has at most k components: work with their k x k inner products
    centred = flat - flat.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    coordinates = vectors[:, ::-1] * np.sqrt(np.clip(values[::-1], 0, None))
    coordinates = np.pad(coordinates, [(0, 0), (0, 2)])
    sign = np.sign(coordinates[np.abs(coordinates).argmax(axis=0), range(coordinates.shape[1])])
    table["volume_pc0"] = coordinates[:, 0] * (sign[0] or 1)
    table["volume_pc1"] = coordinates[:, 1] * (sign[1] or 1)


def _add_norm(table: pd.DataFrame, labels: pd.Series[int], latents: Latents) -> None:
    norm = np.linalg.norm(latents.z - np.median(latents.z, axis=0), axis=1)
    groups = pd.Series(norm / max(float(np.median(norm)), 1e-30)).groupby(
        labels.loc[list(latents.uids)].to_numpy()
    )
    table["latent_norm"] = groups.mean().to_numpy()
