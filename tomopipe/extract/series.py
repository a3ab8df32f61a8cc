"""The tilt series of the tomograms that particles name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.dataset.tilt_series.read import list_tilt_series, read_tilt_series
from tomopipe.errors import InputError

_TOMOSTAR = ".tomostar"


def series_of(
    path: Path, tomograms: Iterable[str], settings: TiltSeriesSettings
) -> dict[str, TiltSeries]:
    """Tilt series at `path` of each of `tomograms`; `.tomostar` at the end of a name is no matter.

    Raises
    ------
    InputError
        If there is none of a tomogram, or one cannot be used.
    """
    known = list_tilt_series(path, settings)
    bare = {name.removesuffix(_TOMOSTAR): name for name in known}
    names = {}
    for tomogram in tomograms:
        name = bare.get(tomogram.removesuffix(_TOMOSTAR))
        if name is None:
            raise InputError(
                f"{path} has no tilt series {tomogram}, which particles name, but "
                f"{', '.join(known[:5]) or 'none'}: give the tilt series of these particles"
            )
        names[tomogram] = name
    found = read_tilt_series(path, settings, set(names.values())) if names else {}
    return {tomogram: found[name] for tomogram, name in names.items()}
