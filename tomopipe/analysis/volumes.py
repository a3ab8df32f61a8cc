"""Volumes of a model at any latent, written as maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tomopipe.analysis.latent import Array
from tomopipe.errors import InputError, StateError
from tomopipe.io.atomic import atomic_directory, read_parquet, write_parquet
from tomopipe.io.mrc import write_volume
from tomopipe.models import Model, load_model
from tomopipe.physics.fourier import resample

_CHUNK = 8


def decode(
    model_dir: Path,
    z: Array,
    out: Path,
    *,
    names: Sequence[str] | None = None,
    box: int | None = None,
) -> list[Path]:
    """Write the model's volumes at latents `z` `(n, K)` to `out` as MRC, and `latents.parquet`.

    Parameters
    ----------
    model_dir
        Folder of a linear or heterogeneous model.
    z
        Latents, one row a volume.
    out
        Folder; made if it does not exist. Volumes that were written there before are taken away.
    names
        File names without `.mrc`; `volume_000` … by default.
    box
        Box of the maps; they keep their size in Å, so the pixel size changes.

    Raises
    ------
    InputError
        If `z` has the wrong number of columns or is not finite.
    StateError
        If `out` holds the latents of something else, of a model for example.
    """
    model = load_model(model_dir)
    z = np.atleast_2d(np.asarray(z, dtype=np.float64))
    if z.shape[1] != model.zdim or not np.isfinite(z).all():
        raise InputError(
            f"z has shape {z.shape}, the model in {model_dir} needs {model.zdim} finite values a "
            "volume: give as many"
        )
    names = list(names) if names is not None else [f"volume_{i:03d}" for i in range(len(z))]
    files = [f"{name}.mrc" for name in names]
    table = pd.DataFrame(z, columns=[f"z{i}" for i in range(z.shape[1])])
    table.insert(0, "volume", names)
    with atomic_directory(out, optional=_decoded_before(out)) as folder:
        write_volumes(model, z, [folder / file for file in files], box)
        write_parquet(folder / "latents.parquet", table)
    return [out / file for file in files]


def _decoded_before(out: Path) -> list[str]:
    """Files of the volumes that are in `out` already, as the table beside them names them."""
    path = out / "latents.parquet"
    if not path.is_file():
        return []
    table = read_parquet(path)
    if "volume" not in table:
        raise StateError(f"{path} is not of decoded volumes: give another folder for them")
    return [f"{name}.mrc" for name in table["volume"]]


def write_volumes(
    model: Model, z: Array, paths: Sequence[Path], box: int | None = None
) -> list[Path]:
    """Write the volumes at `z` `(n, K)` to `paths`, a few in memory at a time."""
    remaining = iter(paths)
    for volume in decoded(model, z):
        resized, pixel_size = resize(volume, model.pixel_size, box)
        write_volume(next(remaining), resized, pixel_size)
    return list(paths)


def decoded(model: Model, z: Array) -> Iterator[Array]:
    """Volumes `(n, n, n)` float32 at the rows of `z` `(n, K)`, one after the other."""
    with torch.no_grad():
        for start in range(0, len(z), _CHUNK):
            rows = torch.as_tensor(np.asarray(z[start : start + _CHUNK], dtype=np.float32))
            yield from model.volumes(rows).detach().cpu().numpy()


def resize(volume: Array, pixel_size: float, box: int | None) -> tuple[Array, float]:
    """Crop or pad a cube in Fourier space to `box` voxels; returns the map and its pixel size."""
    n = volume.shape[-1]
    if box is None or box == n:
        return volume, pixel_size
    resized: Array = resample(torch.as_tensor(np.asarray(volume, np.float32)), box).numpy()
    return resized, pixel_size * n / box
