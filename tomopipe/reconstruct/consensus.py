"""The consensus map of a selection, with half-maps, mask and FSC on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tomopipe import __version__
from tomopipe.config.linear import ConsensusSettings
from tomopipe.dataset.store import Store
from tomopipe.io.atomic import atomic_directory, check_folder, fingerprint, write_json, write_text
from tomopipe.io.mrc import write_volume
from tomopipe.io.notice import notice
from tomopipe.io.progress import Progress
from tomopipe.reconstruct.half_maps import HalfMaps, check_halves, half_maps

STEP_FORMAT = 3
_INVERTED = -0.5


def consensus(
    store_path: Path,
    out: Path,
    settings: ConsensusSettings | None = None,
    uids: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
) -> None:
    """Write `map.mrc`, `half1.mrc`, `half2.mrc`, `mask.mrc`, `fsc.csv` and `consensus.json`.

    Raises
    ------
    StateError
        If a half-set is empty, or `uids` are not in the store.
    """
    settings = settings or ConsensusSettings()
    check_folder(out)
    store = Store.open(store_path, uids)
    check_halves(store)
    with Progress(store.n_particles, "consensus") as progress:
        result = half_maps(
            store,
            mask_diameter_angstrom=settings.mask_diameter_angstrom,
            wiener=settings.wiener,
            device=device,
            progress=progress,
        )
    summary = _summary(result, store, settings)
    _warn_if_inverted(summary["skewness"], store_path)
    with atomic_directory(out) as folder:
        for name in ("map", "half1", "half2", "mask"):
            write_volume(folder / f"{name}.mrc", getattr(result, name).numpy(), store.pixel_size)
        table = result.curves.table(store.pixel_size)
        write_text(folder / "fsc.csv", table.to_csv(index=False))
        write_json(folder / "consensus.json", summary)


def skewness(volume: Tensor, mask: Tensor) -> float:
    """Skewness of a map's voxels inside `mask`: positive where density is bright and compact."""
    total = mask.sum()
    rest = (volume - (mask * volume).sum() / total) * (mask > 0)
    second = (mask * rest**2).sum() / total
    return float((mask * rest**3).sum() / total / second.clamp(min=1e-30) ** 1.5)


def _warn_if_inverted(value: float, store_path: Path) -> None:
    if value < _INVERTED:
        notice(
            f"the map of {store_path} has skewness {value:.2f}, its density looks inverted: if it "
            "does in the report, set `contrast` of the import to the other sign"
        )


def _summary(result: HalfMaps, store: Store, settings: ConsensusSettings) -> dict[str, Any]:
    return {
        "step_format": STEP_FORMAT,
        "version": __version__,
        "resolution_0143_angstrom": result.curves.resolution(store.pixel_size, 0.143),
        "resolution_05_angstrom": result.curves.resolution(store.pixel_size, 0.5),
        "skewness": skewness(result.map, result.mask),
        "n_particles": result.n_particles,
        "n_images": result.n_images,
        "half_counts": [int((store.half == h).sum()) for h in (1, 2)],
        "pixel_size_angstrom": store.pixel_size,
        "settings": settings.model_dump(),
        "store": store.meta["source"],
        "particles": fingerprint(list(store.uids)),
    }
