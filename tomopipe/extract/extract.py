"""Extraction from beginning to end: particles and tilt series in, stacks and STAR files out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tomopipe import __version__
from tomopipe.config.extract import ExtractSettings
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.errors import InputError
from tomopipe.extract.particles import ParticleTable
from tomopipe.extract.parts import Part, load_parts, remove_parts, remove_parts_of_others
from tomopipe.extract.place import Placed, place
from tomopipe.extract.stars import particle_rows, tomogram_row, write_sets, write_tilts
from tomopipe.extract.tomogram import write_stacks
from tomopipe.io.atomic import check_folder, write_json, write_parquet
from tomopipe.io.progress import Progress

STEP_FORMAT = 3
_SETS = ("optimisation_set.star", "particles.star", "tomograms.star", "extract.json")


def extract(
    series: Mapping[str, TiltSeries],
    particles: ParticleTable,
    out: Path | str,
    settings: ExtractSettings,
    *,
    part: tuple[int, int] | None = None,
    source: Path | str = "",
) -> dict[str, Any]:
    """Cut all particles out of their tilt series and write them as RELION-5 2D stacks.

    Parameters
    ----------
    series
        Aligned tilt series by the name of the tomogram, as `series_of` gives them.
    particles
        What `read_particles` gives, or some of it.
    out
        Gets `stacks/`, `tilt_series/`, `particles.star`, `tomograms.star`,
        `optimisation_set.star`, `dropped.parquet` and `extract.json`.
    part
        (i, n): only tomograms i, i + n, …, of which `parts/{i}_of_{n}` is left for `join`.
    source
        Where the alignments come from, for the record: parts of two are not joined.

    Returns
    -------
    dict
        What extract.json holds; of a part, its record.

    Raises
    ------
    InputError
        If the input cannot be used.
    """
    out = Path(out)
    check_folder(out)
    _check_names(particles)
    placed = {
        name: place(
            series[name], particles.take(np.flatnonzero(particles.tomogram == name)), settings
        )
        for name in tomograms_of_part(particles, part)
    }
    record = {
        "settings": settings.model_dump(mode="json"),
        "particles": str(particles.rows.path.resolve()),
        "tilt_series": str(Path(source).resolve()) if source else "",
        "fingerprint": particles.fingerprint(),
        "version": __version__,
        "step_format": STEP_FORMAT,
    }
    # of an earlier run: they would name stacks that are about to change
    for name in _SETS:
        (out / name).unlink(missing_ok=True)
    remove_parts(out, part)
    done = _extracted(placed, out, settings, record)
    if part is not None:
        done.save(out, part)
        return record | {"n_particles": len(done.particles), "n_dropped": len(done.dropped)}
    return _finish(done, out, settings)


def _check_names(particles: ParticleTable) -> None:
    """Refuse tomograms whose files would have one name."""
    of: dict[str, str] = {}
    for name in dict.fromkeys(particles.tomogram.astype(str)):
        other = of.setdefault(name.replace("/", "_"), name)
        if other != name:
            raise InputError(
                f"{particles.rows.path}: the tomograms {other} and {name} would share one folder: "
                "rename one of them"
            )


def join(out: Path | str, jobs: int = 0) -> dict[str, Any]:
    """Write the STAR files of all parts in `out`; gives what extract.json holds.

    With `jobs` only parts of that many jobs count, so that another number can follow an older run.

    Raises
    ------
    StateError
        If a part is missing, or parts do not belong together.
    """
    out = Path(out)
    parts = load_parts(out, jobs)
    if jobs:
        remove_parts_of_others(out, jobs)
    return _finish(parts, out, ExtractSettings(**parts.record["settings"]))


def tomograms_of_part(particles: ParticleTable, part: tuple[int, int] | None) -> list[str]:
    """Tomograms of a job (i, n), or all of them, in the order in which particles name them."""
    names = [str(name) for name in pd.unique(particles.tomogram)]
    return names if part is None else names[part[0] :: part[1]]


def _extracted(
    placed: Mapping[str, Placed],
    out: Path,
    settings: ExtractSettings,
    record: dict[str, Any],
) -> Part:
    """Write stacks and tilt series of all tomograms that keep particles."""
    particles, tomograms = [], []
    kept = {name: one for name, one in placed.items() if len(one.particles)}
    with Progress(sum(int(one.visible.sum()) for one in kept.values()), "extract") as progress:
        for name, one in kept.items():
            stacks = write_stacks(one, name, out, settings, progress)
            write_tilts(out, one.series, name, settings)
            rows = particle_rows(one, stacks, settings)
            particles.append(rows.assign(source_row=one.particles.row, tilts=one.visible.sum(1)))
            row = tomogram_row(one.series, name)
            tomograms.append(row | {"source_row": int(one.particles.row[0])})
    return Part(_concat(particles), pd.DataFrame(tomograms), _dropped(placed), record)


def _concat(tables: Collection[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _dropped(placed: Mapping[str, Placed]) -> pd.DataFrame:
    return _concat([one.dropped for one in placed.values()])


def _finish(done: Part, out: Path, settings: ExtractSettings) -> dict[str, Any]:
    """Write the STAR files, the table of what was dropped, and extract.json."""
    if not len(done.particles):
        counts = done.dropped["reason"].value_counts()
        raise InputError(
            f"{done.record['particles']} leaves no particle: {counts.iloc[0]} are dropped because "
            f"of {counts.index[0]!r}; check the tilt series, or lower box or min_tilts"
        )
    particles = done.particles.sort_values("source_row", kind="stable", ignore_index=True)
    tomograms = done.tomograms.sort_values("source_row", kind="stable", ignore_index=True)
    extra = ["source_row", "tilts"]
    write_sets(out, particles.drop(columns=extra), tomograms.drop(columns="source_row"), settings)
    write_parquet(out / "dropped.parquet", done.dropped.drop(columns="source_row"))
    record = {
        "n_particles": len(particles),
        "n_images": int(particles["tilts"].sum()),
        "n_tomograms": len(tomograms),
        "n_dropped": len(done.dropped),
        "dropped": done.dropped["reason"].value_counts().to_dict(),
        "box": settings.box,
        "pixel_size_angstrom": settings.pixel_size_angstrom,
        **done.record,
    }
    write_json(out / "extract.json", record)
    return record
