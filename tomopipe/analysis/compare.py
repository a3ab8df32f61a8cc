"""How alike maps are: correlation and Fourier shell correlation inside the masks of SCIENCE.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tomopipe.analysis.latent import Array
from tomopipe.errors import InputError
from tomopipe.io.atomic import atomic_path
from tomopipe.io.mrc import read_volume
from tomopipe.physics.fsc import fsc, resolution_at
from tomopipe.physics.mask import soft_mask, sphere_mask


def fsc_table(a: Array, b: Array, mask: Array | None, pixel_size: float) -> pd.DataFrame:
    """FSC of two `(n, n, n)` maps, without and with `mask`.

    Returns
    -------
    DataFrame
        Columns shell (1 … n/2 - 1), frequency_per_angstrom, resolution_angstrom, fsc, fsc_masked.

    Raises
    ------
    ValueError
        If the maps are not cubes of one size.
    """
    left, right = torch.as_tensor(np.asarray(a)), torch.as_tensor(np.asarray(b))
    plain = fsc(left, right).numpy()
    masked = plain
    if mask is not None:
        masked = fsc(left, right, torch.as_tensor(np.asarray(mask))).numpy()
    shell = np.arange(1, len(plain) + 1)
    frequency = shell / (np.asarray(a).shape[-1] * pixel_size)
    return pd.DataFrame(
        {
            "shell": shell,
            "frequency_per_angstrom": frequency,
            "resolution_angstrom": 1 / frequency,
            "fsc": plain,
            "fsc_masked": masked,
        }
    )


def resolution(table: pd.DataFrame, pixel_size: float, threshold: float = 0.143) -> float:
    """Resolution in Å at the first crossing of the masked FSC of `fsc_table`."""
    curve = torch.tensor(table["fsc_masked"].tolist(), dtype=torch.float64)
    box = round(float(table["resolution_angstrom"].iloc[0]) / pixel_size)  # of shell 1
    return resolution_at(curve, pixel_size, threshold, box)


def correlation_matrix(volumes: Array, mask: Array | None = None) -> Array:
    """Zero-mean normalised correlation of all pairs of `(k, n, n, n)` maps: `(k, k)`.

    `mask` `(n, n, n)` weighs the voxels.
    """
    flat = np.asarray(volumes, dtype=np.float64).reshape(len(volumes), -1)
    weight = np.ones(flat.shape[1]) if mask is None else np.asarray(mask, np.float64).ravel()
    centred = flat - (flat @ weight / max(weight.sum(), 1e-12))[:, None]
    scaled = centred * np.sqrt(weight)
    norm = np.clip(np.linalg.norm(scaled, axis=1), 1e-30, None)
    matrix: Array = np.clip(scaled @ scaled.T / np.outer(norm, norm), -1.0, 1.0)
    return matrix


def mask_of(volume: Array, kind: str = "soft") -> Array:
    """Mask `(n, n, n)` of a map: `soft` (half the 99th percentile, dilated), `sphere` or `none`.

    Raises
    ------
    ValueError
        If `kind` is none of these.
    """
    box = volume.shape[-1]
    if kind == "soft":
        return soft_mask(torch.as_tensor(np.asarray(volume, np.float32))).numpy()
    if kind == "sphere":
        return sphere_mask(box, box / 2 - 4).numpy()
    if kind == "none":
        return np.ones((box, box, box), dtype=np.float32)
    raise ValueError(f"mask must be soft, sphere, none or a file, not {kind!r}")


def compare_maps(first: Path, second: Path, mask: str = "soft") -> tuple[pd.DataFrame, float]:
    """FSC table and masked CC of two map files; `mask` is a kind or an .mrc file.

    Raises
    ------
    InputError
        If a file is unreadable, or the maps differ in box or pixel size.
    """
    maps, pixel_size = read_maps([first, second])
    if mask in {"soft", "sphere", "none"}:
        weight = mask_of(maps[0], mask)
    else:
        weight = read_maps([first, Path(mask)])[0][1]
    table = fsc_table(maps[0], maps[1], weight, pixel_size)
    return table, float(correlation_matrix(maps, weight)[0, 1])


def read_maps(paths: Sequence[Path]) -> tuple[Array, float]:
    """Read maps of one box and pixel size: `(k, n, n, n)` float32 and Å per voxel.

    Raises
    ------
    InputError
        If a file is unreadable, not a cube, or differs from the first one.
    """
    maps: list[Array] = []
    pixel_size = 0.0
    for path in paths:
        volume, pixel = read_volume(path)
        if len(set(volume.shape)) != 1:
            raise InputError(f"{path} has shape {volume.shape}: give a cube")
        if not np.isfinite(volume).all():
            raise InputError(f"{path} has values that are no number (nan or inf): write it anew")
        if not pixel > 0:
            raise InputError(f"{path} has no pixel size: set it in the header (Å per voxel)")
        if maps and volume.shape != maps[0].shape:
            raise InputError(
                f"{path} has box {volume.shape[0]}, {paths[0]} has {maps[0].shape[0]}: "
                "give maps of one box"
            )
        if maps and abs(pixel - pixel_size) > 1e-3 * pixel_size:
            raise InputError(
                f"{path} has {pixel:g} Å per voxel, {paths[0]} has {pixel_size:g}: "
                "give maps of one pixel size"
            )
        pixel_size = pixel if not maps else pixel_size
        maps.append(volume)
    return np.stack(maps), pixel_size


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
