"""Every cluster's own map, in two halves, against the model's volume of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe import __version__
from tomopipe.config.reconstruct import ClassesSettings
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.atomic import (
    atomic_directory,
    check_folder,
    fingerprint,
    read_parquet,
    write_json,
    write_text,
)
from tomopipe.io.mrc import write_volume
from tomopipe.io.progress import Progress
from tomopipe.physics.fsc import fsc
from tomopipe.reconstruct.backproject import Sums, accumulate, open_on
from tomopipe.reconstruct.class_figures import Class, Maps, Volumes, class_figures
from tomopipe.reconstruct.half_maps import wiener_term
from tomopipe.reconstruct.mask import FINEST_ANGSTROM, automatic_mask
from tomopipe.reconstruct.resolution import half_map_curves
from tomopipe.reconstruct.symmetry import operators
from tomopipe.reconstruct.verdict import ClassFigures

STEP_FORMAT = 3


def validate_classes(
    store_path: Path,
    analysis: Path,
    out: Path,
    settings: ClassesSettings | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Reconstruct every cluster of an analysis and compare it with the model's volume.

    Every particle is read once: clusters follow each other, and only one cluster's sums are in
    memory at a time. Files: `cluster_NN/{map,half1,half2}.mrc`, `classes.csv`, `fsc.csv`,
    `classes.json`.

    Parameters
    ----------
    store_path
        The data set's store.
    analysis
        Folder with `clusters.parquet` and `volumes/cluster_NN.mrc`.
    out
        Folder that is written.
    settings
        See `ClassesSettings`.
    device
        Where images are summed.

    Raises
    ------
    StateError
        If the store lacks particles of the clusters, or the table is not one of clusters.
    """
    settings = settings or ClassesSettings()
    check_folder(out)
    table = _clusters(analysis / "clusters.parquet")
    store, label = _labelled(store_path, table)
    volumes = Volumes(analysis / "volumes", store.box)
    with atomic_directory(out) as folder, Progress(store.n_particles, "classes") as progress:
        sum_up = partial(
            accumulate,
            store,
            operators=_turns(settings.symmetry),
            device=device,
            reader=open_on(store, device),
            progress=progress,
        )
        found: list[Class] = []
        whole: Maps = {}
        for cluster in np.unique(label).tolist():
            members = np.flatnonzero(label == cluster)
            one, maps = _class(store, members, cluster, volumes, sum_up, settings.seed)
            for name, volume in maps.items():
                path = folder / f"cluster_{cluster:02d}" / f"{name}.mrc"
                write_volume(path, volume.numpy(), store.pixel_size)
                share = _share(store, members, name)
                whole[name] = whole.get(name, torch.zeros(())) + share * volume
            found.append(one)
        figures = class_figures(found, volumes, whole, store.pixel_size, settings)
        summary = _summary(figures, table, store, settings)
        _write_tables(folder, found, figures, store.pixel_size)
        write_json(folder / "classes.json", summary)
    return summary


def _share(store: Store, members: NDArray[np.integer], name: str) -> float:
    """Share of the particles of a half-set (`half1`, `half2`), or of all, that a cluster holds."""
    halves = {"half1": (1,), "half2": (2,)}.get(name, (1, 2))
    counted = np.isin(store.half, halves)
    return float(counted[members].sum() / counted.sum())


def _write_tables(
    folder: Path, found: Sequence[Class], figures: Sequence[ClassFigures], pixel_size: float
) -> None:
    rows = pd.DataFrame([vars(row) for row in figures])
    write_text(folder / "classes.csv", rows.to_csv(index=False))
    write_text(folder / "fsc.csv", _curves(found, pixel_size).to_csv(index=False))


def _labelled(store_path: Path, table: pd.DataFrame) -> tuple[Store, NDArray[np.int64]]:
    """Particles of the table in the store's order, and the cluster of each."""
    labels = table.set_index(table["uid"].astype(str))["cluster"].astype(int)
    store = Store.open(store_path, list(labels.index))
    return store, np.asarray(labels.loc[list(store.uids)])


def _clusters(path: Path) -> pd.DataFrame:
    table = read_parquet(path)
    if not {"uid", "cluster"} <= set(table.columns):
        raise StateError(f"{path} has no columns uid and cluster: run analyze again")
    return table


def _class(
    store: Store,
    members: NDArray[np.integer],
    label: int,
    volumes: Volumes,
    sum_up: Callable[[NDArray[np.integer]], Sums],
    seed: int,
) -> tuple[Class, Maps]:
    """Reconstruct one cluster and measure its curves."""
    sums: dict[str, Sums] = {}
    for half in (1, 2):
        chosen = members[store.half[members] == half]
        if len(chosen):
            sums[f"half{half}"] = sum_up(chosen)
    first, *second = sums.values()
    both = first + second[0] if second else first
    maps = {name: one.volume().cpu() * store.scale for name, one in sums.items()}
    plain = both.volume().cpu() * store.scale
    model = volumes.get(label)
    finest = max(FINEST_ANGSTROM, 4 * store.pixel_size)
    mask = automatic_mask(plain if model is None else model, store.pixel_size, finest)
    curves, prior = None, None
    if second:
        curves = half_map_curves(maps["half1"], maps["half2"], mask, seed=seed)
        prior = wiener_term(both, curves.corrected)
    maps["map"] = both.volume(prior).cpu() * store.scale
    model_fsc = None if model is None else fsc(plain, model, mask)
    return Class(label, len(members), plain, mask, curves, model_fsc), maps


def _turns(symmetry: str) -> Tensor | None:
    group = operators(symmetry)
    return torch.from_numpy(group) if len(group) > 1 else None


def _curves(found: Sequence[Class], pixel_size: float) -> pd.DataFrame:
    """Table of cluster, shell, …, fsc_corrected of the half-maps, and fsc_model."""
    tables = []
    for one in found:
        if one.curves is None:
            continue
        table = one.curves.table(pixel_size)
        table.insert(0, "cluster", one.label)
        table["fsc_model"] = np.nan if one.model_fsc is None else one.model_fsc.numpy()
        tables.append(table)
    return pd.concat(tables) if tables else pd.DataFrame({"cluster": []})


def _summary(
    figures: Sequence[ClassFigures], table: pd.DataFrame, store: Store, settings: ClassesSettings
) -> dict[str, Any]:
    return {
        "step_format": STEP_FORMAT,
        "version": __version__,
        "classes": [vars(row) for row in figures],
        "unsupported": [row.cluster for row in figures if not row.supported],
        "n_particles": store.n_particles,
        "box": store.box,
        "pixel_size_angstrom": store.pixel_size,
        "settings": settings.model_dump(mode="json"),
        "clusters_fingerprint": _fingerprint(table),
    }


def _fingerprint(table: pd.DataFrame) -> str:
    """The same as in the analysis's own record."""
    pairs = table[["uid", "cluster"]].sort_values("uid")
    return fingerprint(pairs["uid"].astype(str).tolist(), pairs["cluster"].astype(int).tolist())
