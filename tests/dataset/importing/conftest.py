"""Small data sets of every dialect with what an importer must find in them.

Angles and matrices are written out here from RELION's own definitions, so that nothing is tested
against the code that it tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import mrcfile
import numpy as np
import pandas as pd
import pytest

BOX = 8
DIALECTS = ("warp", "cryosrpnt", "nextpyp", "relion31", "cistem", "single", "warptools", "relion5")


def euler(rot, tilt, psi):
    """RELION's Euler_angles2matrix, element by element."""
    a, b, g = np.radians([rot, tilt, psi])
    ca, cb, cg, sa, sb, sg = np.cos(a), np.cos(b), np.cos(g), np.sin(a), np.sin(b), np.sin(g)
    return np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )


def turn(axis, degrees):
    """Right-handed active rotation about one axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


@dataclass
class Made:
    """A data set on disk: the STAR file to import, the blocks of all files, the truth by image."""

    star: Path
    dialect: str
    files: dict[Path, dict[str, pd.DataFrame]]
    block: str
    particles: Path
    truth: pd.DataFrame
    optional: list[str] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        return self.files[self.particles][self.block]

    @table.setter
    def table(self, value: pd.DataFrame) -> None:
        self.files[self.particles][self.block] = value

    def write(self) -> Path:
        for path, blocks in self.files.items():
            write_blocks(path, blocks)
        return self.star


def write_blocks(path, blocks):
    """A STAR writer of the tests' own; a block with the attribute `single` is written as pairs."""
    lines = ["# version 50001"]
    for name, table in blocks.items():
        lines += ["", f"data_{name}", ""]
        if table.attrs.get("single"):
            lines += [f"_{c} {table[c].iloc[0]}" for c in table]
            continue
        lines += ["loop_", *(f"_{c} #{k}" for k, c in enumerate(table, 1))]
        lines += [" ".join(row) for row in table.to_numpy()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_stack(path, sections, dtype=np.float32, box=BOX):
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.zeros((sections, box, box), dtype=dtype))


def table_of(rows):
    """Rows of numbers and words as a table of text, numbers with all their digits."""

    def word(value):
        if isinstance(value, bool | int | np.integer):
            return str(int(value))
        return value if isinstance(value, str) else f"{value:.10f}"

    return pd.DataFrame([{k: word(v) for k, v in row.items()} for row in rows])


def pairs(**values):
    table = pd.DataFrame({k: [str(v)] for k, v in values.items()})
    table.attrs["single"] = True
    return table


def make(dialect, folder, seed=0, tomograms=2, particles=3, tilts=5):
    """Write stacks of a data set and give its (unwritten) STAR files and truth."""
    rng = np.random.default_rng(seed)
    maker = {"warptools": _tomo, "relion5": _tomo, "cistem": _cistem, "single": _single}
    return maker.get(dialect, _series)(dialect, Path(folder), rng, tomograms, particles, tilts)


def _tilt_scheme(rng, tilts):
    """Tilt angles in the order of rows, and the exposure before each: not in the order of rows."""
    angles = np.sort(rng.uniform(-60, 60, tilts))
    order = np.argsort(np.abs(angles))
    before = np.empty(tilts)
    before[order] = np.arange(tilts) * 3.0
    return angles, before


