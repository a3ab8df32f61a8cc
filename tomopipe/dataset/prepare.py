"""From images on disk to the packed store: in parallel, in bounded memory, resumable.

Everything that never changes during training is done here once: centring, window, transform,
sign, half plane and dose mask.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tomopipe import __version__
from tomopipe.config.prepare import PrepareSettings
from tomopipe.dataset.changed import check_unchanged
from tomopipe.dataset.coefficients import Job, half_planes, packed_coefficients
from tomopipe.dataset.filling import Packed
from tomopipe.dataset.images import column
from tomopipe.dataset.sample import sample
from tomopipe.dataset.store import NO_FALLOFF, STEP_FORMAT, Store
from tomopipe.errors import InputError, StateError
from tomopipe.io.atomic import (
    check_folder,
    fingerprint,
    read_json,
    read_parquet,
    remove_directory,
    write_json,
    write_parquet,
    write_sealed_json,
)
from tomopipe.io.lock import locked
from tomopipe.io.progress import Progress
from tomopipe.physics.dose import highest_frequency
from tomopipe.physics.fourier import half_plane

_CHUNK_PIXELS = 1 << 21
_SAMPLE_IMAGES = 2000


class Measured(Protocol):
    """How the signal falls, as `reconstruct.falloff.Falloff` says it."""

    def columns(
        self, images: pd.DataFrame, tomogram: NDArray[np.object_]
    ) -> dict[str, NDArray[np.float64]]:
        """`falloff_scale`, `falloff_bfactor_A2` and `falloff_angstrom` of images."""

    def record(self) -> dict[str, Any]:
        """What falloff.json says of it."""


def prepare(
    dataset_dir: Path,
    out: Path,
    settings: PrepareSettings | None = None,
    measure: Callable[[Store], Measured] | None = None,
) -> None:
    """Write the packed store of an imported data set.

    An interrupted run continues where it stopped: chunks that are on disk are not done again.

    Parameters
    ----------
    dataset_dir
        Where `tomopipe import` left `particles.parquet`, `images.parquet` and `import.json`.
    out
        The store, a directory or a link to one; it appears when it is complete.
    settings
        Window, masks, weights and workers.
    measure
        What finds the falloff of the signal in the packed images, if `settings` ask for it:
        `reconstruct.falloff.measure_falloff`, which needs maps and is none of this package's.

    Raises
    ------
    InputError
        If a stack is unreadable, was changed since the import, or holds values that are not
        finite or far beyond those of other images.
    StateError
        If the data set has not been imported, `out` holds something else than a store or the
        working directory, the disk has not the space for it, or another process packs it.
    """
    settings = settings or PrepareSettings()
    meta = read_json(dataset_dir / "import.json")
    particles = read_parquet(dataset_dir / "particles.parquet")
    images = read_parquet(dataset_dir / "images.parquet")
    box = int(meta["box"])
    _check_out(out)
    out = out.resolve()  # a link stays: the folder that it leads to is replaced, from beside it
    check_unchanged(dataset_dir)
    _check_pixel_size(images, dataset_dir)
    images = _with_counts(images, box, settings)
    job = Job(box, meta["contrast"] == "bright", settings.window_inner, settings.window_outer)
    key = _key(dataset_dir, settings)
    work = out.with_name(f".{out.name}.partial")
    with locked(work / "lock", out, "run of `tomopipe prepare`"):
        _start(work, key)
        scale = _scale(images, job)
        packed = Packed(work, images["coefficient_count"].to_numpy(np.int64))
        _fill(work, packed, images, job, scale, settings.workers)
        images = images.assign(crc32=packed.checksums(), **NO_FALLOFF)
        made = {"scale": scale, "bytes": packed.path.stat().st_size, "source": key}
        record = _figures(particles, images, box, settings) | made
        (work / "falloff.json").unlink(missing_ok=True)  # of a run with other settings
        if measure is not None and settings.falloff:
            images = _with_falloff(Store(work, record, particles, images), measure)
        _write_tables(work, record, particles, images)
        _put_in_place(work, packed, out)


def _write_tables(
    work: Path, record: dict[str, Any], particles: pd.DataFrame, images: pd.DataFrame
) -> None:
    """What stands beside the coefficients, its record last."""
    write_parquet(work / "particles.parquet", particles)
    write_parquet(work / "images.parquet", images)
    # the same coefficients with another falloff are another store
    falloff = fingerprint(*(images[name].to_numpy() for name in NO_FALLOFF))
    write_sealed_json(work / "store.json", record | {"falloff": falloff})


def _put_in_place(work: Path, packed: Packed, out: Path) -> None:
    """The finished work becomes the store, instead of an older one."""
    if out.exists():
        remove_directory(out)
    (work / "progress.json").unlink()
    packed.put_away()
    (work / "lock").unlink()
    work.replace(out)


def _with_falloff(store: Store, measure: Callable[[Store], Measured]) -> pd.DataFrame:
    """The store's table of images with what is measured, which falloff.json keeps beside it."""
    found = measure(store)
    write_json(store.path / "falloff.json", found.record())
    return store.images.assign(**found.columns(store.images, store.image_tomograms))


