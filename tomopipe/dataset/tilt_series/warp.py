"""WarpTools: a .tomostar per tilt series, and the XML that Warp keeps of it.

Warp places a point (from the tomogram's centre, Å) at `Euler(0, Angle + LevelAngleY, -AxisAngle)
RotateX(LevelAngleX) point + AxisOffset - GridMovement + image size / 2`
(`TiltSeries.GetPositionInAllTilts`). Its Euler matrix is RELION's, Rz(-psi) Ry(-tilt) Rz(-rot), so

    R = Rz(AxisAngle) Ry(-(Angle + LevelAngleY)) Rx(LevelAngleX)

Angles have the opposite sign of RELION-5's and IMOD's: for the same number the tomogram's z runs
the other way. Defocus grows with the height along the beam (hand 1), unless AreAnglesInverted (-1).
Dose is that before an image. Defocus is the mean of both axes and their difference, in µm; phase
shifts are in units of pi.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.dialects.tomograms import angles_to_rotation
from tomopipe.dataset.stacks import StackFinder, StackHeader, read_header
from tomopipe.dataset.tilt_series.find import find_warp, is_tilt_series
from tomopipe.dataset.tilt_series.geometry import Floats, TiltImage, TiltSeries
from tomopipe.dataset.tilt_series.parts import (
    chosen_names,
    chosen_pixel_size,
    even_centre,
    finished,
    header_pixel_size,
    only,
    optics,
)
from tomopipe.dataset.tilt_series.warp_xml import WarpXml, read_warp_xml
from tomopipe.errors import InputError
from tomopipe.io.notice import notice

_WARPS = ("GridVolumeWarpX", "GridVolumeWarpY", "GridVolumeWarpZ")
_TURNS = ("GridAngleX", "GridAngleY", "GridAngleZ")


def read_warp(
    path: Path, settings: TiltSeriesSettings, names: Collection[str] | None = None
) -> dict[str, TiltSeries]:
    """Read tilt series of WarpTools, all or those called `names`.

    Image movements are used as their mean per tilt; volume warps and turns of single tilts that M
    refines are not, which a notice says.

    Raises
    ------
    InputError
        If XML, images or CTF are missing, two files are of one name, or counts disagree.
    """
    found = find_warp(path)
    return {
        name: _read(name, found[name], path, settings) for name in chosen_names(found, names, path)
    }


def _read(name: str, file: Path, root: Path, settings: TiltSeriesSettings) -> TiltSeries:
    xml = read_warp_xml(file if file.suffix == ".xml" else _xml_of(name, file, root))
    angles = xml.floats("Angles")
    count = len(angles)
    headers = _headers(xml, file, settings, count)
    first = headers[0]
    size = (first.nx, first.ny)
    pixel = chosen_pixel_size(header_pixel_size(first), str(first.path), settings)
    before = xml.floats("Dose", count)
    step = settings.dose_per_tilt or _step(before)
    offset = np.stack([xml.floats(f"AxisOffset{axis}", count, 0.0) for axis in "XY"], axis=1)
    volume = xml.vector("VolumeDimensionsAngstrom")
    _say_unused(xml)
    series = TiltSeries(
        name=name,
        images=tuple(TiltImage(header.path) for header in headers),
        pixel_size=pixel,
        image_size=size,
        volume_angstrom=np.full(3, np.nan) if volume is None else volume,
        rotation=angles_to_rotation(
            np.full(count, xml.attribute("LevelAngleX")),
            -(angles + xml.attribute("LevelAngleY")),
            xml.floats("AxisAngle", count),
        ),
        shift_angstrom=offset - _movement(xml, count) + even_centre(size) * pixel,
        dose_e_per_A2=before + step,
        dose_per_tilt=step,
        hand=-1.0 if xml.flag("AreAnglesInverted") else 1.0,
        **_ctf(xml, count),
        **optics(
            settings,
            str(xml.path),
            *(xml.parameter("CTF", key) for key in ("Voltage", "Cs", "Amplitude")),
        ),
    )
    return finished(only(series, _used(xml, count)), settings)


def _xml_of(name: str, tomostar: Path, root: Path) -> Path:
    """XML beside the .tomostar, in the folder given, or in the one folder beside or below."""
    base = root if root.is_dir() else root.parent
    around = [*_children(base), *_children(tomostar.parent.parent)]
    for places in ([tomostar.parent], [base], around):
        files = dict.fromkeys(place.resolve() / f"{name}.xml" for place in places)
        found = [file for file in files if file.is_file() and is_tilt_series(file)]
        if len(found) > 1:
            raise InputError(
                f"{found[0]} and {found[1]} both align {tomostar}: give the folder of the one that "
                "counts, or move the other away"
            )
        if found:
            return found[0]
    raise InputError(
        f"{name}.xml with the alignment of {tomostar} is neither beside it nor in "
        f"{base} and the folders around: give the folder that holds both"
    )


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir())


def _headers(
    xml: WarpXml, file: Path, settings: TiltSeriesSettings, count: int
) -> list[StackHeader]:
    """Header of the average of each tilt's movie: `average/{stem}.mrc` beside it, or itself."""
    movies = xml.texts("MoviePath") or []
    if len(movies) != count:
        raise InputError(
            f"{xml.path} has {len(movies)} movies in <MoviePath>, {count} in <Angles>: process the "
            "tilt series again"
        )
    home = file if file.suffix == ".tomostar" else xml.path
    finder = StackFinder(home, settings.data_dir)
    headers = []
    for movie in movies:
        where = f"{xml.path} <MoviePath>"
        headers.append(read_header(_average(movie, home, finder, where), where, square=False))
    for header in headers:
        if (header.nx, header.ny) != (headers[0].nx, headers[0].ny):
            raise InputError(
                f"{headers[0].path} has images of {headers[0].nx} x {headers[0].ny} pixels, "
                f"{header.path} of {header.nx} x {header.ny}: tilts of one series need the same "
                "size"
            )
    return headers


