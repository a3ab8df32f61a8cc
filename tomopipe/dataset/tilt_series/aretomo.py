"""AreTomo's .aln (versions 1 to 3), with the stack that was aligned.

Rows are `SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT`: the tilt axis ROT and the tilt TILT in
degrees, and the shift (TX, TY) in pixels of the raw image from its centre to where the tomogram's
centre falls (`CSaveXF.cpp` writes A = R(-ROT), d = -A (TX, TY) into IMOD's .xf for it), so

    R = Rz(ROT) Ry(TILT), shift = (n - 1) / 2 - n // 2 + (TX, TY)

with IMOD's centre at (n - 1) / 2. SEC counts the stack's sections from 0. Where it repeats a dark
frame's section it counts the frames without dark ones, as AreTomo3 does; where neither a row nor a
dark frame is 0, it counts from 1.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.dialects.tomograms import angles_to_rotation
from tomopipe.dataset.stacks import StackHeader
from tomopipe.dataset.tilt_series.ctf_files import check_ctf_file, known, write_ctffind
from tomopipe.dataset.tilt_series.find import find_aretomo
from tomopipe.dataset.tilt_series.geometry import Floats, TiltSeries
from tomopipe.dataset.tilt_series.mdoc import write_mdoc
from tomopipe.dataset.tilt_series.parts import (
    chosen_names,
    edge_centre,
    find_stack,
    relion_angles,
    sections,
    stack_images,
)
from tomopipe.dataset.tilt_series.stacked import Alignment, stacked_series
from tomopipe.errors import InputError
from tomopipe.io.atomic import write_text
from tomopipe.io.notice import notice

_HEADER = re.compile(r"#\s*(\w+)\s*=\s*(.*\S)\s*")
_COLUMNS = 10
_FLAT = 0.001  # degrees of x tilt that are none


@dataclass(frozen=True)
class Aln:
    """An .aln file: its global rows `(F, 10)`, dark sections and their tilts, header values.

    Sections are counted from 0.
    """

    path: Path
    rows: Floats
    dark: Floats  # (D, 2) section, tilt
    header: dict[str, list[float]]


def read_aretomo(
    path: Path, settings: TiltSeriesSettings, names: Collection[str] | None = None
) -> dict[str, TiltSeries]:
    """Read tilt series that AreTomo aligned, all or those called `names`.

    Local alignments are not used, which a notice says.

    Raises
    ------
    InputError
        If a file is missing, two are of one name, counts disagree, or there is no CTF.
    """
    found = find_aretomo(path)
    check_ctf_file(path, found, settings)
    return {name: _read(name, found[name], settings) for name in chosen_names(found, names, path)}


def _read(name: str, file: Path, settings: TiltSeriesSettings) -> TiltSeries:
    aln = read_aln(file)
    header = find_stack(name, [file.parent, file.parent.parent], settings)
    size = (header.nx, header.ny)
    if aln.header["RawSize"][:2] != list(size):
        x, y = aln.header["RawSize"][:2]
        raise InputError(
            f"{file} aligns images of {x:g} x {y:g} pixels, {header.path} has {size[0]} x "
            f"{size[1]}: give the stack that was aligned"
        )
    kept = _kept(aln, header)
    order = np.argsort(kept)
    rows, kept = aln.rows[order], kept[order]
    tilt = rows[:, 9]
    nominal = np.full(header.sections, np.nan)
    nominal[kept] = tilt - aln.header.get("AlphaOffset", [0.0])[0]  # TILT has it added
    if header.sections > len(kept):
        nominal[aln.dark[:, 0].astype(int)] = aln.dark[:, 1]
    zero = np.zeros(len(tilt))
    return stacked_series(
        Alignment(
            name,
            file,
            header,
            kept,
            angles_to_rotation(zero, tilt, rows[:, 1]),
            edge_centre(size) + rows[:, 3:5],
            nominal,
            np.full(3, np.nan),
        ),
        settings,
    )


def read_aln(path: Path) -> Aln:
    """Read the header and the global alignment.

    Raises
    ------
    InputError
        If it is missing, has no RawSize or no rows, or a row cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: align the tilt series, or give its folder")
    header: dict[str, list[float]] = {}
    dark: list[list[float]] = []
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if "Local Alignment" in line:
            notice(f"{path} has local alignments, which are not used")
            break
        match = _HEADER.match(line)
        words = match.group(2).split() if match else line.split()
        try:
            if match and match.group(1) == "DarkFrame":
                dark.append([float(word) for word in words[1:3]])
            elif match and match.group(1) in ("RawSize", "AlphaOffset", "BetaOffset"):
                header[match.group(1)] = [float(word) for word in words]
            elif words and line.lstrip()[0] != "#" and len(words) > 1:
                rows.append([float(word) for word in words[:_COLUMNS]])
        except ValueError:
            raise InputError(f"{path} line {number} is {line.strip()!r}: correct it") from None
    return _checked(path, header, dark, rows)