def _key(dataset_dir: Path, settings: PrepareSettings) -> str:
    """What a store depends on: where it differs, work that was begun is begun anew."""
    return fingerprint(
        STEP_FORMAT,
        {name: value for name, value in settings.deciding().items() if name != "falloff"},
        dataset_dir / "images.parquet",
        dataset_dir / "import.json",
    )


def _figures(
    particles: pd.DataFrame, images: pd.DataFrame, box: int, settings: PrepareSettings
) -> dict[str, Any]:
    """What store.json says about the size of the data set and how it was made."""
    return {
        "step_format": STEP_FORMAT,
        "version": __version__,
        "box": box,
        "pixel_size_angstrom": float(images["pixel_size_angstrom"].median()),
        "n_particles": len(particles),
        "n_images": len(images),
        "n_coefficients": int(images["coefficient_count"].sum()),
        "share_kept": float(images["kept_count"].mean() / len(half_plane(box).points)),
        "checksums": "crc32",
        "settings": settings.model_dump(),
    }


def _check_out(out: Path) -> None:
    """A store is replaced as a whole; anything else that lies there is never removed."""
    check_folder(out)
    if Path.cwd().is_relative_to(out.resolve()):
        raise StateError(
            f"{out} is or holds the working directory, which is kept: give a new folder"
        )
    if out.is_dir() and any(out.iterdir()) and not (out / "store.json").exists():
        raise StateError(f"{out} is not empty and no store: give a new folder")


def _check_pixel_size(images: pd.DataFrame, dataset_dir: Path) -> None:
    """One store has one pixel size: lattice points must mean the same frequency in every image."""
    sizes = images["pixel_size_angstrom"]
    if sizes.max() > 1.002 * sizes.min():
        raise InputError(
            f"{dataset_dir}/images.parquet mixes pixel sizes from {sizes.min():.4f} to "
            f"{sizes.max():.4f} Å: extract the particles at one pixel size, or import each "
            "optics group as its own data set"
        )


def _start(work: Path, key: str) -> None:
    """Keep the work of an interrupted run if it was made from the same input and settings."""
    if (work / "progress.json").exists():
        state = read_json(work / "progress.json")
        begun = state.get("images_done", 0) > 0 and Packed.lies_in(work)
        if begun and state["key"] == key:
            return
    for entry in work.iterdir():
        if entry.name != "lock":
            entry.unlink()
    write_json(work / "progress.json", {"key": key, "images_done": 0})


def kept_counts(images: pd.DataFrame, box: int) -> NDArray[np.int64]:
    """Half-plane coefficients inside the dose mask, per image; all of them without a dose."""
    pixel, voltage = column(images, "pixel_size_angstrom"), column(images, "voltage_kv")
    dose = torch.nan_to_num(column(images, "dose_e_per_A2"), nan=0.0)
    limit = highest_frequency(dose, voltage) * pixel * box
    counts: NDArray[np.int64] = half_plane(box).count_within(limit).numpy()
    return counts


def _with_counts(images: pd.DataFrame, box: int, settings: PrepareSettings) -> pd.DataFrame:
    """The image table with how many coefficients of each image are stored, and where."""
    kept = kept_counts(images, box)
    stored = kept if settings.dose_mask else np.full_like(kept, len(half_plane(box).points))
    starts = np.concatenate([[0], np.cumsum(stored)[:-1]])
    return images.assign(coefficient_start=starts, coefficient_count=stored, kept_count=kept)


def _scale(images: pd.DataFrame, job: Job) -> float:
    """Standard deviation of the real and imaginary parts over a sample of images."""
    count = min(_SAMPLE_IMAGES, max(16, _CHUNK_PIXELS // job.box**2))
    values = half_planes(sample(images, count), job)
    scale = float(torch.view_as_real(values).double().std())
    if scale == 0:
        raise InputError(
            f"{images['stack'].iloc[0]}: all sampled images are constant: check the stacks"
        )
    return scale


def _fill(
    work: Path,
    packed: Packed,
    images: pd.DataFrame,
    job: Job,
    scale: float,
    workers: int,
) -> None:
    """Transform all images in chunks and write them to their places, marking each chunk as done."""
    state = read_json(work / "progress.json")
    size = max(16, _CHUNK_PIXELS // job.box**2)
    starts = range(state["images_done"], len(images), size)
    tables = (images.iloc[start : start + size] for start in starts)
    with Progress(len(images), "prepare") as progress:
        progress.start_at(starts.start)
        # in the images' order: what is done is a number, however many chunks there are
        for start, values in zip(
            starts, packed_coefficients(tables, len(starts), job, scale, workers), strict=True
        ):
            done = min(start + size, len(images))
            packed.write(start, done, values)
            write_json(work / "progress.json", {"key": state["key"], "images_done": done})
            progress.advance(done - start)
