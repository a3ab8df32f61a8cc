"""Every cluster's own map, in two halves, against the model's volume of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
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
from tomopipe.io.mrc import read_volume, write_volume
from tomopipe.io.progress import Progress
from tomopipe.physics.fourier import resample
from tomopipe.physics.fsc import correlation, fsc, resolution_at
from tomopipe.physics.project import lowpass
from tomopipe.reconstruct.backproject import Sums, accumulate, wiener_term
from tomopipe.reconstruct.mask import FINEST_ANGSTROM, automatic_mask
from tomopipe.reconstruct.resolution import Curves, fewer_particles, half_map_curves
from tomopipe.reconstruct.symmetry import operators
from tomopipe.reconstruct.verdict import ClassFigures, verdict

STEP_FORMAT = 1


@dataclass(frozen=True)
class Class:
    """One cluster.

    Attributes
    ----------
    label, n_particles
        Of the cluster.
    plain
        `(box, box, box)` unfiltered map in units of the images.
    mask
        Around the model's volume, or around the own map where there is none.
    curves
        Half-map FSC; None where a half is empty.
    model_fsc
        `(box / 2 - 1,)` FSC of the unfiltered map with the model's volume inside the mask; None
        without a volume.
    """

    label: int
    n_particles: int
    plain: Tensor
    mask: Tensor
    curves: Curves | None
    model_fsc: Tensor | None


Maps = dict[str, Tensor]  # map, half1, half2; a half without particles is left out


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
    table = read_parquet(analysis / "clusters.parquet")
    if not {"uid", "cluster"} <= set(table.columns):
        raise StateError(
            f"{analysis}/clusters.parquet has no columns uid and cluster: run analyze again"
        )
    labels = table.set_index(table["uid"].astype(str))["cluster"].astype(int)
    store = Store.open(store_path, list(labels.index))
    label = labels.loc[list(store.uids)].to_numpy()
    volumes = Volumes(analysis / "volumes", store.box)
    with atomic_directory(out) as folder, Progress(store.n_particles, "classes") as progress:
        found: list[Class] = []
        whole: Maps = {}
        for cluster in np.unique(label).tolist():
            members = np.flatnonzero(label == cluster)
            one, maps = _class(store, members, cluster, volumes, settings, device, progress)
            for name, volume in maps.items():
                path = folder / f"cluster_{cluster:02d}" / f"{name}.mrc"
                write_volume(path, volume.numpy(), store.pixel_size)
                share = len(members) / store.n_particles
                whole[name] = whole.get(name, torch.zeros(())) + share * volume
            found.append(one)
        figures = class_figures(found, volumes, whole, store.pixel_size, settings)
        rows = pd.DataFrame([vars(row) for row in figures])
        write_text(folder / "classes.csv", rows.to_csv(index=False))
        write_text(folder / "fsc.csv", _curves(found, store.pixel_size).to_csv(index=False))
        summary = _summary(figures, table, store, settings)
        write_json(folder / "classes.json", summary)
    return summary


class Volumes:
    """The model's `cluster_NN.mrc` of a folder, read when asked for, on `box` voxels a side."""

    def __init__(self, folder: Path, box: int) -> None:
        self._box = box
        self._paths = {
            int(match[1]): path
            for path in folder.glob("cluster_*.mrc")
            if (match := re.fullmatch(r"cluster_(\d+)", path.stem))
        }

    def __contains__(self, label: int) -> bool:
        return label in self._paths

    def __getitem__(self, label: int) -> Tensor:
        return resample(torch.from_numpy(read_volume(self._paths[label])[0]), self._box)


def _class(
    store: Store,
    members: NDArray[np.integer],
    label: int,
    volumes: Volumes,
    settings: ClassesSettings,
    device: torch.device | str,
    progress: Progress,
) -> tuple[Class, Maps]:
    """Reconstruct one cluster and measure its curves."""
    group = operators(settings.symmetry)
    turns = torch.from_numpy(group) if len(group) > 1 else None
    sums: dict[str, Sums] = {}
    for half in (1, 2):
        chosen = members[store.half[members] == half]
        if len(chosen):
            sums[f"half{half}"] = accumulate(
                store, chosen, operators=turns, device=device, progress=progress
            )
    first, *second = sums.values()
    both = first + second[0] if second else first
    maps = {name: one.volume().cpu() * store.scale for name, one in sums.items()}
    plain = both.volume().cpu() * store.scale
    model = volumes[label] if label in volumes else None
    finest = max(FINEST_ANGSTROM, 4 * store.pixel_size)
    mask = automatic_mask(plain if model is None else model, store.pixel_size, finest)
    curves, prior = None, None
    if second:
        curves = half_map_curves(maps["half1"], maps["half2"], mask, seed=settings.seed)
        prior = wiener_term(both, curves.corrected)
    maps["map"] = both.volume(prior).cpu() * store.scale
    model_fsc = None if model is None else fsc(plain, model, mask)
    return Class(label, len(members), plain, mask, curves, model_fsc), maps


def class_figures(
    found: Sequence[Class],
    volumes: Volumes,
    whole: Maps,
    pixel_size: float,
    settings: ClassesSettings,
) -> list[ClassFigures]:
    """Figures and verdict of every class, which needs all of them for their differences.

    `whole` are the two half-maps of all classes together.
    """
    differences = _differences(found, volumes, pixel_size)
    total = sum(one.n_particles for one in found)
    rows = []
    for one in found:
        half = None if one.curves is None else one.curves.corrected
        model = one.model_fsc
        expected = None
        if half is not None:
            together = fsc(whole["half1"], whole["half2"], one.mask)
            expected = fewer_particles(together, one.n_particles / total)
        row = ClassFigures(
            cluster=one.label,
            particles=one.n_particles,
            resolution_0143_angstrom=_at(half, pixel_size, 0.143),
            resolution_05_angstrom=_at(half, pixel_size, 0.5),
            expected_0143_angstrom=_at(expected, pixel_size, 0.143),
            model_resolution_05_angstrom=_at(model, pixel_size, 0.5),
            model_fsc_area=None if model is None else float(model.mean()),
            difference_cc=differences.get(one.label),
        )
        rows.append(verdict(row, settings))
    return rows


def _at(curve: Tensor | None, pixel_size: float, threshold: float) -> float | None:
    return None if curve is None else resolution_at(curve, pixel_size, threshold)


def _differences(found: Sequence[Class], volumes: Volumes, pixel_size: float) -> dict[int, float]:
    """Correlation of (own map - mean of own maps) with (model - mean of models), by cluster.

    Both inside the masks of all classes and up to the class's own resolution (FSC 0.5). What all
    classes share makes any map agree with any model; what a class is claimed to be is what it
    does not share.
    """
    usable = [one for one in found if one.label in volumes]
    if len(usable) < 2:
        return {}
    share = torch.tensor([float(one.n_particles) for one in usable])
    share = share / share.sum()
    own = sum(s * one.plain for s, one in zip(share, usable, strict=True))
    model = sum(s * volumes[one.label] for s, one in zip(share, usable, strict=True))
    mask = torch.stack([one.mask for one in usable]).amax(0)
    n = mask.shape[-1]
    result = {}
    for one in usable:
        limit = _at(None if one.curves is None else one.curves.corrected, pixel_size, 0.5)
        radius = min(max(n * pixel_size / (limit or 1e9), 2.0), n / 2 - 1)
        ours, theirs = (
            lowpass(difference, radius)
            for difference in (one.plain - own, volumes[one.label] - model)
        )
        result[one.label] = correlation(ours, theirs, mask)
    return result


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
