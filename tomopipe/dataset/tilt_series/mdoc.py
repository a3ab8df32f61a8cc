"""SerialEM's .mdoc files: `[ZValue = n]` sections of `key = value` lines below global ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from tomopipe.dataset.tilt_series.geometry import Floats, TiltSeries
from tomopipe.dataset.tilt_series.parts import relion_angles, sections
from tomopipe.errors import InputError
from tomopipe.io.atomic import write_text

_SECTION = re.compile(r"\[\s*(ZValue|FrameSet)\s*=\s*(\d+)\s*\]")
_DATES = ("%d-%b-%y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True)
class Mdoc:
    """Values of the whole file, and of each tilt image in the order of the file."""

    path: Path
    header: Mapping[str, str]
    tilts: tuple[Mapping[str, str], ...]

    def floats(self, key: str) -> Floats:
        """`(n,)` of the tilts; NaN where one does not have it.

        Raises
        ------
        InputError
            If a value is not a number.
        """
        return np.array([_number(self.path, key, tilt.get(key, "nan")) for tilt in self.tilts])

    def number(self, key: str) -> float:
        """Value of the whole file, else of the first tilt that has it; NaN without either."""
        texts = [tilt[key] for tilt in (self.header, *self.tilts) if key in tilt]
        return _number(self.path, key, texts[0]) if texts else float("nan")

    def times(self) -> Floats | None:
        """`(n,)` seconds at which the tilts were exposed; None unless each has its DateTime."""
        found = [_seconds(tilt.get("DateTime", "")) for tilt in self.tilts]
        return None if np.isnan(found).any() else np.array(found)


def read_mdoc(path: Path) -> Mdoc:
    """Read an .mdoc file.

    Raises
    ------
    InputError
        If it has no tilt images.
    """
    header: dict[str, str] = {}
    tilts: list[dict[str, str]] = []
    current = header
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        text = line.strip()
        if _SECTION.fullmatch(text):
            tilts.append(current := {})
        elif "=" in text and not text.startswith("["):
            key, value = text.split("=", 1)
            current[key.strip()] = value.strip()
    if not tilts:
        raise InputError(f"{path} has no [ZValue = n] sections: give the .mdoc of the tilt series")
    return Mdoc(path, header, tuple(tilts))


def write_mdoc(path: Path, series: TiltSeries, image_file: str) -> None:
    """Write optics, tilt angles and doses of a tilt series, in the order of its sections."""
    lines = [
        f"PixelSpacing = {series.pixel_size:.9g}",
        f"Voltage = {series.voltage_kv:.9g}",
        f"ImageFile = {image_file}",
        f"ImageSize = {series.image_size[0]} {series.image_size[1]}",
        "DataMode = 1",
    ]
    angles = relion_angles(series.rotation)[1]
    for number, tilt in enumerate(sections(series)):
        lines += ["", f"[ZValue = {number}]", f"TiltAngle = {angles[tilt]:.6f}"]
        dose = series.dose_e_per_A2[tilt] - series.dose_per_tilt
        if np.isfinite(dose):
            lines += [
                f"ExposureDose = {series.dose_per_tilt:.9g}",
                f"PriorRecordDose = {dose:.9g}",
            ]
    write_text(path, "\n".join(lines) + "\n")


def _number(path: Path, key: str, text: str) -> float:
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        raise InputError(f"{path} has {key} = {text!r}, which is no number: correct it") from None


def _seconds(text: str) -> float:
    for form in _DATES:
        try:
            return datetime.strptime(" ".join(text.split()), form).timestamp()
        except ValueError:
            continue
    return float("nan")