def _series(dialect, folder, rng, tomograms, particles, tilts):
    rows, truth = [], []
    optics = dialect in ("nextpyp", "relion31")
    pixels = [4.0, 5.5] if dialect == "relion31" else [4.0, 4.0]
    for t in range(tomograms):
        for p in range(particles):
            name = f"{t:03d}_{p:06d}"
            write_stack(folder / "stacks" / f"{name}.mrcs", tilts)
            angles, before = _tilt_scheme(rng, tilts)
            pixel = pixels[t % 2]
            subset = int(rng.integers(1, 3))
            for k in range(tilts):
                rot, tilt, psi = rng.uniform(-180, 180), rng.uniform(0, 180), rng.uniform(-180, 180)
                shift = rng.uniform(-5, 5, 2)
                u, v, a = rng.uniform(1e4, 3e4), rng.uniform(1e4, 3e4), rng.uniform(0, 180)
                row = {
                    "rlnImageName": f"{k + 1:06d}@stacks/{name}.mrcs",
                    "rlnAngleRot": rot,
                    "rlnAngleTilt": tilt,
                    "rlnAnglePsi": psi,
                    "rlnDefocusU": u,
                    "rlnDefocusV": v,
                    "rlnDefocusAngle": a,
                    "rlnPhaseShift": 10.0,
                    "rlnCtfBfactor": -4 * (before[k] + 3.0),
                    "rlnCtfScalefactor": float(np.cos(np.radians(angles[k]))),
                }
                if optics:
                    row |= {
                        "rlnOriginXAngst": shift[0],
                        "rlnOriginYAngst": shift[1],
                        "rlnOpticsGroup": t % 2 + 1,
                        "rlnGroupNumber": t * particles + p + 1,
                        "rlnRandomSubset": subset,
                    }
                else:
                    row |= {
                        "rlnOriginX": shift[0] / pixel,
                        "rlnOriginY": shift[1] / pixel,
                        "rlnVoltage": 300.0,
                        "rlnSphericalAberration": 2.7,
                        "rlnAmplitudeContrast": 0.07,
                        "rlnDetectorPixelSize": pixel,
                        "rlnGroupName": name,
                    }
                if dialect == "nextpyp":
                    row["rlnTiltIndex"] = k
                if dialect == "warp":
                    row |= {"rlnMicrographName": f"{t:03d}.tomostar", "rlnMagnification": 10000.0}
                rows.append(row)
                truth.append(
                    _truth(
                        name,
                        folder / "stacks" / f"{name}.mrcs",
                        k,
                        euler(rot, tilt, psi),
                        shift,
                        u,
                        v,
                        a,
                        before[k] + 3.0,
                        abs(angles[k]),
                        pixel,
                    )
                )
    blocks = {"": table_of(rows)}
    if optics:
        blocks = {
            "optics": table_of(
                [
                    {
                        "rlnOpticsGroup": g,
                        "rlnOpticsGroupName": f"og{g}",
                        "rlnVoltage": 300.0,
                        "rlnSphericalAberration": 2.7,
                        "rlnAmplitudeContrast": 0.07,
                        "rlnImagePixelSize": pixels[g - 1],
                        "rlnImageSize": BOX,
                    }
                    for g in (1, 2)
                ]
            ),
            "particles": table_of(rows),
        }
    star = folder / "particles.star"
    optional = ["rlnPhaseShift", "rlnRandomSubset", "rlnMicrographName", "rlnMagnification"]
    return Made(
        star,
        dialect,
        {star: blocks},
        "particles" if optics else "",
        star,
        pd.DataFrame(truth),
        optional,
    )


def _truth(particle, stack, slot, view, shift, u, v, a, dose, tilt, pixel):
    return {
        "particle": particle,
        "stack": str(stack.resolve()),
        "slot": slot,
        "view": view,
        "shift": np.array(shift),
        "u": u,
        "v": v,
        "angle": a,
        "dose": dose,
        "tilt": tilt,
        "pixel": pixel,
    }


def _single(dialect, folder, rng, tomograms, particles, tilts):
    rows, truth = [], []
    for t in range(tomograms):
        stack = folder / "Extract" / f"mic{t}.mrcs"
        write_stack(stack, particles)
        for p in range(particles):
            rot, tilt, psi = rng.uniform(-180, 180), rng.uniform(0, 180), rng.uniform(-180, 180)
            shift, u, v = rng.uniform(-5, 5, 2), rng.uniform(1e4, 3e4), rng.uniform(1e4, 3e4)
            rows.append(
                {
                    "rlnCoordinateX": 10.0 * p,
                    "rlnCoordinateY": 5.0,
                    "rlnImageName": f"{p + 1}@Extract/mic{t}.mrcs",
                    "rlnMicrographName": f"mic{t}.mrc",
                    "rlnAngleRot": rot,
                    "rlnAngleTilt": tilt,
                    "rlnAnglePsi": psi,
                    "rlnOriginXAngst": shift[0],
                    "rlnOriginYAngst": shift[1],
                    "rlnOpticsGroup": t % 2 + 1,
                    "rlnDefocusU": u,
                    "rlnDefocusV": v,
                    "rlnDefocusAngle": 12.0,
                    "rlnGroupNumber": t + 1,
                    "rlnCtfBfactor": 0.0,
                    "rlnCtfScalefactor": 1.0,
                }
            )
            truth.append(
                _truth(
                    f"{t}/{p}",
                    stack,
                    p,
                    euler(rot, tilt, psi),
                    shift,
                    u,
                    v,
                    12.0,
                    np.nan,
                    np.nan,
                    (2.0, 3.0)[t % 2],
                )
            )
    optics = table_of(
        [
            {
                "rlnOpticsGroup": g,
                "rlnVoltage": 300.0,
                "rlnSphericalAberration": 2.7,
                "rlnAmplitudeContrast": 0.1,
                "rlnImagePixelSize": float(g + 1),
            }
            for g in (1, 2)
        ]
    )
    star = folder / "particles.star"
    return Made(
        star,
        dialect,
        {star: {"optics": optics, "particles": table_of(rows)}},
        "particles",
        star,
        pd.DataFrame(truth),
        ["rlnCoordinateX", "rlnCoordinateY", "rlnGroupNumber"],
    )


