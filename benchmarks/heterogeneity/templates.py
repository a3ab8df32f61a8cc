"""Maps of the states, derived from templates: a ribosome whose small subunit can turn or go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tomopipe.io.mrc import read_volume, write_volume

Floats = NDArray[np.float32]

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "templates_5A"
_BOX, _PIXEL = 96, 5.0  # Å
# Small subunit from the large one, (z, y, x) in voxels of their files: from fitting both into
# 4v4r.mrc (one common rotation, two shifts; correlation of the sum with that map .986)
_APART = np.array([-5.3, 9.3, -17.6])
_LARGE_AT, _SMALL_AT = -0.385 * _APART, 0.615 * _APART  # their centre of mass is the origin
_HINGE = 0.165 * _APART  # in the interface; the axis is the line between the subunits
_BALL, _BALL_RADIUS = _LARGE_AT + np.array([-3.0, -6.0, 0.0]), 4.0  # voxels
STEPS = 13  # maps along the motion, 5° apart
_RANGE = 60.0  # degrees
_WIDE_STEPS, _WIDE_RANGE = 31, 180.0  # of the wide motion, 6° apart


def derive(folder: Path) -> dict[str, tuple[str, ...]]:
    """Write the states' maps to `folder` unless they are there; paths by state.

    large + small subunit (`whole`), `50S`, `30S`, `no_ball` (a ball of 40 Å of the large subunit
    removed: correlation with the whole .995), `turned` (the small subunit by 15°), `swung` (by
    60°), `motion` (0 to 60°), `wide` (0 to 180°), and the other complexes `fas`, `proteasome` and
    `synthase`.
    """
    paths: dict[str, tuple[str, ...]] = {
        name: (str(folder / f"{name}.mrc"),) for name in ("whole", "50S", "30S", "no_ball")
    }
    paths["motion"] = tuple(str(folder / f"motion_{i:02d}.mrc") for i in range(STEPS))
    paths["wide"] = tuple(str(folder / f"wide_{i:02d}.mrc") for i in range(_WIDE_STEPS))
    paths["turned"] = (paths["motion"][round(15 / _RANGE * (STEPS - 1))],)
    paths["swung"] = (paths["motion"][-1],)
    for name, entry in (("fas", "2uv8"), ("proteasome", "4cr2"), ("synthase", "6rd4")):
        paths[name] = (str(FOLDER / f"{entry}.mrc"),)
    if not all(Path(p).is_file() for group in paths.values() for p in group):
        _write(folder)
    return paths


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    large, small = _placed("4v4r_50S", _LARGE_AT), _placed("4v4r_30S", _SMALL_AT)
    maps = {"whole": large + small, "50S": large, "30S": small}
    maps["no_ball"] = maps["whole"] - large * _ball()
    for name, steps, most in (("motion", STEPS, _RANGE), ("wide", _WIDE_STEPS, _WIDE_RANGE)):
        for i, degrees in enumerate(np.linspace(0, most, steps)):
            maps[f"{name}_{i:02d}"] = large + _placed("4v4r_30S", _SMALL_AT, float(degrees))
    for name, volume in maps.items():
        write_volume(folder / f"{name}.mrc", volume, _PIXEL)


def _placed(name: str, at: NDArray[np.float64], degrees: float = 0.0) -> Floats:
    """A template moved to `at` (z, y, x in voxels from the centre) and turned about the hinge."""
    data = read_volume(FOLDER / f"{name}.mrc")[0]
    axis = _APART / np.linalg.norm(_APART)
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()
    centre, own = np.full(3, _BOX // 2), (np.array(data.shape) - 1) / 2  # their centres of mass
    # where a voxel of the result comes from: turned back about the hinge, then moved back
    source = own - at + _HINGE - turn.T @ (centre + _HINGE)
    moved = ndimage.affine_transform(data, turn.T, source, (_BOX,) * 3, order=3, prefilter=True)
    return np.asarray(np.clip(moved, 0, None), dtype=np.float32)


def _ball() -> Floats:
    """1 inside the ball that `no_ball` lacks, with an edge of two voxels."""
    grid = np.indices((_BOX,) * 3).reshape(3, -1).T - _BOX // 2 - _BALL
    distance = np.linalg.norm(grid, axis=1).reshape((_BOX,) * 3)
    return np.asarray(np.clip(_BALL_RADIUS + 1 - distance, 0, 2) / 2, dtype=np.float32)
