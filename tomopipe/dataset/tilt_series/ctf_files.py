"""Defoci of tilt series from IMOD's .defocus files and from ctffind4's text.

`.defocus` (ctfplotter), views from 1, nm and degrees. Version 2: `first last angle angle defocus`
per row, and the version as sixth number of the first. Version 3 begins with `flags 0 0 0 0 3`; by
the flags rows go on with the second defocus and the angle of the first one's axis (1; in radians
with 2), the phase shift (4; in radians with 8). Rows that cover several views stand for their
middle, views between are interpolated.

ctffind4: `number defocus1 defocus2 angle phase ...` in Å, degrees and radians; so writes AreTomo.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.geometry import Floats, TiltSeries
from tomopipe.dataset.tilt_series.parts import sections
from tomopipe.dataset.tilt_series.tables import number_rows
from tomopipe.errors import InputError
from tomopipe.io.atomic import write_text

_ASTIGMATISM, _RADIANS, _PHASE, _PHASE_RADIANS = 1, 2, 4, 8
_ENDINGS = (".defocus", "_CTF.txt", "_ctf.txt")


@dataclass(frozen=True)
class Defoci:
    """Rows of a file: view (from 1; a middle may be half), Å, Å, degrees, degrees."""

    path: Path
    view: Floats
    u: Floats
    v: Floats
    angle: Floats
    phase: Floats
    ranges: bool  # views between rows are interpolated

    def at(self, views: NDArray[np.int64]) -> dict[str, Any]:
        """Fields of `TiltSeries` for `views` `(F,)`, counted from 1.

        Raises
        ------
        InputError
            If a view has no row.
        """
        order = np.argsort(self.view, kind="stable")
        view = self.view[order]
        if not self.ranges and (missing := np.setdiff1d(views, view)).size:
            raise InputError(
                f"{self.path} has no row of image {missing[0]}: estimate the CTF of all tilts"
            )
        nearest = order[np.abs(views[:, None] - view[None]).argmin(axis=1)]
        return {
            "defocus_u_angstrom": np.interp(views, view, self.u[order]),
            "defocus_v_angstrom": np.interp(views, view, self.v[order]),
            "astigmatism_degrees": self.angle[nearest],
            "phase_shift_degrees": np.interp(views, view, self.phase[order]),
        }


def find_defoci(
    name: str, folders: Sequence[Path], settings: TiltSeriesSettings, where: str
) -> Defoci:
    """Defoci of tilt series `name`: where `ctf` says, else in one of `folders`.

    Raises
    ------
    InputError
        If there are none, or the file cannot be understood.
    """
    given = settings.ctf
    if given is not None and not given.is_dir():
        return read_defoci(given)
    places = [given] if given is not None else list(folders)
    # any other text of that name beside an alignment may be something else
    endings = _ENDINGS if given is None else (*_ENDINGS, ".txt")
    for folder in places:
        for ending in endings:
            if (path := folder / f"{name}{ending}").is_file():
                return read_defoci(path)
    raise InputError(
        f"{where} has no CTF, {name}.defocus or {name}_CTF.txt is in none of "
        f"{', '.join(map(str, places))}: set ctf to the file or its folder"
    )


def check_ctf_file(path: Path, listed: Collection[str], settings: TiltSeriesSettings) -> None:
    """Refuse one file of defoci where several tilt series are `listed` at `path`, read or not.

    Raises
    ------
    InputError
        If `ctf` is a file, and would give all of them the same defoci.
    """
    given = settings.ctf
    if given is not None and given.is_file() and len(listed) > 1:
        raise InputError(
            f"ctf {given} is the file of one tilt series, but {path} has {len(listed)}: set ctf to "
            "a folder with NAME.defocus or NAME_CTF.txt of each, or give the path of the one"
        )


def read_defoci(path: Path) -> Defoci:
    """Read a .defocus file or the text of ctffind4, told apart by the name.

    Raises
    ------
    InputError
        If it is missing, or its version or its rows cannot be understood.
    """
    return _from_imod(path) if path.suffix == ".defocus" else _from_ctffind(path)


def _from_ctffind(path: Path) -> Defoci:
    rows = number_rows(path, least=5)
    phase = np.degrees(rows[:, 4])
    return Defoci(path, rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], phase, ranges=False)


def _from_imod(path: Path) -> Defoci:
    if not path.is_file():
        raise InputError(f"{path} does not exist: check the path")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    first = lines[0].split() if lines else []
    version = first[5] if len(first) == 6 else ""
    if version not in ("2", "3"):
        raise InputError(
            f"{path} is not a .defocus file of version 2 or 3: save it again with ctfplotter"
        )
    if version == "2":
        return _imod_rows(path, _numbers(path, lines, 5), 0)
    flags = int(_numbers(path, lines[:1], 6)[0, 0])
    needed = 5 + 2 * bool(flags & _ASTIGMATISM) + bool(flags & _PHASE)
    return _imod_rows(path, _numbers(path, lines[1:], needed), flags)


def _numbers(path: Path, lines: list[str], needed: int) -> Floats:
    rows = [line.split() for line in lines]
    if not rows or any(len(row) < needed for row in rows):
        raise InputError(
            f"{path} has rows of fewer than the {needed} numbers that its first line announces: "
            "save it again with ctfplotter"
        )
    try:
        return np.array([[float(word) for word in row[:needed]] for row in rows])
    except ValueError:
        raise InputError(f"{path} has words where numbers are needed: correct it") from None


def _imod_rows(path: Path, rows: Floats, flags: int) -> Defoci:
    u = v = 10 * rows[:, 4]  # nm
    angle, phase = np.zeros(len(rows)), np.zeros(len(rows))
    if flags & _ASTIGMATISM:
        v, angle = 10 * rows[:, 5], rows[:, 6]
        angle = np.degrees(angle) if flags & _RADIANS else angle
    if flags & _PHASE:
        phase = rows[:, -1]
        phase = np.degrees(phase) if flags & _PHASE_RADIANS else phase
    return Defoci(path, rows[:, :2].mean(axis=1), u, v, angle, phase, ranges=True)


def write_defocus(path: Path, series: TiltSeries) -> None:
    """Write a .defocus file of version 3, a row per view in the order of the sections."""
    lines = [f"{_ASTIGMATISM | _PHASE} 0 0. 0. 0 3"]
    for view, t in enumerate(sections(series), 1):
        tilt = series.tilt_degrees[t]
        lines.append(
            f"{view} {view} {tilt:.4f} {tilt:.4f} {series.defocus_u_angstrom[t] / 10:.4f} "
            f"{series.defocus_v_angstrom[t] / 10:.4f} {series.astigmatism_degrees[t]:.4f} "
            f"{series.phase_shift_degrees[t]:.4f}"
        )
    write_text(path, "\n".join(lines) + "\n")


def write_ctffind(path: Path, series: TiltSeries) -> None:
    """Write defoci as ctffind4 and AreTomo do, a row per section."""
    lines = [
        "# Columns: #1 image number; #2 defocus 1 [A]; #3 defocus 2; #4 azimuth of astigmatism; "
        "#5 additional phase shift [radian]; #6 cross correlation; #7 resolution [A]"
    ]
    for number, t in enumerate(sections(series), 1):
        lines.append(
            f"{number} {series.defocus_u_angstrom[t]:.3f} {series.defocus_v_angstrom[t]:.3f} "
            f"{series.astigmatism_degrees[t]:.4f} {np.radians(series.phase_shift_degrees[t]):.6f} "
            "0.0 0.0"
        )
    write_text(path, "\n".join(lines) + "\n")


def known(series: TiltSeries) -> bool:
    """Whether the defocus of every tilt is known, so that it can be written."""
    return bool(np.isfinite(series.defocus_u_angstrom + series.defocus_v_angstrom).all())
