"""Any particle set as a RELION-5 optimisation set, as far as its information goes.

RELION-5 knows one projection matrix per tilt and one pose per particle; other programs store a pose
per image. `geometry` finds the matrices and poses that fit all images best and says how well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.dataset.dialects.detect import OPTIMISATION
from tomopipe.dataset.particles import ParticleSet, mirrored
from tomopipe.dataset.relion5_geometry import Geometry, geometry
from tomopipe.dataset.source import Source
from tomopipe.io.star import Block, write_star
from tomopipe.physics.pose import euler_angles

_VERSION = ("# version 50001",)
_PER_IMAGE = (
    r"^rln(ImageName|Defocus\w*|Phase\w*|Ctf\w*|Origin\w*|Angle\w*|TiltIndex|GroupN\w*"
    r"|DetectorPixelSize|Magnification|Voltage|SphericalAberration|AmplitudeContrast|OpticsGroup"
    r"|RandomSubset|TomoName|TomoParticleName|TomoVisibleFrames|MicrographPreExposure"
    r"|(Image|Micrograph|MicrographOriginal|TomoTiltSeries)?PixelSize)$"
)


def write_relion5(out: Path, name: str, subset: ParticleSet, source: Source) -> list[str]:
    """Write `{name}.star`, `{name}_tomograms.star` and `{name}_optimisation_set.star` into `out`.

    Nothing is written for single particles.

    Returns
    -------
    list[str]
        What was lost or could not be told, one sentence each.
    """
    if (subset.particles["n_images"] == 1).all():
        return ["Single particles have no tomograms: the STAR file beside is what RELION-5 reads."]
    files = {role: out / f"{name}{end}.star" for role, end in _ENDINGS.items()}
    if "tomograms" in source.files:
        particles, tomograms, lost = _from_tomo(subset, source)
    else:
        particles, tomograms, lost = _from_series(subset, source)
    write_star(files["particles"], particles)
    write_star(files["tomograms"], tomograms)
    values = [str(files[role].resolve()) for role in ("particles", "tomograms")]
    table = pd.DataFrame({c: [v] for c, v in zip(OPTIMISATION, values, strict=True)})
    write_star(files["set"], [Block("optimisation_set", table, False, _VERSION)])
    return lost


_ENDINGS = {"particles": "", "tomograms": "_tomograms", "set": "_optimisation_set"}


def _from_tomo(subset: ParticleSet, source: Source) -> tuple[list[Block], list[Block], list[str]]:
    """RELION-5 and WarpTools already are RELION-5; names, halves and paths are completed."""
    star = source.files["particles"]
    rows = subset.particles["source_row"].to_numpy()
    stacks = subset.images.drop_duplicates("uid").set_index("uid")["stack"]
    table = star[source.block].iloc[rows].reset_index(drop=True)
    uids = subset.particles["uid"]
    table = table.assign(
        rlnTomoParticleName=uids,
        rlnImageName=uids.map(stacks),
        rlnRandomSubset=subset.particles["half"].astype(str),
    )
    blocks = [
        Block(
            block.name, table if block.name == source.block else block.table, block.loop, _VERSION
        )
        for block in star.blocks.values()
    ]
    lost = []
    if source.dialect == "warptools" and (subset.images["slot"] != _ranks(subset.images)).any():
        lost.append(
            "The stacks keep the slots of excluded tilts, RELION-5 stacks hold visible tilts only: "
            "extract the particles again in RELION-5 before refining images with it."
        )
    tomograms = source.resolved_tomograms(subset.info["settings"]["data_dir"])
    return blocks, list(tomograms.values()), lost


def _from_series(subset: ParticleSet, source: Source) -> tuple[list[Block], list[Block], list[str]]:
    if subset.info["settings"].get("hand") == "mirror":  # back to the source's hand
        subset = ParticleSet(subset.particles, mirrored(subset.images), subset.info)
    found = geometry(subset)
    lost = list(found.lost)
    first = subset.images.drop_duplicates("uid").reset_index(drop=True)
    table = source.files["particles"][source.block].iloc[first["source_row"]]
    table = table.loc[:, ~table.columns.str.match(_PER_IMAGE)].reset_index(drop=True)
    angles = euler_angles(found.pose)
    table = table.assign(
        rlnTomoName=found.tomograms,
        rlnTomoParticleName=[f"{t}/{u.rsplit('/', 1)[-1]}" for t, u in _pairs(found, subset)],
        rlnOpticsGroup=(pd.factorize(first["optics"])[0] + 1).astype(str),
        rlnRandomSubset=subset.particles["half"].astype(str),
        rlnTomoVisibleFrames=[_vector(v, "{:d}") for v in found.visible],
        **{f"rlnAngle{n}": _texts(angles[:, k]) for k, n in enumerate(("Rot", "Tilt", "Psi"))},
        **{f"rlnOrigin{n}Angst": _texts(found.origin[:, k]) for k, n in enumerate("XYZ")},
    )
    table = table.assign(**_coordinates(subset, table.columns, first["pixel_size_angstrom"]))
    names, sentence = _stacks(subset)
    if names is not None:
        table = table.assign(rlnImageName=names)
    if subset.particles["z_angstrom"].isna().any():
        lost.append("The source has no 3D coordinates: RELION-5 cannot extract these again.")
    lost.extend(sentence)
    two_d = pd.DataFrame({"rlnTomoSubTomosAre2DStacks": ["1"]})
    blocks = [
        Block("general", two_d, False, _VERSION),
        Block("optics", _optics(subset), True, _VERSION),
        Block("particles", table, True, _VERSION),
    ]
    return blocks, _tomograms(subset, found), lost


def _pairs(found: Geometry, subset: ParticleSet) -> list[tuple[str, str]]:
    return list(zip(found.tomograms, subset.particles["uid"], strict=True))


def _coordinates(subset: ParticleSet, columns: pd.Index, pixel: pd.Series) -> dict[str, list[str]]:
    """Coordinates that count pixels, which may have been other ones, in those that are stated."""
    return {
        f"rlnCoordinate{axis}": _texts(subset.particles[f"{axis.lower()}_angstrom"] / pixel)
        for axis in "XYZ"
        if f"rlnCoordinate{axis}" in columns and f"rlnCenteredCoordinate{axis}Angst" not in columns
    }


def _stacks(subset: ParticleSet) -> tuple[list[str] | None, list[str]]:
    """Stack of each particle if each stack holds one particle's images, in order; else a reason."""
    images = subset.images
    owners = images.groupby("stack")["uid"].nunique()
    if owners.max() == 1 and (images["slot"] == _ranks(images)).all():
        return images.drop_duplicates("uid")["stack"].tolist(), []
    return None, [
        "Particles share stacks, RELION-5 needs a stack per particle: rlnImageName is left out, "
        "extract the particles again in RELION-5."
    ]


