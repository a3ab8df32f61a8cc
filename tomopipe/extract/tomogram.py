"""All particles of one tomogram: each tilt image is read once, and only one lies in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tomopipe.config.extract import ExtractSettings
from tomopipe.errors import InputError
from tomopipe.extract.images import Extractor
from tomopipe.extract.place import Placed
from tomopipe.extract.stacks import as_stored, create_stack, fill_stack, read_tilt
from tomopipe.io.atomic import atomic_directory, remove_directory
from tomopipe.io.progress import Progress
from tomopipe.io.results import STACKS


def write_stacks(
    placed: Placed, tomogram: str, out: Path, settings: ExtractSettings, progress: Progress
) -> list[str]:
    """Cut out all particles and write a stack of visible tilts for each.

    The stacks take their names together, when all of them are whole; those of an earlier run go
    first.

    Returns
    -------
    list[str]
        Path of each particle's stack, relative to `out`.

    Raises
    ------
    InputError
        If a tilt image cannot be used, or two particles would be one file.
    """
    names = _file_names(placed)
    folder = f"{STACKS}/{tomogram.replace('/', '_')}"
    slots = np.cumsum(placed.visible, axis=1) - 1
    if (out / folder).is_dir():
        remove_directory(out / folder)
    with atomic_directory(out / folder) as temporary:
        files = [temporary / name for name in names]
        for file, count in zip(files, placed.visible.sum(axis=1), strict=True):
            create_stack(file, int(count), settings)
        _fill(placed, files, slots, settings, progress)
    return [f"{folder}/{name}" for name in names]


def _fill(
    placed: Placed,
    files: list[Path],
    slots: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    settings: ExtractSettings,
    progress: Progress,
) -> None:
    series = placed.series
    extractor = Extractor(series, settings)
    centre = series.project(placed.middle)
    depth = series.defocus_change(placed.position)
    for tilt in range(len(series)):
        members = np.flatnonzero(placed.visible[:, tilt])
        if not members.size:
            continue
        image = read_tilt(series, tilt, settings)
        path = series.images[tilt].path
        for some, boxes in extractor(image, tilt, centre[members, tilt], depth[members, tilt]):
            stored = as_stored(boxes, path, tilt, settings)
            for particle, box in zip(members[some], stored, strict=True):
                fill_stack(files[particle], int(slots[particle, tilt]), box)
            progress.advance(len(stored))


def _file_names(placed: Placed) -> list[str]:
    """`{particle}_stack2d.mrcs`, after the part of the uid behind the tomogram."""
    names = [
        f"{uid.split('/', 1)[-1].replace('/', '_')}_stack2d.mrcs" for uid in placed.particles.uid
    ]
    owners: dict[str, str] = {}
    for uid, name in zip(placed.particles.uid, names, strict=True):
        if owners.setdefault(name, uid) != uid:
            raise InputError(
                f"{placed.particles.path} has the particles {owners[name]} and {uid}, whose stacks "
                f"would both be {name}: rename one of them"
            )
    return names
