"""Aligned tilt series written in any format that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tomopipe.dataset.tilt_series.aretomo import write_aretomo
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.dataset.tilt_series.imod import write_imod
from tomopipe.dataset.tilt_series.read import Format
from tomopipe.dataset.tilt_series.relion5 import write_relion5
from tomopipe.dataset.tilt_series.warp_write import write_warp

_WRITERS = {
    "relion5": write_relion5,
    "warptools": write_warp,
    "imod": write_imod,
    "aretomo": write_aretomo,
}


def write_tilt_series(folder: Path, series: Sequence[TiltSeries], form: Format) -> Path:
    """Write the alignment of `series` into `folder`; what comes back `read_tilt_series` reads.

    Images are named, not written: `image_paths` says where they must lie.

    Raises
    ------
    InputError
        If a format cannot state a geometry, or cannot name the images.
    """
    return _WRITERS[form](folder, series)


def image_paths(folder: Path, name: str, tilts: int, form: Format) -> list[tuple[Path, int]]:
    """File and section (from 0) of each tilt image of `name` that `form` expects in `folder`."""
    if form == "warptools":
        average = folder / "warp_frameseries" / "average"
        return [(average / f"{name}_{tilt + 1:03d}.mrc", 0) for tilt in range(tilts)]
    places = {
        "relion5": folder / "tilt_series" / f"{name}.mrc",
        "imod": folder / name / f"{name}.mrc",
        "aretomo": folder / f"{name}.mrc",
    }
    return [(places[form], tilt) for tilt in range(tilts)]
