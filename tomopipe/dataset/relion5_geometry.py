"""One projection matrix per tilt and one pose per particle, from a pose per image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.dataset.dialects.columns import Floats
from tomopipe.dataset.particles import VIEW_COLUMNS, ParticleSet

_CTF = ["defocus_u_angstrom", "defocus_v_angstrom", "astigmatism_degrees", "phase_shift_degrees"]


@dataclass(frozen=True)
class Geometry:
    """What RELION-5 stores of a set of particles; arrays are per particle, tables per tilt."""

    tomograms: list[str]
    tomogram_of_image: NDArray[np.object_]
    pose: Floats  # (n, 3, 3) object to tomogram
    origin: Floats  # (n, 3) Å
    visible: list[NDArray[np.int64]]
    tilts: dict[str, pd.DataFrame]  # rotation, CTF means, dose, tilt; a row per tilt
    dose_step: dict[str, float]
    lost: list[str] = field(default_factory=list)


def geometry(subset: ParticleSet) -> Geometry:
    """Fit matrices, poses and origins to the images of each tomogram.

    Tilts of different particles are the same tilt if their doses agree, or, without doses, their
    tilt angles; never by the order of rows. The frame of a tomogram is arbitrary: its least tilted
    common image is given the unit matrix.
    """
    order = {uid: number for number, uid in enumerate(subset.particles["uid"])}
    images = subset.images.assign(
        particle=subset.images["uid"].map(order), tilt_key=_tilt_keys(subset.images)
    )
    names = subset.particles["tomogram"].astype("str").tolist()
    images["tomogram"] = np.array(names, dtype=object)[images["particle"]]
    pose, origin = np.zeros((len(order), 3, 3)), np.zeros((len(order), 3))
    visible: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)] * len(order)
    tilts, steps, worst = {}, {}, np.zeros(3)
    for name, members in images.groupby("tomogram", sort=False):
        table, fits = _tomogram(members)
        tilts[str(name)], steps[str(name)] = table, _step(table["dose_e_per_A2"])
        for number, fit in fits.items():
            pose[number], origin[number], visible[number] = fit.pose, fit.origin, fit.visible
            worst = np.maximum(worst, fit.worst)
    return Geometry(
        names,
        images["tomogram"].to_numpy(dtype=object),
        pose,
        origin,
        visible,
        tilts,
        steps,
        _lost(worst, subset.images),
    )


@dataclass(frozen=True)
class _Tilted:
    """The images of one tomogram as arrays."""

    view: Floats  # (I, 3, 3)
    shift: Floats  # (I, 2)
    defocus: Floats  # (I,)
    particle: NDArray[np.int64]  # number of the particle in the whole set
    frame: NDArray[np.int64]  # number of the tilt in the tomogram
    frames: int


@dataclass(frozen=True)
class _Fit:
    pose: Floats
    origin: Floats
    visible: NDArray[np.int64]
    worst: Floats  # disagreement with the images: degrees, Å of shift, Å of defocus


def _tilt_keys(images: pd.DataFrame) -> pd.Series:
    """What tells the tilts of a tomogram apart."""
    for column in ("dose_e_per_A2", "tilt_degrees"):
        keys = images[column].round(3)
        twice = pd.DataFrame({"uid": images["uid"], "key": keys}).duplicated()
        if keys.notna().all() and not twice.any():
            return keys
    return images.groupby("uid", sort=False).cumcount().astype(float)


def _tomogram(members: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, _Fit]]:
    keys, frame = np.unique(members["tilt_key"].to_numpy(), return_inverse=True)
    images = _Tilted(
        members[VIEW_COLUMNS].to_numpy().reshape(-1, 3, 3),
        members[["shift_x_angstrom", "shift_y_angstrom"]].to_numpy(),
        members[_CTF[0]].to_numpy(),
        members["particle"].to_numpy(dtype=np.int64),
        frame.astype(np.int64),
        len(keys),
    )
    rotation = _spread(images, _reference(members, frame))
    table = _means(members, frame)
    table["rotation"] = pd.Series(list(rotation), dtype=object)
    mean_defocus = table[_CTF[0]].to_numpy()
    order = np.argsort(images.particle, kind="stable")
    starts = np.flatnonzero(np.diff(images.particle[order], prepend=-1))
    return table, {
        int(images.particle[own[0]]): _fit(images, rotation, mean_defocus, own)
        for own in np.split(order, starts[1:])
    }


def _spread(images: _Tilted, reference: int) -> Floats:
    """Rotation of every tilt, spread from the reference tilt through particles seen in both."""
    rotation = np.full((images.frames, 3, 3), np.nan)
    rotation[reference] = np.eye(3)
    pose: dict[int, Floats] = {}
    for _ in range(images.frames):
        known = ~np.isnan(rotation[images.frame, 0, 0])
        for k in np.flatnonzero(known):
            pose.setdefault(int(images.particle[k]), rotation[images.frame[k]].T @ images.view[k])
        for f in np.flatnonzero(np.isnan(rotation[:, 0, 0])):
            here = [k for k in np.flatnonzero(images.frame == f) if int(images.particle[k]) in pose]
            if here:
                start = np.stack([pose[int(images.particle[k])] for k in here])
                rotation[f] = _mean_rotation(images.view[here] @ start.transpose(0, 2, 1))
        if not np.isnan(rotation).any():
            break
    rotation[np.isnan(rotation[:, 0, 0])] = np.eye(3)
    return rotation


def _reference(members: pd.DataFrame, frame: NDArray[np.int64]) -> int:
    """Tilt seen in most particles; among those the least tilted."""
    tilt = members["tilt_degrees"].abs().fillna(0).to_numpy()
    grouped = pd.DataFrame({"frame": frame, "tilt": tilt}).groupby("frame")["tilt"]
    ranked = grouped.agg(["size", "min"]).sort_values(["size", "min"], ascending=[False, True])
    return int(ranked.index[0])


def _means(members: pd.DataFrame, frame: NDArray[np.int64]) -> pd.DataFrame:
    columns = [*_CTF, "dose_e_per_A2", "tilt_degrees"]
    return members[columns].groupby(frame).mean().reset_index(drop=True)


def _fit(images: _Tilted, rotation: Floats, defocus: Floats, own: NDArray[np.intp]) -> _Fit:
    """Pose and origin of one particle, and how far its images are from them."""
    frame = images.frame[own]
    turn = rotation[frame]
    pose = _mean_rotation(turn.transpose(0, 2, 1) @ images.view[own])
    cosine = (np.einsum("nij,nij->n", turn @ pose, images.view[own]) - 1) / 2
    rows = turn[:, :2]
    wanted = images.shift[own].reshape(-1)
    origin = np.asarray(np.linalg.lstsq(rows.reshape(-1, 3), wanted, rcond=None)[0], dtype=float)
    visible = np.zeros(images.frames, dtype=np.int64)
    visible[frame] = 1
    worst = [
        float(np.degrees(np.arccos(np.clip(cosine, -1, 1)).max())),
        float(np.abs(images.shift[own] - rows @ origin).max()),
        float(np.nan_to_num(np.abs(images.defocus[own] - defocus[frame])).max()),
    ]
    return _Fit(pose, origin, visible, np.array(worst))


def _mean_rotation(turns: Floats) -> Floats:
    """Rotation nearest to the mean of `turns`."""
    left, _, right = np.linalg.svd(turns.mean(axis=0))
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    mean: Floats = left @ sign @ right
    return mean


def _step(dose: pd.Series) -> float:
    steps = np.diff(np.unique(dose.dropna()))
    return float(steps.min()) if steps.size else 0.0


def _lost(worst: Floats, images: pd.DataFrame) -> list[str]:
    angle, shift, defocus = worst
    lost = []
    if angle > 0.05:
        lost.append(
            f"Poses of single images differ from one pose per particle by up to {angle:.2f}°."
        )
    if shift > 0.05:
        lost.append(f"Shifts of single images differ from one origin by up to {shift:.2f} Å.")
    if defocus > 1:
        lost.append(f"Defocus per image differs from that of its tilt by up to {defocus:.0f} Å.")
    if images["dose_e_per_A2"].isna().any():
        lost.append("The source does not tell the dose: rlnMicrographPreExposure is 0.")
    if images["defocus_u_angstrom"].isna().any():
        lost.append("The source has no CTF: defocus is 0.")
    return lost
