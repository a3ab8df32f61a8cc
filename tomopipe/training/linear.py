"""Fitting the linear model to a store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from tomopipe.models.linear import LinearModel
from tomopipe.physics.grid import FourierGrid
from tomopipe.physics.mask import sphere_mask
from tomopipe.physics.project import lowpass
from tomopipe.physics.window import soft_edge
from tomopipe.training.distributed import Group
from tomopipe.training.em import (
    Latents,
    mean_volume,
    orthogonalise,
)
from tomopipe.training.rounds import Rounds
from tomopipe.training.statistics import Statistics

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
        Where to compute. Under `torchrun` every process holds its share of the particles, and the
        first one writes.

    Raises
    ------
    StateError
        If there are fewer particles than components or processes, `uids` are not in the store, or
        statistics fit neither into memory nor on disk.
    """
    settings = settings or LinearSettings()
    check_folder(out)
    group = Group.join(torch.device(device))
    store = Store.open(store_path, uids)
    _check_enough(store, settings, group)
    before = np.concatenate([[0], np.cumsum(store.kept_counts)])
    rows = group.share(np.diff(before[store.image_start]))
    own = store if group.size == 1 else store.subset(store.uids[rows].tolist())
    grid = FourierGrid(store.box, settings.padding, device)
    scratch = Path(settings.scratch) if settings.scratch else out.parent
    statistics, mask = prepare_statistics(own, grid, settings, device, group=group, scratch=scratch)
    model, latents, metrics = Rounds(statistics, mask, settings).run()
    gathered = (group.gather(field, rows, store.n_particles) for field in latents.fields())
    latents = Latents(*(field.cpu() for field in gathered))
    if group.leads:
        volumes = grid.undo_gridding(grid.to_real(model)).cpu() * store.scale
        machine = {"device": torch.device(device).type, "processes": group.size}
        _write(out, store, settings, volumes, latents, metrics, float(mask.sum()), machine)
    group.barrier()


def _check_enough(store: Store, settings: LinearSettings, group: Group) -> None:
    if store.n_particles <= settings.components:
        raise StateError(
            f"{store.path} has {store.n_particles} selected particles, too few for "
            f"{settings.components} components: lower `components` or select more"
        )
    if store.n_particles < group.size:
        raise StateError(
            f"{store.path} has {store.n_particles} selected particles for {group.size} processes: "
            "start fewer"
        )


def _write(
    out: Path,
    store: Store,
    settings: LinearSettings,
    volumes: Tensor,
    latents: Latents,
    metrics: list[dict[str, float]],
    mask_voxels: float,
    machine: dict[str, Any],
) -> None:
    """Write model, latents, spectrum and metrics; `volumes` `(K + 1, n, n, n)`, the mean first."""
    components, latents, eigenvalues = orthogonalise(volumes[1:], latents)
    with atomic_directory(out) as folder:
        LinearModel(volumes[0], components, store.pixel_size).save(
            folder,
            {
                "version": __version__,
                "settings": settings.model_dump(),
                "store": fingerprint(store.meta),
                "particles": fingerprint(list(store.uids)),
                "n_particles": store.n_particles,
                "mask_voxels": mask_voxels,
                **machine,
            },
        )
        write_parquet(folder / "latents.parquet", latent_table(store, latents))
        _write_spectrum(folder / "spectrum.csv", eigenvalues)
        write_text(folder / "metrics.jsonl", "".join(json.dumps(m) + "\n" for m in metrics))


def prepare_statistics(
    store: Store,
    grid: FourierGrid,
    settings: LinearSettings,
    device: torch.device | str,
    *,
    group: Group | None = None,
    scratch: Path | None = None,
) -> tuple[Statistics, Tensor]:
    """Statistics whitened by the noise of each shell, and the support of all volumes.

    `store` holds this process's particles, `group` the processes that hold the others; what does
    not fit into memory goes to `scratch`.
    """
    statistics = Statistics(
        store, grid, memory_gb=settings.memory_gb, device=device, group=group, scratch=scratch
    )
    statistics.whiten(statistics.noise_per_shell())
    sphere = sphere_mask(store.box, 0.8 * store.box / 2, _EDGE_PIXELS).to(device)
    mean = mean_volume(statistics.sums(), grid, sphere)
    statistics.whiten(statistics.noise_per_shell(mean))
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
