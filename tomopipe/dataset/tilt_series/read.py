"""Aligned tilt series of any format that is known, told apart by the files present."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.aretomo import read_aretomo
from tomopipe.dataset.tilt_series.find import find_aretomo, find_imod, find_warp
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.dataset.tilt_series.imod import read_imod
from tomopipe.dataset.tilt_series.relion5 import list_relion5, read_relion5
from tomopipe.dataset.tilt_series.warp import read_warp
from tomopipe.errors import InputError

Format = Literal["relion5", "warptools", "imod", "aretomo"]
_SUFFIXES: dict[str, Format] = {
    ".star": "relion5",
    ".tomostar": "warptools",
    ".xml": "warptools",
    ".aln": "aretomo",
    ".xf": "imod",
    ".tlt": "imod",
    ".st": "imod",
    ".rawtlt": "imod",
}
_READERS = {
    "relion5": read_relion5,
    "warptools": read_warp,
    "imod": read_imod,
    "aretomo": read_aretomo,
}
_MARKS: tuple[tuple[Format, str], ...] = (
    ("relion5", "tomograms.star"),
    ("warptools", "*.tomostar"),
    ("aretomo", "*.aln"),
    ("imod", "*.xf"),
    ("imod", "*.tlt"),
)


def read_tilt_series(
    path: Path, settings: TiltSeriesSettings, names: Collection[str] | None = None
) -> dict[str, TiltSeries]:
    """Read aligned tilt series by name, all or those called `names`, in the order of the files.

    `path` is RELION-5's tomograms.star (or its folder), a folder of WarpTools or one .tomostar, a
    folder of IMOD or AreTomo alignments (or of such folders), or one of their files.

    Raises
    ------
    InputError
        If nothing or more than one format is found, or files are missing or unusable.
    """
    form = detect_format(path, settings)
    return _READERS[form](_inside(path, form), settings, names)


def list_tilt_series(path: Path, settings: TiltSeriesSettings) -> list[str]:
    """Names of the tilt series at `path`, without reading them."""
    form = detect_format(path, settings)
    place = _inside(path, form)
    if form == "relion5":
        return list_relion5(place)
    return list({"warptools": find_warp, "imod": find_imod, "aretomo": find_aretomo}[form](place))


def detect_format(path: Path, settings: TiltSeriesSettings) -> Format:
    """Format of the settings, else that of the files at `path` or one folder below.

    Raises
    ------
    InputError
        If nothing is known, or several formats lie side by side.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check the path of the tilt series")
    if settings.format != "auto":
        return settings.format
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise InputError(
                f"{path} is no alignment that is known (.star, .tomostar, .xml, .aln, .xf, .tlt): "
                "give one, or a folder of them"
            )
        return _SUFFIXES[path.suffix]
    for below in ("", "*/"):
        found = {
            form: mark
            for form, mark in _MARKS
            if (form != "relion5" or not below) and next(path.glob(below + mark), None)
        }
        if len(found) > 1:
            raise InputError(
                f"{path} holds {' and '.join(found.values())}: set format to one of "
                f"{', '.join(found)}"
            )
        if found:
            return next(iter(found))
    if find_warp(path):
        return "warptools"
    raise InputError(
        f"{path} holds no tomograms.star, .tomostar, .aln, .xf or .tlt: give the folder of the "
        "aligned tilt series"
    )


def _inside(path: Path, form: Format) -> Path:
    return path / "tomograms.star" if form == "relion5" and path.is_dir() else path