def _average(movie: str, home: Path, finder: StackFinder, where: str) -> Path:
    path = Path(movie.replace("\\", "/"))
    name = f"{path.stem}.mrc"
    wanted = home.parent / path.parent / "average" / name
    if wanted.is_file():
        return wanted.resolve()
    if finder.data_dir is not None and (finder.data_dir / "average" / name).is_file():
        return (finder.data_dir / "average" / name).resolve()
    # an image that is no movie stands for itself; data_dir may hold the averages
    return finder.file(str(path.with_suffix(".mrc")), where)


def _step(before: Floats) -> float:
    """Dose of one tilt: the least difference between doses, whatever the order of rows."""
    steps = np.diff(np.unique(before))
    return float(steps[0]) if steps.size else float("nan")


def _used(xml: WarpXml, count: int) -> NDArray[np.int64]:
    lines = xml.texts("UseTilt")
    if lines is None:
        return np.arange(count)
    used = np.array([line.lower() == "true" for line in lines])
    if len(used) != count or not used.any():
        raise InputError(
            f"{xml.path} uses {used.sum()} of {len(used)} tilts in <UseTilt>, <Angles> has "
            f"{count}: select tilts again"
        )
    return np.flatnonzero(used)


def _movement(xml: WarpXml, count: int) -> Floats:
    """`(F, 2)` mean movement of the images in Å."""
    found = []
    for axis in "XY":
        grid = xml.grid(f"GridMovement{axis}")
        if grid is None or not grid.any():
            found.append(np.zeros(count))
            continue
        if len(grid) not in (1, count) or not np.allclose(grid, grid[:, :1], atol=1e-3):
            notice(
                f"{xml.path} has local image movements (GridMovement{axis}): only their mean is "
                "used"
            )
        mean = grid.mean(axis=1)
        found.append(mean if len(mean) == count else np.full(count, mean.mean()))
    return np.stack(found, axis=1)


def _say_unused(xml: WarpXml) -> None:
    for names, what in ((_WARPS, "volume warps"), (_TURNS, "turns of single tilts")):
        grids = [grid for name in names if (grid := xml.grid(name)) is not None]
        if any(grid.any() for grid in grids):
            notice(f"{xml.path} has {what} ({names[0][:-1]}X/Y/Z), which are not used")


def _ctf(xml: WarpXml, count: int) -> dict[str, Any]:
    mean = _per_tilt(xml, count, "GridCTF", "GridCTFDefocus")
    if mean is None or not mean.any():
        raise InputError(
            f"{xml.path} has no CTF (grid GridCTF of defocus): estimate the CTF of the tilt series"
        )
    delta = _per_tilt(xml, count, "GridCTFDefocusDelta")
    angle = _per_tilt(xml, count, "GridCTFDefocusAngle")
    phase = _per_tilt(xml, count, "GridCTFPhase")
    none = np.zeros(count)
    half = none if delta is None else delta / 2
    return {
        "defocus_u_angstrom": 1e4 * (mean + half),
        "defocus_v_angstrom": 1e4 * (mean - half),
        "astigmatism_degrees": none if angle is None else angle,
        "phase_shift_degrees": none if phase is None else 180 * phase,
    }


def _per_tilt(xml: WarpXml, count: int, *names: str) -> Floats | None:
    """`(F,)` values of a grid that has one node, or one plane of nodes, per tilt."""
    grid = xml.grid(*names)
    if grid is None:
        return None
    if len(grid) not in (1, count):
        raise InputError(
            f"{xml.path} has {len(grid)} nodes in <{names[0]}>, {count} tilts in <Angles>: process "
            "the tilt series again"
        )
    values: Floats = np.broadcast_to(grid.mean(axis=1), count).copy()
    return values
