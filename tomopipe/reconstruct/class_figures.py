"""How far classes agree with themselves, with the model, and with what the model says of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tomopipe.config.reconstruct import ClassesSettings
from tomopipe.io.mrc import read_volume
from tomopipe.physics.fourier import resample
from tomopipe.physics.fsc import correlation, resolution_at
from tomopipe.physics.project import lowpass
from tomopipe.reconstruct.resolution import Curves, fewer_particles, half_map_curves
from tomopipe.reconstruct.verdict import ClassFigures, verdict

Maps = dict[str, Tensor]  # map, half1, half2; a half without particles is left out


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


class Volumes:
    """The model's `cluster_NN.mrc` of a folder, read when asked for, on `box` voxels a side."""

    def __init__(self, folder: Path, box: int) -> None:
        self._box = box
        self._paths = {
            int(match[1]): path
            for path in folder.glob("cluster_*.mrc")
            if (match := re.fullmatch(r"cluster_(\d+)", path.stem))
        }

    def get(self, label: int) -> Tensor | None:
        """The volume `(box, box, box)` of a cluster, or None."""
        if label not in self._paths:
            return None
        return resample(torch.from_numpy(read_volume(self._paths[label])[0]), self._box)


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
            both = half_map_curves(whole["half1"], whole["half2"], one.mask, seed=settings.seed)
            expected = fewer_particles(both.corrected, one.n_particles / total)
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
        rows.append(verdict(row, settings, one.plain.shape[-1] * pixel_size))
    return rows


def _at(curve: Tensor | None, pixel_size: float, threshold: float) -> float | None:
    return None if curve is None else resolution_at(curve, pixel_size, threshold)


def _differences(found: Sequence[Class], volumes: Volumes, pixel_size: float) -> dict[int, float]:
    """Correlation of (own map - mean of own maps) with (model - mean of models), by cluster.

    Both inside the masks of all classes and up to the class's own resolution (FSC 0.5). What all
    classes share makes any map agree with any model; what a class is claimed to be is what it
    does not share.
    """
    models = {one.label: volume for one in found if (volume := volumes.get(one.label)) is not None}
    usable = [one for one in found if one.label in models]
    if len(usable) < 2:
        return {}
    total = sum(one.n_particles for one in usable)
    own, model = torch.zeros(()), torch.zeros(())
    for one in usable:
        own = own + one.n_particles / total * one.plain
        model = model + one.n_particles / total * models[one.label]
    mask = torch.stack([one.mask for one in usable]).amax(0)
    n = mask.shape[-1]
    result = {}
    for one in usable:
        limit = _at(None if one.curves is None else one.curves.corrected, pixel_size, 0.5)
        radius = min(max(n * pixel_size / (limit or 1e9), 2.0), n / 2 - 1)
        ours, theirs = (
            lowpass(difference, radius)
            for difference in (one.plain - own, models[one.label] - model)
        )
        result[one.label] = correlation(ours, theirs, mask)
    return result
