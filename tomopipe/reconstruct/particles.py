"""The finished map of any particles: half-maps, mask, FSC, local resolution, sharpening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tomopipe import __version__
from tomopipe.config.reconstruct import ReconstructSettings
from tomopipe.dataset.store import Store
from tomopipe.io.atomic import atomic_directory, check_folder, fingerprint, write_json, write_text
from tomopipe.io.mrc import write_volume
from tomopipe.io.progress import Progress
from tomopipe.reconstruct.backproject import Sums
from tomopipe.reconstruct.half_maps import check_halves, half_sums, wiener_term
from tomopipe.reconstruct.local import local_resolution
from tomopipe.reconstruct.mask import reconstruction_mask
from tomopipe.reconstruct.resolution import Curves, half_map_curves
from tomopipe.reconstruct.sharpen import Guinier, guinier, sharpened
from tomopipe.reconstruct.symmetry import operators

STEP_FORMAT = 1
_LOCAL_WINDOW, _SMALLEST_WINDOW = 24.0, 8.0  # voxels


@dataclass(frozen=True)
class Reconstruction:
    """Everything that comes of two half-sets' sums; maps `(box, box, box)`, protein positive.

    Attributes
    ----------
    map
        Wiener-filtered by the FSC, in units of the images.
    half1, half2
        Unfiltered, as other programs want them.
    mask, curves
        Mask and FSC of the half-maps.
    sharpened
        The unfiltered mean, its decay undone, weighted by the FSC up to the resolution.
    fitted, bfactor_A2
        The Guinier fit, where there is one, and the B-factor that was used.
    local
        Local resolution in Å, if asked for.
    """

    map: Tensor
    half1: Tensor
    half2: Tensor
    mask: Tensor
    curves: Curves
    sharpened: Tensor
    fitted: Guinier | None
    bfactor_A2: float
    local: Tensor | None


def reconstruct(
    store_path: Path,
    out: Path,
    settings: ReconstructSettings | None = None,
    uids: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Write the map of particles of a store to `out`, and give `reconstruct.json`.

    Files: `map.mrc`, `half1.mrc`, `half2.mrc`, `mask.mrc`, `sharpened.mrc`,
    `local_resolution.mrc`, `fsc.csv` and `reconstruct.json`.

    Raises
    ------
    StateError
        If a half-set is empty, or `uids` are not in the store.
    InputError
        If the mask's file cannot be used.
    """
    settings = settings or ReconstructSettings()
    check_folder(out)
    store = Store.open(store_path, uids)
    check_halves(store)
    group = torch.from_numpy(operators(settings.symmetry))
    with Progress(store.n_particles, "back-projecting") as progress:
        sums = half_sums(
            store,
            np.arange(store.n_particles),
            operators=group if len(group) > 1 else None,
            device=device,
            progress=progress,
        )
    found = finish(sums, store.scale, store.pixel_size, settings)
    summary = _summary(found, store, settings)
    with atomic_directory(out, optional=["local_resolution.mrc"]) as folder:
        for name in ("map", "half1", "half2", "mask", "sharpened"):
            write_volume(folder / f"{name}.mrc", getattr(found, name).numpy(), store.pixel_size)
        if found.local is not None:
            write_volume(
                folder / "local_resolution.mrc", found.local.float().numpy(), store.pixel_size
            )
        table = found.curves.table(store.pixel_size)
        write_text(folder / "fsc.csv", table.to_csv(index=False))
        write_json(folder / "reconstruct.json", summary)
    return summary


def finish(
    sums: tuple[Sums, Sums], scale: float, pixel_size: float, settings: ReconstructSettings
) -> Reconstruction:
    """Mask, FSC, filtered and sharpened map, and local resolution of two half-sets' sums.

    Parameters
    ----------
    sums
        Of the two half-sets.
    scale
        Units of the images over those of the sums.
    pixel_size
        Å per voxel.
    settings
        See `ReconstructSettings`.
    """
    half1, half2 = (one.volume().cpu() * scale for one in sums)
    mask = reconstruction_mask(half1, half2, pixel_size, settings)
    curves = half_map_curves(half1, half2, mask, seed=settings.seed)
    both = sums[0] + sums[1]
    prior = settings.wiener * wiener_term(both, curves.corrected)
    mean = both.volume().cpu() * scale
    fitted = guinier(mean * mask, curves, pixel_size, from_angstrom=settings.bfactor_from_angstrom)
    bfactor = settings.bfactor_A2
    if isinstance(bfactor, str):
        bfactor = 0.0 if fitted is None else fitted.bfactor_A2
    local = None
    if settings.local_resolution:
        width = settings.local_window_angstrom
        usual = min(_LOCAL_WINDOW, max(half1.shape[-1] / 4, _SMALLEST_WINDOW))
        local = local_resolution(
            half1,
            half2,
            pixel_size,
            window_pixels=usual if width is None else width / pixel_size,
            stride=settings.local_stride,
            threshold=settings.local_threshold,
        )
    return Reconstruction(
        map=both.volume(prior).cpu() * scale,
        half1=half1,
        half2=half2,
        mask=mask,
        curves=curves,
        sharpened=sharpened(mean, curves, pixel_size, bfactor),
        fitted=fitted,
        bfactor_A2=bfactor,
        local=local,
    )


def _summary(found: Reconstruction, store: Store, settings: ReconstructSettings) -> dict[str, Any]:
    curves, pixel_size = found.curves, store.pixel_size
    return {
        "step_format": STEP_FORMAT,
        "version": __version__,
        "resolution_0143_angstrom": curves.resolution(pixel_size, 0.143),
        "resolution_05_angstrom": curves.resolution(pixel_size, 0.5),
        "randomised_from_shell": curves.randomised_from,
        "bfactor_A2": found.bfactor_A2,
        "guinier": None if found.fitted is None else vars(found.fitted),
        "local_resolution_angstrom": None if found.local is None else _quartiles(found),
        "mask_share": float(found.mask.mean()),
        "n_particles": store.n_particles,
        "n_images": store.n_images,
        "half_counts": [int((store.half == h).sum()) for h in (1, 2)],
        "pixel_size_angstrom": pixel_size,
        "box": store.box,
        "settings": settings.model_dump(mode="json"),
        "store": store.meta["source"],
        "particles": fingerprint(list(store.uids)),
    }


def _quartiles(found: Reconstruction) -> dict[str, float]:
    """Quartiles of the local resolution inside the mask."""
    assert found.local is not None
    inside = found.local[found.mask > 0.5].numpy()
    values = np.percentile(inside, [25, 50, 75]) if len(inside) else [np.nan] * 3
    return dict(zip(("best_quarter", "median", "worst_quarter"), map(float, values), strict=True))