def _checked(
    path: Path, header: dict[str, list[float]], dark: list[list[float]], rows: list[list[float]]
) -> Aln:
    if len(header.get("RawSize", [])) != 3:
        raise InputError(f"{path} has no line `# RawSize = x y n`: give the .aln file of AreTomo")
    if not rows or any(len(row) != _COLUMNS for row in rows):
        raise InputError(
            f"{path} has no rows of {_COLUMNS} numbers (SEC ROT GMAG TX TY ... TILT): align the "
            "tilt series again"
        )
    count = int(header["RawSize"][2])
    if len(rows) + len(dark) != count:
        raise InputError(
            f"{path} has {len(rows)} aligned and {len(dark)} dark images of {count} (RawSize): "
            "the file is truncated, align the tilt series again"
        )
    if abs(header.get("BetaOffset", [0.0])[0]) > _FLAT:
        notice(f"{path} has a BetaOffset (tilt about x), which is not used")
    table, darks = np.array(rows), np.array(dark).reshape(-1, 2)
    if min([*table[:, 0], *darks[:, 0]]) > 0:  # counted from 1
        table[:, 0] -= 1
        darks[:, 0] -= 1
    return Aln(path, table, darks, header)


def _kept(aln: Aln, stack: StackHeader) -> NDArray[np.int64]:
    """`(F,)` sections of the stack, from 0, that the rows align."""
    section = aln.rows[:, 0].astype(np.int64)
    dark = aln.dark[:, 0].astype(np.int64)
    total, count = int(aln.header["RawSize"][2]), len(section)
    if stack.sections not in (total, count):
        raise InputError(
            f"{aln.path} aligns {count} of {total} images, {stack.path} holds {stack.sections}: "
            "give the stack that was aligned"
        )
    others = np.setdiff1d(np.arange(total), dark)
    if np.intersect1d(section, dark).size and section.max() < count:
        section = others[section]  # counted without dark frames
    if sorted(section) != others.tolist():
        raise InputError(
            f"{aln.path} column SEC does not name the images that are not dark: align the tilt "
            "series again"
        )
    if stack.sections == total:
        return section
    return np.searchsorted(others, section)  # the stack was written without dark frames


def write_aretomo(folder: Path, series: Sequence[TiltSeries]) -> Path:
    """Write `folder/{name}.aln`, `{name}_CTF.txt` and `{name}.mdoc`.

    The hand and the tomogram's size are not stored: AreTomo has no place for them.

    Raises
    ------
    InputError
        If the images are not the sections of one stack called as the tilt series is, or the
        tomogram is tilted about x.
    """
    for one in series:
        stack = stack_images(one, "AreTomo")
        write_text(folder / f"{one.name}.aln", _aln_text(one))
        if known(one):
            write_ctffind(folder / f"{one.name}_CTF.txt", one)
        write_mdoc(folder / f"{one.name}.mdoc", one, stack.name)
    return folder


def _aln_text(series: TiltSeries) -> str:
    x_tilt, y_tilt, z_rot = relion_angles(series.rotation)
    if np.abs(x_tilt).max() > _FLAT:
        raise InputError(
            f"tilt series {series.name} is tilted by {x_tilt[np.abs(x_tilt).argmax()]:.3f}° about "
            "x, which AreTomo cannot state: write another format"
        )
    shift = series.shift_angstrom / series.pixel_size - edge_centre(series.image_size)
    lines = [
        "# AreTomo Alignment / Priims bprmMn",
        f"# RawSize = {series.image_size[0]} {series.image_size[1]} {len(series)}",
        "# NumPatches = 0",
        "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     "
        "TILT",
    ]
    for number, tilt in enumerate(sections(series)):
        lines.append(
            f"{number:5d}  {z_rot[tilt]:10.5f}  {1:9.5f}  {shift[tilt, 0]:9.3f}  "
            f"{shift[tilt, 1]:9.3f}  {1:7.2f}  {1:7.2f}  {1:7.2f}  {0:7.2f}  {y_tilt[tilt]:10.5f}"
        )
    return "\n".join(lines) + "\n"