def _cistem(dialect, folder, rng, tomograms, particles, tilts):
    n = tomograms * particles
    write_stack(folder / "stack.mrc", n)
    rows, truth = [], []
    for p in range(n):
        rot, tilt, psi = rng.uniform(0, 360), rng.uniform(0, 180), rng.uniform(0, 360)
        shift, u, v = rng.uniform(-5, 5, 2), rng.uniform(1e4, 3e4), rng.uniform(1e4, 3e4)
        rows.append(
            {
                "cisTEMPositionInStack": p + 1,
                "cisTEMAnglePsi": psi,
                "cisTEMAngleTheta": tilt,
                "cisTEMAnglePhi": rot,
                "cisTEMXShift": -shift[0],
                "cisTEMYShift": -shift[1],
                "cisTEMDefocus1": u,
                "cisTEMDefocus2": v,
                "cisTEMDefocusAngle": 33.0,
                "cisTEMPhaseShift": float(np.radians(20.0)),
                "cisTEMPixelSize": 1.5,
                "cisTEMScore": 1.0,
                "cisTEMMicroscopeVoltagekV": 300.0,
                "cisTEMMicroscopeCsMM": 2.7,
                "cisTEMAmplitudeContrast": 0.07,
                "cisTEMTotalExposure": 40.0 + p,
                "cisTEMStackFilename": "'stack.mrc'",
                "cisTEMOriginalImageFilename": f"'m {p % 2}.mrc'",
            }
        )
        truth.append(
            _truth(
                str(p),
                folder / "stack.mrc",
                p,
                euler(rot, tilt, psi),
                shift,
                u,
                v,
                33.0,
                40.0 + p,
                np.nan,
                1.5,
            )
        )
    star = folder / "particles.star"
    return Made(
        star,
        dialect,
        {star: {"": table_of(rows)}},
        "",
        star,
        pd.DataFrame(truth),
        ["cisTEMPhaseShift", "cisTEMScore", "cisTEMOriginalImageFilename"],
    )


