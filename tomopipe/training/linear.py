"""Fitting the linear model to a store."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from torch import Tensor

from tomopipe import __version__
from tomopipe.config.linear import LinearSettings
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.atomic import (
    atomic_directory,
    check_folder,
    fingerprint,
    write_parquet,
    write_text,
)
from tomopipe.io.progress import Progress
from tomopipe.models.linear import LinearModel
from tomopipe.physics.grid import FourierGrid
from tomopipe.physics.mask import sphere_mask
from tomopipe.physics.project import lowpass
from tomopipe.physics.window import soft_edge
from tomopipe.training.em import (
    Latents,
    expect,
    maximise,
    mean_volume,
    orthogonalise,
    ridge,
    standardise,
)
from tomopipe.training.statistics import Statistics, gridded_sums, noise_per_shell

_EDGE_PIXELS = 3.0


def fit_linear(
    store_path: Path,
    out: Path,
    settings: LinearSettings | None = None,
    uids: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
) -> None:
    """Fit mean and components, write model, latents with covariances, spectrum and metrics.

    Parameters
    ----------
    store_path
        The packed store.
    out
        Folder for `model.safetensors`, `config.json`, `latents.parquet`, `spectrum.csv` and
        `metrics.jsonl`.
    settings
        Components, rounds, prior and support.
    uids
        Particles to use; all by default.
    device
        Where to compute.

    Raises
    ------
    StateError
        If there are fewer particles than components, or `uids` are not in the store.
    """
    settings = settings or LinearSettings()
    check_folder(out)
    store = Store.open(store_path, uids)
    if store.n_particles <= settings.components:
        raise StateError(
            f"{store_path} has {store.n_particles} selected particles, too few for "
            f"{settings.components} components: lower `components` or select more"
        )
    grid = FourierGrid(store.box, settings.padding, device)
    statistics, mask = prepare_statistics(store, grid, settings, device)
    model, latents, metrics = _rounds(statistics, mask, settings)
    volumes = grid.undo_gridding(grid.to_real(model)).cpu() * store.scale
    latents = Latents(*(getattr(latents, f).cpu() for f in ("mean", "covariance", "error")))
    components, latents, eigenvalues = orthogonalise(volumes[1:], latents)
    with atomic_directory(out) as folder:
        LinearModel(volumes[0], components, store.pixel_size).save(
            folder,
            {
                "version": __version__,
                "settings": settings.model_dump(),
                "store": store.meta["source"],
                "particles": fingerprint(list(store.uids)),
                "n_particles": store.n_particles,
                "mask_voxels": float(mask.sum()),
            },
        )
        write_parquet(folder / "latents.parquet", latent_table(store, latents))
        _write_spectrum(folder / "spectrum.csv", eigenvalues)
        write_text(folder / "metrics.jsonl", "".join(json.dumps(m) + "\n" for m in metrics))


def prepare_statistics(
    store: Store, grid: FourierGrid, settings: LinearSettings, device: torch.device | str
) -> tuple[Statistics, Tensor]:
    """Statistics whitened by the noise of each shell, and the support of all volumes."""
    flat = noise_per_shell(store, grid, None, device=device)
    sphere = sphere_mask(store.box, 0.8 * store.box / 2, _EDGE_PIXELS).to(device)
    mean = mean_volume(gridded_sums(store, grid, flat, device=device), grid, sphere)
    noise = noise_per_shell(store, grid, mean, device=device)
    statistics = Statistics(store, grid, noise, memory_gb=settings.memory_gb, device=device)
    mask = support(grid.to_real(mean[:, None])[0].cpu(), store.pixel_size, settings)
    return statistics, mask.to(device)


def support(mean: Tensor, pixel_size: float, settings: LinearSettings) -> Tensor:
    """Soft mask `(n, n, n)` that all volumes live in.

    A tight support is worth more than any prior: it lowers the number of free voxels that noise can
    hide in. It grows from the low-passed mean map's largest body above a tenth of its peak, by
    `mask_dilate_angstrom`; parts that only some particles have are in the mean map at their share.
    """
    box = mean.shape[-1]
    if settings.mask_diameter_angstrom is not None:
        return sphere_mask(box, settings.mask_diameter_angstrom / pixel_size / 2, _EDGE_PIXELS)
    smooth = lowpass(mean, 0.2 * box).numpy()
    inside = smooth > 0.1 * np.percentile(smooth, 99.9)
    bodies, count = ndimage.label(inside)
    if count == 0:
        return sphere_mask(box, 0.4 * box, _EDGE_PIXELS)
    sizes = np.bincount(bodies.ravel())
    sizes[0] = 0
    distance = ndimage.distance_transform_edt(bodies != sizes.argmax()).astype(np.float32)
    dilate = settings.mask_dilate_angstrom / pixel_size
    grown = soft_edge(torch.from_numpy(distance), dilate, dilate + _EDGE_PIXELS)
    return grown * sphere_mask(box, 0.45 * box - _EDGE_PIXELS, _EDGE_PIXELS)


def _rounds(
    statistics: Statistics, mask: Tensor, settings: LinearSettings
) -> tuple[Tensor, Latents, list[dict[str, float]]]:
    """Expectation maximisation from random latents; model `(n, K + 1)`, latents, metrics."""
    k, n = settings.components, statistics.store.n_particles
    generator = torch.Generator().manual_seed(settings.seed)
    latents = Latents(
        torch.randn(n, k, generator=generator).to(mask), mask.new_zeros(n, k, k), mask.new_zeros(n)
    )
    mean = mean_volume(statistics.sums(), statistics.grid, mask)
    precision = ridge(statistics.grid, mean, settings.prior, k)
    metrics: list[dict[str, float]] = []
    start = time.monotonic()
    model = torch.empty(0)
    with Progress(settings.rounds, "linear") as progress:
        for number in range(settings.rounds):
            model = maximise(statistics, latents, precision, mask)
            model, latents = standardise(model, expect(statistics, model))
            metrics.append(
                {
                    "epoch": number + 1,
                    "loss": float(latents.error.mean()),
                    "explained": float(latents.mean.var(0).mean()),
                    "seconds": time.monotonic() - start,
                }
            )
            progress.advance(note=f"error {metrics[-1]['loss']:.4f}")
    return model, latents, metrics


def latent_table(store: Store, latents: Latents) -> pd.DataFrame:
    """uid, z0 …, cov_i_j (i <= j) and error of every particle."""
    k = latents.mean.shape[1]
    columns = {f"z{i}": latents.mean[:, i].numpy() for i in range(k)}
    columns |= {
        f"cov_{i}_{j}": latents.covariance[:, i, j].numpy() for i in range(k) for j in range(i, k)
    }
    return pd.DataFrame({"uid": store.uids, **columns, "error": latents.error.numpy()})


def _write_spectrum(path: Path, eigenvalues: Tensor) -> None:
    table = pd.DataFrame(
        {
            "component": np.arange(len(eigenvalues)),
            "eigenvalue": eigenvalues.numpy(),
            "fraction": (eigenvalues / eigenvalues.sum().clamp(min=1e-30)).numpy(),
        }
    )
    write_text(path, table.to_csv(index=False))
