"""What a job leaves of the tomograms that it had, so that jobs can be joined."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tomopipe.errors import StateError
from tomopipe.io.atomic import (
    atomic_directory,
    read_json,
    read_parquet,
    remove_directory,
    write_json,
    write_parquet,
)
from tomopipe.io.results import STACKS

PARTS = "parts"
_NAME = re.compile(r"(\d+)_of_(\d+)")


@dataclass(frozen=True)
class Part:
    """Tables of some tomograms.

    Attributes
    ----------
    particles
        Rows of particles.star, with `source_row`.
    tomograms
        Rows of the global table of tomograms.star, with `source_row` of their first particle.
    dropped
        uid, tomogram, tilts and reason of particles that were left out.
    record
        Settings, versions and inputs; the same for all parts of a run.
    """

    particles: pd.DataFrame
    tomograms: pd.DataFrame
    dropped: pd.DataFrame
    record: dict[str, Any]

    def save(self, out: Path, part: tuple[int, int]) -> None:
        """Write the part as `parts/{i}_of_{n}`, whole or not at all."""
        with atomic_directory(_folder(out, part)) as folder:
            write_parquet(folder / "particles.parquet", self.particles)
            write_parquet(folder / "tomograms.parquet", self.tomograms)
            write_parquet(folder / "dropped.parquet", self.dropped)
            write_json(folder / "part.json", self.record)


def remove_parts(out: Path, part: tuple[int, int] | None) -> None:
    """Remove what an earlier run left for `join` and is about to be untrue: `part`, or all parts.

    A job that is killed then leaves no part, and cannot be joined with stacks of two runs.
    """
    folder = out / PARTS if part is None else _folder(out, part)
    if folder.is_dir():
        remove_directory(folder)


def remove_parts_of_others(out: Path, jobs: int) -> None:
    """Remove the parts of runs with another number of jobs, whose stacks have been replaced."""
    for path in list((out / PARTS).iterdir()):
        name = _NAME.fullmatch(path.name)
        if name and int(name[2]) != jobs:
            remove_directory(path)


def _folder(out: Path, part: tuple[int, int]) -> Path:
    return out / PARTS / f"{part[0]}_of_{part[1]}"


def files_of_part(out: Path, part: Path, tomograms: Iterable[str]) -> list[Path]:
    """What a job has left: the tables in its folder `part`; of its tomograms, what is in `out`."""
    names = [tomogram.replace("/", "_") for tomogram in tomograms]
    places = [out / STACKS / name for name in names]
    places += [out / "tilt_series" / f"{name}.star" for name in names]
    return [*sorted(part.glob("*.parquet")), part / "part.json", *(p for p in places if p.exists())]


def load_parts(out: Path, jobs: int = 0) -> Part:
    """All parts of a run as one, in the order of the source; of `jobs` jobs, if not 0.

    Raises
    ------
    StateError
        If parts are missing, or are of several runs.
    """
    pattern = f"*_of_{jobs or '*'}"
    folders = sorted(path for path in (out / PARTS).glob(pattern) if _NAME.fullmatch(path.name))
    found = {(int(i), int(n)) for path in folders for i, n in _NAME.findall(path.name)}
    counts = {n for _, n in found}
    if not counts:
        raise StateError(f"{out / PARTS} has no parts: run `tomopipe extract --part` first")
    if len(counts) > 1:
        raise StateError(
            f"{out / PARTS} has parts of runs with {min(counts)} and {max(counts)} jobs: remove "
            "those of the older run, or say --join N"
        )
    missing = {(i, n) for n in counts for i in range(n)} - found
    if missing:
        i, n = min(missing)
        raise StateError(f"{out / PARTS} lacks the part {i}/{n}: run it before joining")
    records = [read_json(path / "part.json") for path in folders]
    other = next((p for p, r in zip(folders, records, strict=True) if r != records[0]), None)
    if other is not None:
        raise StateError(
            f"{other} was made with other settings, particles or alignments than {folders[0]}: run "
            "it again"
        )
    particles, tomograms, dropped = (
        _together(folders, name) for name in ("particles", "tomograms", "dropped")
    )
    return Part(particles, tomograms, dropped, records[0])


def _together(folders: list[Path], name: str) -> pd.DataFrame:
    tables = [read_parquet(folder / f"{name}.parquet") for folder in folders]
    filled = [table for table in tables if len(table)]
    if not filled:
        return tables[0]
    return pd.concat(filled, ignore_index=True).sort_values(
        "source_row", kind="stable", ignore_index=True
    )
