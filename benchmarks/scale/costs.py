"""Time and memory against the size of a set, and what follows for a large one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls

from benchmarks.scale.measure import run
from benchmarks.scale.sets import DOSE, PIXEL_SIZE, Size, write_raw
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.store import Store
from tomopipe.physics.dose import highest_frequency
from tomopipe.physics.fourier import half_plane

BASE = Size(particles=200, tilts=20, box=48)
AXES: dict[str, list[int]] = {
    "particles": [100, 200, 800],
    "tilts": [10, 20, 40],
    "box": [32, 48, 64],
    "K": [3, 6, 12],
    "z": [4, 8, 16],
}
K, Z = 6, 8
STEPS = ("prepare", "falloff", "consensus", "linear", "train")
PARTS = ("prepare", "falloff", "consensus", "statistics", "round", "epoch")
# sets whose cost is told from the slopes
SCALED = Size(particles=20_000, tilts=41, box=96), Size(particles=1_000_000, tilts=41, box=96)


@dataclass(frozen=True)
class Row:
    """A part of a step at one size: kept coefficients, seconds, own memory (GB) of its process."""

    part: str
    size: Size
    components: int
    z: int
    coefficients: int
    seconds: float
    own_gb: float


def measure(work: Path) -> list[Row]:
    """All steps along all axes; each run in a process of its own, start-up not counted."""
    rows = []
    for size in _sizes():
        rows += _measure_at(size, STEPS, K, Z, work)
    for k in AXES["K"]:
        if k != K:
            rows += _measure_at(BASE, ("linear",), k, Z, work)
    for z in AXES["z"]:
        if z != Z:
            rows += _measure_at(BASE, ("train",), K, z, work)
    return rows


def _sizes() -> list[Size]:
    sizes = [
        replace(BASE, **{axis: value})
        for axis in ("particles", "tilts", "box")
        for value in AXES[axis]
    ]
    return list(dict.fromkeys(sizes))


def _measure_at(size: Size, steps: Sequence[str], k: int, z: int, work: Path) -> list[Row]:
    folder = size.folder(work)
    data, out, result = folder / "dataset", folder / f"{k}-{z}", folder / "seconds.json"
    if not data.exists():
        import_star(write_raw(size, folder / "raw"), data)
    rows = []
    for step in steps:
        value = k if step == "linear" else z
        script = ["-m", "benchmarks.scale.step", step, str(data), str(out), str(value), str(result)]
        own = run(script).own_gb
        count = int(Store.open(data / "store").kept_counts.sum())
        for part, seconds in json.loads(result.read_text()).items():
            rows.append(Row(part, size, k, z, count, seconds, own))
            print(rows[-1], flush=True)
    return rows


def along(rows: Sequence[Row], part: str, axis: str) -> list[tuple[float, Row]]:
    """Rows of one part in which only `axis` varies, with its values, ascending."""

    def at(row: Row) -> dict[str, int]:
        sizes = {name: getattr(row.size, name) for name in ("particles", "tilts", "box")}
        return sizes | {"K": row.components, "z": row.z}

    base = {"particles": BASE.particles, "tilts": BASE.tilts, "box": BASE.box, "K": K, "z": Z}
    picked = [
        (float(at(row)[axis]), row)
        for row in rows
        if row.part == part and all(at(row)[a] == base[a] for a in base if a != axis)
    ]
    return sorted(picked, key=lambda pair: pair[0])


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of log y over log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def parts_of(rows: Sequence[Row], part: str) -> tuple[float, float, float]:
    """Start, seconds per 10^6 kept coefficients and per 10^6 voxels (box^3) of one part.

    Non-negative least squares of relative errors over all sizes, at the base's K and z.
    """
    sized = [r for r in rows if r.part == part and (r.components, r.z) == (K, Z)]
    weight = 1 / np.array([r.seconds for r in sized])
    columns = [
        np.ones(len(sized)),
        np.array([r.coefficients / 1e6 for r in sized]),
        np.array([r.size.box**3 / 1e6 for r in sized]),
    ]
    found = nnls(np.stack(columns, 1) * weight[:, None], np.ones(len(sized)))[0]
    start, coefficients, voxels = found.tolist()
    return start, coefficients, voxels


def kept_coefficients(size: Size) -> float:
    """Coefficients of a whole set inside the dose mask, with the dose and pixel of these sets."""
    dose = DOSE * torch.arange(1, size.tilts + 1, dtype=torch.float64)
    limit = highest_frequency(dose, torch.full_like(dose, 300.0)) * PIXEL_SIZE * size.box
    return float(half_plane(size.box).count_within(limit).sum()) * size.particles
