"""Particles with a stack of tilts each, and a tomograms STAR file: RELION-5 and WarpTools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.dialects.columns import Columns, Floats
from tomopipe.dataset.dialects.detect import OPTIMISATION
from tomopipe.dataset.dialects.draft import (
    Draft,
    OpticsColumns,
    check_box,
    pixel_size,
    premultiplied,
)
from tomopipe.dataset.dialects.frames import stack_slots, visible_frames
from tomopipe.dataset.dialects.placed import (
    centred_coordinates,
    particle_origin,
    particle_uids,
    subtomogram_rotation,
)
from tomopipe.dataset.dialects.tomograms import Tomogram, TomogramSet, read_tomograms
from tomopipe.dataset.particles import VIEW_COLUMNS
from tomopipe.dataset.stacks import StackFinder
from tomopipe.errors import InputError
from tomopipe.io.star import StarFile, read_star
from tomopipe.physics.pose import view_matrix

# Our own label, of `tomopipe extract`: RELION has none, and keeps the ones that it does not know
DOSE_WEIGHTED = "tomopipeDataAreDoseWeighted"


def read_tomo(star: StarFile, block: str, finder: StackFinder, settings: ImportSettings) -> Draft:
    """Read an optimisation set, or particles with the tomograms STAR file set or found beside.

    Raises
    ------
    InputError
        If a file, column or tomogram is missing, or a stack does not fit its visible frames.
    """
    files, path = _particles_and_tomograms(star, block, finder, settings)
    star = files["particles"]
    name = star.find("rlnTomoName", "rlnImageName")
    if name is None:
        raise InputError(
            f"{star.path} has no block with rlnTomoName and rlnImageName: "
            "extract pseudo-subtomograms (2D stacks) first"
        )
    rows = Columns(star.path, name, star[name])
    _check_rows(rows)
    tomograms = rows.text("rlnTomoName")
    found = read_tomograms(path, set(tomograms), finder, settings.dose_per_tilt)
    files["tomograms"] = found.star
    optics = OpticsColumns(rows, star)
    particles = _particles(rows, optics, found, settings)
    images = _images(rows, optics, found, finder, particles)
    images = images.join(_row_values(rows, optics, found, settings), on="source_row")
    # RELION and WarpTools multiply stacks by scale x CTF, where tomopipe does by the CTF alone
    scaled = images["premultiplied"] & (not optics.has(DOSE_WEIGHTED))
    images["scale"] = images["scale"].where(scaled, 1.0)
    dialect = "warptools" if _all_centred(found) else "relion5"
    columns = ["uid", "tomogram", "x_angstrom", "y_angstrom", "z_angstrom", "random_subset"]
    return Draft(dialect, particles[[*columns, "source_row"]], images, rows, False, files)


def _particles_and_tomograms(
    star: StarFile, block: str, finder: StackFinder, settings: ImportSettings
) -> tuple[dict[str, StarFile], Path]:
    if block == star.find(*OPTIMISATION):
        table = Columns(star.path, block, star[block])
        particles, tomograms = (
            (table.text(column)[0], table.where(None, column)) for column in OPTIMISATION
        )
        files = {"optimisation_set": star, "particles": read_star(finder.file(*particles))}
        return files, settings.tomograms or finder.file(*tomograms)
    return {"particles": star}, settings.tomograms or _beside(star.path)


def _beside(path: Path) -> Path:
    """Find the tomograms STAR file that belongs to the particles in the same folder."""
    stem = path.stem.removesuffix("_particles")
    for candidate in (f"{stem}_tomograms.star", "tomograms.star"):
        if (path.parent / candidate).is_file():
            return path.parent / candidate
    raise InputError(
        f"{path} needs a tomograms STAR file, and neither {stem}_tomograms.star nor tomograms.star "
        "stands beside it: set tomograms, or give the optimisation set"
    )


def _check_rows(rows: Columns) -> None:
    rows.require("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    if not len(rows):
        raise InputError(f"{rows.where()} has no rows: export the particles again")
    names = rows.table["rlnImageName"]
    volumes = np.flatnonzero(names.str.contains(r"^\d+@") | names.str.endswith(".mrc"))
    dimension = "rlnTomoSubTomosAre2DStacks"
    if volumes.size and names.iloc[int(volumes[0])].endswith(".mrc"):
        rows.fail(
            int(volumes[0]),
            "rlnImageName",
            f"is {names.iloc[int(volumes[0])]!r}, a 3D subtomogram",
            f"extract 2D stacks ({dimension} 1), or have tomopipe cut them anew: `tomopipe init "
            "--tilt-series`",
        )
    if volumes.size:
        rows.fail(int(volumes[0]), "rlnImageName", "names one image, others whole stacks")


def _particles(
    rows: Columns, optics: OpticsColumns, found: TomogramSet, settings: ImportSettings
) -> pd.DataFrame:
    """Per row: uid, tomogram, position from the tomogram's centre in Å, pose, subset."""
    tomograms = rows.text("rlnTomoName")
    table = pd.DataFrame({"uid": particle_uids(rows, tomograms), "tomogram": tomograms})
    position, centred = _positions(rows, optics, found, settings)
    table[["x_angstrom", "y_angstrom", "z_angstrom"]] = position
    table["random_subset"] = rows.floats("rlnRandomSubset") if "rlnRandomSubset" in rows else np.nan
    frame = subtomogram_rotation(rows)
    origin = particle_origin(rows, optics, settings)
    in_tomogram = np.einsum("nij,nj->ni", frame, origin)
    pose = view_matrix(*(rows.floats(f"rlnAngle{name}") for name in ("Rot", "Tilt", "Psi")))
    table["source_row"] = np.arange(len(rows))
    return table.assign(
        pose=list(frame @ pose), origin=list(in_tomogram), height=list(centred - in_tomogram)
    )


