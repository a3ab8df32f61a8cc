"""Accumulated doses of formats that keep none: from the .mdoc, a list, or the user's word.

A list or an .mdoc names images by their tilt angle, and is matched to the sections of a stack by
it. The order of rows says nothing: without times, doses or a list the doses stay unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.geometry import Floats
from tomopipe.dataset.tilt_series.mdoc import Mdoc, read_mdoc
from tomopipe.dataset.tilt_series.tables import number_rows
from tomopipe.errors import InputError

_TOLERANCE = 1.5  # degrees between nominal and aligned angle of one image


@dataclass(frozen=True)
class Exposure:
    """Images in the order of their file: nominal angle, and dose up to and with the image."""

    path: Path
    angle: Floats
    dose_e_per_A2: Floats
    dose_per_tilt: float


def find_mdoc(name: str, folders: Sequence[Path]) -> Mdoc | None:
    """The .mdoc of tilt series `name` in one of `folders`, None if there is none."""
    endings = (".mdoc", ".st.mdoc", ".mrc.mdoc")
    paths = (folder / f"{name}{ending}" for folder in folders for ending in endings)
    found = next((path for path in paths if path.is_file()), None)
    return None if found is None else read_mdoc(found)


def section_doses(
    name: str, angles: Floats, mdoc: Mdoc | None, settings: TiltSeriesSettings
) -> tuple[Floats, float]:
    """Accumulated dose `(n,)` of sections with tilt `angles` in degrees, and dose of one tilt.

    Both are NaN where nothing says them.

    Raises
    ------
    InputError
        If a list or the .mdoc does not fit the sections, or the order is known but no dose.
    """
    exposure = _exposure(name, len(angles), mdoc, settings)
    if exposure is None:
        return np.full(len(angles), np.nan), settings.dose_per_tilt or float("nan")
    if exposure.angle.size == 0:
        return exposure.dose_e_per_A2, exposure.dose_per_tilt
    match = match_angles(angles, exposure)
    return exposure.dose_e_per_A2[match], exposure.dose_per_tilt


def _exposure(
    name: str, count: int, mdoc: Mdoc | None, settings: TiltSeriesSettings
) -> Exposure | None:
    if settings.exposure_order == "sections":
        step = _step(f"tilt series {name}", settings)
        return Exposure(Path(), np.empty(0), step * np.arange(1, count + 1, dtype=np.float64), step)
    if settings.exposure_list is not None:
        return _from_list(name, settings.exposure_list, settings)
    return None if mdoc is None else _from_mdoc(mdoc, settings)


def _from_list(name: str, path: Path, settings: TiltSeriesSettings) -> Exposure:
    path = path / f"{name}.csv" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"exposure_list {path} does not exist: check the path")
    step = _step(str(path), settings)
    rows = number_rows(path, least=2)
    if len(np.unique(rows[:, 0])) < len(rows):
        raise InputError(f"{path} gives one place in the order to two images: correct it")
    return Exposure(path, rows[:, 1], step * _places(path, rows[:, 0]), step)


def _places(path: Path, order: Floats) -> Floats:
    """`(n,)` images up to and with each: `order`, from 0 or 1, counts those taken out as well."""
    bad = np.flatnonzero((order < 0) | (order % 1 != 0))
    if bad.size:
        raise InputError(
            f"{path} gives an image the place {order[bad[0]]:g} in the order, which is no whole "
            "number from 0 or 1: correct it"
        )
    return order + 1 if order.min() == 0 else order


def _from_mdoc(mdoc: Mdoc, settings: TiltSeriesSettings) -> Exposure | None:
    angle, each = mdoc.floats("TiltAngle"), mdoc.floats("ExposureDose")
    prior = mdoc.floats("PriorRecordDose")
    order = next((o for o in (prior, mdoc.times()) if _is_order(o)), None)
    if np.isnan(angle).any() or order is None:
        return None
    if settings.dose_per_tilt is not None:
        step = settings.dose_per_tilt
        return Exposure(mdoc.path, angle, step * _ranks(order), step)
    if not (each > 0).all():
        return None
    dose = prior + each
    if order is not prior:
        dose = np.array([each[order <= time].sum() for time in order])
    return Exposure(mdoc.path, angle, dose, float(np.median(each)))


def _is_order(values: Floats) -> bool:
    """Whether no two images have the same value, and each has one (0 may mean unknown)."""
    return bool(np.isfinite(values).all()) and len(np.unique(values)) == len(values)


def _ranks(order: Floats) -> Floats:
    """`(n,)` place in the order of exposure, from 1."""
    places: Floats = (np.argsort(np.argsort(order, kind="stable")) + 1).astype(np.float64)
    return places


def _step(where: str, settings: TiltSeriesSettings) -> float:
    if settings.dose_per_tilt is None:
        raise InputError(f"{where} gives the order of exposure but no dose: give dose_per_tilt")
    return settings.dose_per_tilt


def match_angles(angles: Floats, exposure: Exposure) -> NDArray[np.int64]:
    """Place `(n,)` in `exposure` of each of `angles`: one to one, the least sum of differences.

    An angle that is added to all of them (the tilt of a lamella) is allowed for where as many
    images are listed as there are sections.

    Raises
    ------
    InputError
        If fewer images are listed than sections, or angles differ by more than 1.5°.
    """
    if len(exposure.angle) < len(angles):
        raise InputError(
            f"{exposure.path} lists {len(exposure.angle)} images, the tilt series has "
            f"{len(angles)}: give the file of this tilt series"
        )
    offsets = [0.0]
    if len(exposure.angle) == len(angles):
        offsets.append(float(np.median(np.sort(angles) - np.sort(exposure.angle))))
    best: tuple[float, NDArray[np.int64], int] | None = None
    for offset in offsets:
        cost = np.abs(angles[:, None] - exposure.angle[None] - offset)
        places = linear_sum_assignment(cost)[1]
        apart = cost[np.arange(len(angles)), places]
        if best is None or apart.max() < best[0]:
            best = float(apart.max()), places, int(apart.argmax())
    assert best is not None
    if best[0] > _TOLERANCE:
        raise InputError(
            f"{exposure.path} lists no image at the tilt of {angles[best[2]]:.2f}° that the "
            "alignment has: give the file of this tilt series"
        )
    return best[1]
