"""What readers and writers of all formats share: checks, choices, images, centres.

The centre of an image of n pixels is n // 2, counted from 0, in `TiltSeries` and RELION-5; n / 2 in
Warp; (n - 1) / 2 in IMOD and AreTomo, whose coordinates run from edge to edge.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.stacks import StackHeader, read_header
from tomopipe.dataset.tilt_series.geometry import Floats, TiltSeries
from tomopipe.errors import InputError

_DISAGREE = 0.02  # of the pixel size
_UNKNOWN = 1e-6  # Å around 1 Å
_MIRROR = np.diag([1.0, 1.0, -1.0])
_STACKS = (".st", ".mrc", ".mrcs")  # not .ali, which is aligned already


def edge_centre(size: tuple[int, int]) -> Floats:
    """`(2,)` pixels from n // 2 to (n - 1) / 2, the centre in IMOD and AreTomo."""
    offset: Floats = (np.array(size) - 1) / 2 - np.array(size) // 2
    return offset


def even_centre(size: tuple[int, int]) -> Floats:
    """`(2,)` pixels from n // 2 to n / 2, the centre in Warp."""
    offset: Floats = np.array(size) / 2 - np.array(size) // 2
    return offset


def relion_angles(rotation: Floats) -> tuple[Floats, Floats, Floats]:
    """XTilt, YTilt, ZRot in degrees, each `(F,)`, of Rz(ZRot) Ry(YTilt) Rx(XTilt)."""
    x, y, z = Rotation.from_matrix(rotation).as_euler("xyz", degrees=True).T
    return x, y, z


def only(series: TiltSeries, tilts: NDArray[np.integer]) -> TiltSeries:
    """Tilts at 0-based places `tilts`, in that order: all their values together."""
    chosen: dict[str, object] = {"images": tuple(series.images[i] for i in tilts)}
    for field in fields(series):
        value = getattr(series, field.name)
        if isinstance(value, np.ndarray) and field.name != "volume_angstrom":
            chosen[field.name] = value[tilts]
    return replace(series, **chosen)  # type: ignore[arg-type]


def finished(series: TiltSeries, settings: TiltSeriesSettings) -> TiltSeries:
    """`series` with the volume and the hand that the settings give, and its tilts inverted."""
    if settings.volume_angstrom is not None:
        series = replace(series, volume_angstrom=np.array(settings.volume_angstrom))
    if settings.hand is not None:
        series = replace(series, hand=float(settings.hand))
    if settings.invert_tilt:
        # z to -z: the same points fall on the same places, heights change sign
        series = replace(series, rotation=_MIRROR @ series.rotation @ _MIRROR, hand=-series.hand)
    return series


def header_pixel_size(header: StackHeader) -> float:
    """Pixel size in Å that a stack states, 0 for none: 1 Å is of programs that do not know it."""
    return 0.0 if abs(header.pixel_size - 1) < _UNKNOWN else header.pixel_size


def chosen_pixel_size(found: float, where: str, settings: TiltSeriesSettings) -> float:
    """Pixel size in Å: of the settings, else `found` (0 where `where` has none).

    Raises
    ------
    InputError
        If there is none, or the two differ by more than 2 %.
    """
    given = settings.pixel_size_angstrom
    if given is None:
        if found > 0:
            return found
        raise InputError(f"{where} has no pixel size: give pixel_size_angstrom")
    if found > 0 and abs(given / found - 1) > _DISAGREE:
        raise InputError(
            f"{where} has a pixel size of {found:.4g} Å, but pixel_size_angstrom is {given:g}: "
            "correct the setting, or leave it out"
        )
    return given


def optics(
    settings: TiltSeriesSettings, where: str, voltage: float, cs: float, amplitude: float
) -> dict[str, Any]:
    """Fields of the microscope; NaN stands for what the files do not say.

    Raises
    ------
    InputError
        If nothing says the voltage.
    """
    kv = settings.voltage_kv or voltage
    if not kv > 0:
        raise InputError(f"{where} has no acceleration voltage: give voltage_kv")
    found_cs = settings.cs_mm if settings.cs_mm is not None else cs
    found_w = settings.amplitude_contrast
    found_w = found_w if found_w is not None else amplitude
    return {
        "voltage_kv": kv,
        "cs_mm": 2.7 if np.isnan(found_cs) else found_cs,
        "amplitude_contrast": 0.07 if np.isnan(found_w) else found_w,
    }


def chosen_names(found: Iterable[str], names: Collection[str] | None, where: Path) -> list[str]:
    """Names to read, in the order of `found`.

    Raises
    ------
    InputError
        If nothing is found, or a name is not.
    """
    order = list(found)
    if not order:
        raise InputError(f"{where} holds no tilt series: give the folder of their alignments")
    missing = set(names or ()).difference(order)
    if missing:
        raise InputError(
            f"{where} holds no tilt series {min(missing)}, only {', '.join(order[:5])}"
            f"{' and others' if len(order) > 5 else ''}: check the name"
        )
    return order if names is None else [name for name in order if name in set(names)]


def find_stack(name: str, folders: Sequence[Path], settings: TiltSeriesSettings) -> StackHeader:
    """Header of the stack of tilt series `name`, in `data_dir` or in one of `folders`.

    Raises
    ------
    InputError
        If there is none (with the folders tried), or it cannot be read.
    """
    places = [*([settings.data_dir] if settings.data_dir else []), *folders]
    for folder in places:
        for ending in _STACKS:
            if (path := folder / f"{name}{ending}").is_file():
                return read_header(path, f"tilt series {name}", square=False)
    raise InputError(
        f"{name}.st or {name}.mrc with the tilt images is in none of "
        f"{', '.join(map(str, places))}: set data_dir to its folder"
    )


def stack_images(series: TiltSeries, form: str) -> Path:
    """Path of the one stack whose sections 0 to F - 1 the tilts are.

    Raises
    ------
    InputError
        If they are not: `form` has no other way to name images.
    """
    paths = {image.path for image in series.images}
    sections = sorted(image.section for image in series.images)
    if len(paths) != 1 or sections != list(range(len(series))):
        raise InputError(
            f"tilt series {series.name}: {form} needs one stack of all its tilts and no other "
            "images: write its images as one stack"
        )
    path = paths.pop()
    if path.stem != series.name:
        raise InputError(
            f"tilt series {series.name} has its images in {path}: {form} finds a stack by the name "
            f"of the tilt series, name it {series.name}{path.suffix}"
        )
    return path


def sections(series: TiltSeries) -> NDArray[np.int64]:
    """`(F,)` places of the tilts in the order of their sections."""
    return np.argsort([image.section for image in series.images])


def relative(path: Path, folder: Path) -> str:
    """`path` as files in `folder` name it: relative if it lies below, so that both can move."""
    full, root = path.resolve(), folder.resolve()
    return str(full.relative_to(root)) if full.is_relative_to(root) else str(full)


def relative_up(path: Path, folder: Path) -> str:
    """`path` relative to `folder`, with `..` where needed."""
    return os.path.relpath(path.resolve(), folder.resolve())