def _positions(
    rows: Columns, optics: OpticsColumns, found: TomogramSet, settings: ImportSettings
) -> tuple[Floats, Floats]:
    """Coordinates in Å as the file counts them, and from the tomogram's centre (NaN unknown)."""
    centred = centred_coordinates(rows)
    if centred is not None:
        return centred, centred
    if "rlnCoordinateX" not in rows:
        unknown = np.full((len(rows), 3), np.nan)
        return unknown, unknown
    pixels = np.stack([rows.floats(f"rlnCoordinate{a}") for a in "XYZ"], axis=1)
    names = rows.text("rlnTomoName")
    warp = np.array([found.tomograms[name].centred for name in names])
    series = np.array([found.tomograms[name].pixel_size for name in names])
    size = np.stack([found.tomograms[name].size_angstrom for name in names])
    # RELION 4 counts pixels of the tilt series, WarpTools pixels of the exported images
    scale = np.where(warp, pixel_size(optics, settings), series)
    angstrom = pixels * scale[:, None]
    return angstrom, angstrom - size / 2


def _images(
    rows: Columns,
    optics: OpticsColumns,
    found: TomogramSet,
    finder: StackFinder,
    particles: pd.DataFrame,
) -> pd.DataFrame:
    """Images of all particles in the order of their rows, tilts in the order of the frames."""
    headers = [
        finder.header(name, rows.where(row, "rlnImageName"))
        for row, name in enumerate(rows.text("rlnImageName"))
    ]
    check_box(optics, np.array([header.nx for header in headers], dtype=np.int64))
    counts = [len(found.tomograms[name].tilt) for name in rows.text("rlnTomoName")]
    visible = visible_frames(rows, counts)
    parts = []
    for name, members in particles.groupby("tomogram", sort=False).indices.items():
        tomogram = found.tomograms[str(name)]
        members = np.asarray(members, dtype=np.intp)
        slots = stack_slots(rows, headers, visible, members)
        parts.append(_tomogram_images(tomogram, particles.iloc[members], slots))
    images = pd.concat(parts, ignore_index=True)
    images = images.sort_values("source_row", kind="stable", ignore_index=True)
    images["stack"] = np.array([str(h.path) for h in headers], dtype=object)[images["source_row"]]
    images["box"] = np.array([h.nx for h in headers])[images["source_row"]]
    return images


def _tomogram_images(
    tomogram: Tomogram, particles: pd.DataFrame, slots: NDArray[np.int64]
) -> pd.DataFrame:
    """Images of one tomogram's particles: pose, shift, CTF, dose and tilt of the same frame."""
    particle, frame = np.nonzero(slots >= 0)
    pose, origin, height = (np.stack(list(particles[c])) for c in ("pose", "origin", "height"))
    rotation = tomogram.rotation[frame]
    views = rotation @ pose[particle]
    shift = np.einsum("nij,nj->ni", rotation, origin[particle])
    # height along the beam from the tomogram's centre; if unknown, the tilt's defocus stays
    depth = np.einsum("nj,nj->n", rotation[:, 2], height[particle])
    defocus = tomogram.hand * tomogram.slope * np.nan_to_num(depth, nan=0.0)
    images = pd.DataFrame(views.reshape(-1, 9), columns=VIEW_COLUMNS)
    return images.assign(
        uid=particles["uid"].to_numpy()[particle],
        slot=slots[particle, frame],
        shift_x_angstrom=shift[:, 0],
        shift_y_angstrom=shift[:, 1],
        defocus_u_angstrom=tomogram.defocus_u[frame] + defocus,
        defocus_v_angstrom=tomogram.defocus_v[frame] + defocus,
        astigmatism_degrees=tomogram.astigmatism[frame],
        phase_shift_degrees=tomogram.phase_shift[frame],
        dose_e_per_A2=tomogram.dose[frame],
        tilt_degrees=tomogram.tilt[frame],
        scale=tomogram.scale[frame],
        defocus_of_height_angstrom=tomogram.hand * tomogram.slope * depth,
        bfactor_A2=tomogram.bfactor[frame],
        source_row=particles["source_row"].to_numpy()[particle],
        source_frame=frame,
    )


def _row_values(
    rows: Columns, optics: OpticsColumns, found: TomogramSet, settings: ImportSettings
) -> pd.DataFrame:
    """Per particle row: microscope and what was done to its stack."""
    names = rows.text("rlnTomoName")

    def microscope(column: str) -> Floats:
        own = optics.has(column)
        values = None if own else found.values(column, names)
        return optics.floats(column) if values is None else values

    multiplied = premultiplied(optics, settings)
    if settings.dose_weighted != "auto":
        weighted = np.full(len(rows), settings.dose_weighted, dtype=bool)
    elif optics.has(DOSE_WEIGHTED):
        weighted = np.asarray(optics.floats(DOSE_WEIGHTED) != 0, dtype=bool)
    else:
        weighted = multiplied
    return pd.DataFrame(
        {
            "pixel_size_angstrom": pixel_size(optics, settings),
            "voltage_kv": microscope("rlnVoltage"),
            "cs_mm": microscope("rlnSphericalAberration"),
            "amplitude_contrast": microscope("rlnAmplitudeContrast"),
            "optics": optics.names(),
            "premultiplied": multiplied,
            "dose_weighted": weighted,
        }
    )


def _all_centred(found: TomogramSet) -> bool:
    return all(tomogram.centred for tomogram in found.tomograms.values())
