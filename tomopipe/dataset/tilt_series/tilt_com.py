"""What IMOD's tilt.com says of a tomogram: excluded views, its own tilt, its size."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomopipe.dataset.tilt_series.geometry import Floats, TiltSeries
from tomopipe.errors import InputError
from tomopipe.io.atomic import write_text
from tomopipe.io.notice import notice

_EXCLUDE = ("EXCLUDELIST", "EXCLUDELIST2", "EXCLUDE")


@dataclass(frozen=True)
class TiltCom:
    """Degrees that are added to all tilts and x tilts, views left out, unbinned pixels."""

    path: Path
    offset: float = 0.0
    x_axis_tilt: float = 0.0
    excluded: frozenset[int] = frozenset()  # from 1
    volume: Floats = field(default_factory=lambda: np.full(3, np.nan))  # (3,) NaN unknown

    def kept(self, count: int) -> NDArray[np.int64]:
        """Sections from 0 of `count` that are not excluded.

        Raises
        ------
        InputError
            If a view is excluded that the stack does not have, or all are.
        """
        beyond = [view for view in self.excluded if not 1 <= view <= count]
        if beyond or len(self.excluded) == count:
            problem = f"view {beyond[0]} of {count}" if beyond else f"all {count} views"
            raise InputError(f"{self.path} excludes {problem}: correct its EXCLUDELIST")
        return np.array([i for i in range(count) if i + 1 not in self.excluded], dtype=np.int64)


def read_tilt_com(folder: Path, name: str) -> TiltCom:
    """Read tilt.com of tilt series `name`, tilta.com or tiltb.com of the axes of a dual one.

    A missing file says nothing, nor does one of another tilt series.

    A shift of the tomogram, local alignments and a z factor are not used, which a notice says.

    Raises
    ------
    InputError
        If a value is not a number.
    """
    axis = name[-1] if (folder / f"tilt{name[-1]}.com").is_file() else ""
    path = folder / f"tilt{axis}.com"
    if not path.is_file():
        return TiltCom(path)
    values: dict[str, list[str]] = {}
    excluded: set[int] = set()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, *words = line.split() or [""]
        if key in _EXCLUDE:
            excluded |= _views(path, words)
        elif key and key[0] not in "#$":
            values[key] = words
    stack = Path((values.get("InputProjections") or [name])[0]).stem.removesuffix("_ali")
    if stack != name:
        return TiltCom(path)
    _say_unused(path, values)
    full, thick = _numbers(path, values, "FULLIMAGE"), _numbers(path, values, "THICKNESS")
    volume = np.full(3, np.nan)
    if len(full) == 2 and len(thick) == 1:
        volume = np.array([*full, *thick])
    return TiltCom(
        path,
        offset=(_numbers(path, values, "OFFSET") or [0.0])[0],
        x_axis_tilt=(_numbers(path, values, "XAXISTILT") or [0.0])[0],
        excluded=frozenset(excluded),
        volume=volume,
    )


def _say_unused(path: Path, values: dict[str, list[str]]) -> None:
    if any(_numbers(path, values, "SHIFT")):
        notice(
            f"{path} shifts the tomogram (SHIFT {' '.join(values['SHIFT'])}), which is not used: "
            "coordinates count from the centre of a tomogram without shift"
        )
    if "LOCALFILE" in values:
        notice(f"{path} names local alignments (LOCALFILE), which are not used")


def _numbers(path: Path, values: dict[str, list[str]], key: str) -> list[float]:
    try:
        return [float(w) for word in values.get(key, []) for w in word.split(",") if w]
    except ValueError:
        raise InputError(
            f"{path} has {key} {' '.join(values[key])}, where numbers are needed: correct it"
        ) from None


def _views(path: Path, words: list[str]) -> set[int]:
    """Views of a list such as `1,3-5`."""
    views: set[int] = set()
    for part in " ".join(words).replace(",", " ").split():
        first, _, last = part.partition("-")
        try:
            views |= set(range(int(first), int(last or first) + 1))
        except ValueError:
            raise InputError(
                f"{path} excludes {part!r}, which is no list of views such as 1,3-5: correct it"
            ) from None
    return views


def write_tilt_com(path: Path, series: TiltSeries) -> None:
    """Write a tilt.com with which `tilt` reconstructs the tomogram from an aligned stack."""
    size = np.round(series.volume_angstrom / series.pixel_size).astype(int)
    name = series.name
    lines = [
        "$tilt -StandardInput",
        f"InputProjections {name}.ali",
        f"OutputFile {name}_full.rec",
        "IMAGEBINNED 1",
        f"TILTFILE {name}.tlt",
        f"XTILTFILE {name}.xtilt",
        f"THICKNESS {size[2]}",
        "RADIAL 0.35 0.035",
        "PERPENDICULAR",
        "MODE 2",
        f"FULLIMAGE {size[0]} {size[1]}",
        "SUBSETSTART 0 0",
    ]
    write_text(path, "\n".join(lines) + "\n")