def _tomo(dialect, folder, rng, tomograms, particles, tilts):
    warp = dialect == "warptools"
    series_pixel, pixel, hand, size = 1.5, 6.0, (-1.0, 1.0)[int(rng.integers(2))], (400, 300, 200)
    rows, truth, blocks, tilt_files, table = [], [], {}, {}, []
    for t in range(tomograms):
        name = f"TS_{t}.tomostar" if warp else f"TS_{t}"
        angles, before = _tilt_scheme(rng, tilts)
        x_tilt, z_rot = rng.uniform(-5, 5, tilts), np.full(tilts, 85.0) + rng.uniform(-1, 1, tilts)
        rotation = [
            turn("z", z) @ turn("y", y) @ turn("x", x)
            for x, y, z in zip(x_tilt, angles, z_rot, strict=True)
        ]
        u, v, a = (
            rng.uniform(2e4, 3e4, tilts),
            rng.uniform(2e4, 3e4, tilts),
            rng.uniform(0, 180, tilts),
        )
        frames = [
            {
                "rlnDefocusU": u[k],
                "rlnDefocusV": v[k],
                "rlnDefocusAngle": a[k],
                "rlnCtfScalefactor": float(np.cos(np.radians(angles[k]))),
                "rlnMicrographPreExposure": before[k],
            }
            for k in range(tilts)
        ]
        for k, frame in enumerate(frames):
            if warp:
                for axis, line in zip("XYZ", rotation[k], strict=True):
                    frame[f"rlnTomoProj{axis}"] = "[" + ",".join(f"{c:.12f}" for c in line) + ",0]"
                frame["rlnTomoProjW"] = "[0,0,0,1]"
            else:
                frame |= {
                    "rlnTomoXTilt": x_tilt[k],
                    "rlnTomoYTilt": angles[k],
                    "rlnTomoZRot": z_rot[k],
                    "rlnTomoXShiftAngst": 3.0,
                    "rlnTomoYShiftAngst": -2.0,
                }
        entry = {
            "rlnTomoName": name,
            "rlnTomoHand": hand,
            "rlnTomoSizeX": size[0],
            "rlnTomoSizeY": size[1],
            "rlnTomoSizeZ": size[2],
            "rlnTomoTiltSeriesPixelSize": series_pixel,
            "rlnTomoImportFractionalDose": 3.0,
            "rlnVoltage": 300.0,
            "rlnSphericalAberration": 2.7,
            "rlnAmplitudeContrast": 0.07,
        }
        if warp:
            blocks[name] = table_of(frames)
        else:
            entry["rlnTomoTiltSeriesStarFile"] = f"Tomograms/job1/tilt_series/{name}.star"
            tilt_files[folder / entry["rlnTomoTiltSeriesStarFile"]] = {name: table_of(frames)}
        table.append(entry)
        for p in range(particles):
            angle = [rng.uniform(-180, 180), rng.uniform(0, 180), rng.uniform(-180, 180)]
            sub = [rng.uniform(-180, 180), rng.uniform(0, 180), rng.uniform(-180, 180)]
            sub = [0.0, 0.0, 0.0] if warp else sub
            origin, centred = rng.uniform(-5, 5, 3), rng.uniform(-100, 100, 3)
            visible = rng.random(tilts) < 0.7
            visible[int(rng.integers(tilts))] = True
            image = f"Extract/job2/Subtomograms/TS_{t}/{p + 1}_stack2d.mrcs"
            write_stack(folder / image, tilts if warp else int(visible.sum()), np.float16)
            row = {
                "rlnTomoName": name,
                "rlnTomoParticleName": f"TS_{t}/{p + 1}",
                "rlnOpticsGroup": t % 2 + 1,
                "rlnImageName": image,
                "rlnAngleRot": angle[0],
                "rlnAngleTilt": angle[1],
                "rlnAnglePsi": angle[2],
                "rlnTomoVisibleFrames": "[" + ",".join(str(int(w)) for w in visible) + "]",
                "rlnRandomSubset": int(rng.integers(1, 3)),
            }
            for k, axis in enumerate("XYZ"):
                row[f"rlnOrigin{axis}Angst"] = origin[k]
                if warp:
                    row[f"rlnCoordinate{axis}"] = (centred[k] + size[k] * series_pixel / 2) / pixel
                else:
                    row[f"rlnCenteredCoordinate{axis}Angst"] = centred[k]
            if not warp:
                row |= dict(
                    zip(
                        (
                            "rlnTomoSubtomogramRot",
                            "rlnTomoSubtomogramTilt",
                            "rlnTomoSubtomogramPsi",
                        ),
                        sub,
                        strict=True,
                    )
                )
            rows.append(row)
            frame_of = euler(*sub)
            for k in np.flatnonzero(visible):
                slot = int(k) if warp else int(visible[:k].sum())
                place = centred - frame_of @ origin
                # Warp adds the height itself, and states the opposite
                depth = (-hand if warp else hand) * (rotation[k] @ place)[2]
                stage = np.degrees(np.arccos(rotation[k][2, 2])) * np.sign(angles[k])
                truth.append(
                    _truth(
                        row["rlnTomoParticleName"],
                        folder / image,
                        slot,
                        rotation[k] @ frame_of @ euler(*angle),
                        (rotation[k] @ frame_of @ origin)[:2],
                        u[k] + depth,
                        v[k] + depth,
                        a[k],
                        before[k] + 3.0,
                        stage,
                        pixel,
                    )
                )
    optics = table_of(
        [
            {
                "rlnOpticsGroup": g,
                "rlnOpticsGroupName": f"og{g}",
                "rlnVoltage": 300.0,
                "rlnSphericalAberration": 2.7,
                "rlnAmplitudeContrast": 0.07,
                "rlnImagePixelSize": pixel,
                "rlnTomoTiltSeriesPixelSize": series_pixel,
                "rlnImageSize": BOX,
                "rlnCtfDataAreCtfPremultiplied": 1,
            }
            for g in (1, 2)
        ]
    )
    particles_star = folder / "Extract/job2/particles.star"
    tomograms_star = folder / "Tomograms/job1/tomograms.star"
    star = folder / "Extract/job2/optimisation_set.star"
    files = {
        star: {
            "optimisation_set": pairs(
                rlnTomoParticlesFile="Extract/job2/particles.star",
                rlnTomoTomogramsFile="Tomograms/job1/tomograms.star",
            )
        },
        particles_star: {
            "general": pairs(rlnTomoSubTomosAre2DStacks=1),
            "optics": optics,
            "particles": table_of(rows),
        },
        tomograms_star: {"global": table_of(table), **blocks},
        **tilt_files,
    }
    return Made(
        star, dialect, files, "particles", particles_star, pd.DataFrame(truth), ["rlnRandomSubset"]
    )


@pytest.fixture(scope="session")
def stars() -> SimpleNamespace:
    return SimpleNamespace(
        make=make,
        write_blocks=write_blocks,
        write_stack=write_stack,
        dialects=DIALECTS,
        box=BOX,
        euler=euler,
        turn=turn,
        table_of=table_of,
    )