def _ranks(images: pd.DataFrame) -> pd.Series:
    """Position of each image in its particle."""
    return images.groupby("uid", sort=False).cumcount()


def _optics(subset: ParticleSet) -> pd.DataFrame:
    first = subset.images.drop_duplicates("optics").reset_index(drop=True)
    return pd.DataFrame(
        {
            "rlnOpticsGroup": (first.index + 1).astype(str),
            "rlnOpticsGroupName": first["optics"],
            "rlnSphericalAberration": _texts(first["cs_mm"]),
            "rlnVoltage": _texts(first["voltage_kv"]),
            "rlnAmplitudeContrast": _texts(first["amplitude_contrast"]),
            "rlnTomoTiltSeriesPixelSize": _texts(first["pixel_size_angstrom"]),
            "rlnCtfDataAreCtfPremultiplied": first["premultiplied"].astype(int).astype(str),
            "rlnImageDimensionality": "2",
            "rlnTomoSubtomogramBinning": "1",
            "rlnImagePixelSize": _texts(first["pixel_size_angstrom"]),
            "rlnImageSize": str(subset.info["box"]),
        }
    )


def _tomograms(subset: ParticleSet, found: Geometry) -> list[Block]:
    """Blocks of tomograms.star: one row per tomogram, then one block of tilts per tomogram."""
    images = subset.images.groupby(found.tomogram_of_image, sort=False).first()
    names = list(found.tilts)
    first = images.loc[names]
    table = pd.DataFrame(
        {
            "rlnTomoName": names,
            "rlnTomoTiltSeriesName": "unknown.mrc",
            "rlnTomoFrameCount": [str(len(found.tilts[name])) for name in names],
            "rlnTomoHand": "-1",
            "rlnOpticsGroupName": first["optics"].to_numpy(),
            "rlnTomoTiltSeriesPixelSize": _texts(first["pixel_size_angstrom"]),
            "rlnVoltage": _texts(first["voltage_kv"]),
            "rlnSphericalAberration": _texts(first["cs_mm"]),
            "rlnAmplitudeContrast": _texts(first["amplitude_contrast"]),
            "rlnTomoImportFractionalDose": [_text(found.dose_step[name]) for name in names],
        }
    )
    tilts = [Block(name, _tilt_table(found, name), True, _VERSION) for name in names]
    return [Block("global", table, True, _VERSION), *tilts]


def _tilt_table(found: Geometry, name: str) -> pd.DataFrame:
    tilts = found.tilts[name]
    matrix = np.stack(tilts["rotation"].to_list())
    rows = {
        f"rlnTomoProj{axis}": [_vector([*m[k], 0.0], "{:.9g}") for m in matrix]
        for k, axis in enumerate("XYZ")
    }
    return pd.DataFrame(
        {
            **rows,
            "rlnTomoProjW": "[0,0,0,1]",
            "rlnDefocusU": _texts(tilts["defocus_u_angstrom"].fillna(0)),
            "rlnDefocusV": _texts(tilts["defocus_v_angstrom"].fillna(0)),
            "rlnDefocusAngle": _texts(tilts["astigmatism_degrees"]),
            "rlnPhaseShift": _texts(tilts["phase_shift_degrees"]),
            "rlnCtfScalefactor": _texts(np.cos(np.radians(tilts["tilt_degrees"].fillna(0)))),
            "rlnMicrographPreExposure": _texts(
                (tilts["dose_e_per_A2"] - found.dose_step[name]).fillna(0).clip(lower=0)
            ),
        }
    )


def _vector(values: list[float] | NDArray[np.generic], form: str) -> str:
    return "[" + ",".join(form.format(value) for value in values) + "]"


def _text(value: float) -> str:
    return f"{value:.9g}"


def _texts(values: pd.Series | NDArray[np.float64]) -> list[str]:
    return [_text(float(value)) for value in values]
