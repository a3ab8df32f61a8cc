"""Results that a branch takes over from another: same particles, same settings, same stage."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tomopipe import __version__
from tomopipe.config.base import Section
from tomopipe.io.atomic import atomic_directory, atomic_path, read_json, read_parquet, write_json

FOLDER = "taken_over"  # of a branch, with a record for each stage that it took over

# Of stages that leave a folder, the record in it that holds version and settings.
_RECORDS = {
    "consensus": "consensus.json",
    "fit": "fit.json",
    "linear": "config.json",
    "homogeneous": "config.json",
    "heterogeneous": "config.json",
    "convergence": "convergence.json",
    "analysis": "analysis.json",
    "classes": "classes.json",
}
# Of a fit, what only one of its two models leaves: where the other was taken it must not stay.
OF_ONE_MODEL = ("linear", "snapshots", "spectrum.csv")
_JUNK = ("junk.parquet", "junk_particles.parquet")
# What stages read of their own branch, where it is there: that must have been taken over as well.
_READS = {
    "homogeneous": ("consensus",),
    "heterogeneous": ("consensus", "linear"),
    "convergence": ("heterogeneous",),
    "analysis": ("fit", "linear", "heterogeneous"),
    "classes": ("analysis",),
    "junk": ("consensus", "analysis"),
}


def take_over(
    stage: str,
    branch: Path,
    source: Path | None,
    settings: Section,
    *,
    leads: bool = True,
) -> bool:
    """Copy a stage's result from another branch, if it is what the stage would give; say whether.

    It is when both branches keep the same particles of the same data set, the other's result was
    made by this version with these settings, and what the stage reads was taken over as well.

    Parameters
    ----------
    stage
        Any but `export`.
    branch, source
        Folders of both branches, each with `selected.parquet`; without a source nothing is taken.
    settings
        Of the stage; those that decide nothing may differ.
    leads
        Whether this process is the one of several that writes.

    Raises
    ------
    StateError
        If a table of either branch is damaged or missing.
    """
    same = source is not None and _would_be_same(stage, branch, source, settings)
    record = branch / FOLDER / f"{stage}.json"
    if not leads:
        return same
    if source is None or not same:
        record.unlink(missing_ok=True)
        return False
    _copy(stage, branch, source)
    write_json(record, {"from": source.name})
    return True


def _would_be_same(stage: str, branch: Path, source: Path, settings: Section) -> bool:
    read = [name for name in _READS.get(stage, ()) if (branch / name).is_dir()]
    return (
        _same_particles(branch, source)
        and all(_taken_from(branch, name) == source.name for name in read)
        and (
            _junk_is(source, settings)
            if stage == "junk"
            else _folder_is(source / stage / _RECORDS[stage], settings)
        )
    )


def taken_over(branch: Path) -> dict[str, str]:
    """Stages that a branch has taken over, each with the branch that it was taken from."""
    files = sorted((branch / FOLDER).glob("*.json"))
    return {file.stem: str(read_json(file)["from"]) for file in files}


def _taken_from(branch: Path, stage: str) -> str | None:
    record = branch / FOLDER / f"{stage}.json"
    return str(read_json(record)["from"]) if record.is_file() else None


def _same_particles(branch: Path, source: Path) -> bool:
    """Whether both keep the same particles of the same ones, in the same order."""
    columns = ["uid", "kept"]
    own, other = (read_parquet(path / "selected.parquet", columns) for path in (branch, source))
    return bool(own.equals(other))


def _folder_is(record: Path, settings: Section) -> bool:
    """Whether a stage's record is of this version and of these settings."""
    return record.is_file() and _made_with(read_json(record), settings)


def _junk_is(source: Path, settings: Section) -> bool:
    """Whether clusters were judged by this version and with these settings."""
    if not all((source / name).is_file() for name in _JUNK):
        return False
    return _made_with(read_parquet(source / "junk.parquet").attrs, settings)


def _made_with(record: Mapping[Any, Any], settings: Section) -> bool:
    return record.get("version") == __version__ and settings.decide_as(record.get("settings", {}))


def _copy(stage: str, branch: Path, source: Path) -> None:
    """Copies have times of their own: they must not look older than what they are made of."""
    if stage == "junk":
        for name in _JUNK:
            with atomic_path(branch / name) as temporary:
                shutil.copyfile(source / name, temporary)
        return
    optional = OF_ONE_MODEL if stage == "fit" else ()
    with atomic_directory(branch / stage, optional=optional) as folder:
        shutil.copytree(
            source / stage,
            folder,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("*lineage.json"),
            copy_function=shutil.copyfile,
        )
