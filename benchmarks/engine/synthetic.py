"""Packed stores of a published data set's shape, with random coefficients: enough for speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from tomopipe.dataset.images import column
from tomopipe.dataset.store import NO_FALLOFF, STEP_FORMAT, Store
from tomopipe.io.atomic import write_json, write_parquet
from tomopipe.physics.dose import highest_frequency
from tomopipe.physics.fourier import half_plane

_SLAB = 1 << 24


def make_store(
    path: Path,
    *,
    particles: int,
    tilts: int = 41,
    box: int = 96,
    pixel_size: float = 3.71,
    dose_per_tilt: float = 3.0,
    seed: int = 0,
) -> Store:
    """A store as `tomopipe prepare` leaves it: dose mask on, noise for data.

    The defaults are EMPIAR-10499's (22,291 particles). Made once for a folder.
    """
    if not (path / "store.json").exists():
        path.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        images = _images(particles, tilts, pixel_size, dose_per_tilt, rng)
        plane = half_plane(box)
        limit = highest_frequency(column(images, "dose_e_per_A2"), 300.0)
        kept = plane.count_within(limit * pixel_size * box).numpy()
        images["coefficient_start"] = np.cumsum(kept) - kept
        images["coefficient_count"] = images["kept_count"] = kept
        total = int(kept.sum())
        _coefficients(path / "coefficients.npy", total, rng)
        uids = [f"t{p // 500:03d}/{p:06d}" for p in range(particles)]
        table = pd.DataFrame(
            {"uid": uids, "tomogram": [u.split("/")[0] for u in uids], "n_images": tilts}
        )
        write_parquet(path / "particles.parquet", table.assign(half=np.arange(particles) % 2 + 1))
        write_parquet(path / "images.parquet", images)
        record = {
            "step_format": STEP_FORMAT,
            "box": box,
            "pixel_size_angstrom": pixel_size,
            "n_particles": particles,
            "n_images": particles * tilts,
            "n_coefficients": total,
            "share_kept": float(kept.mean() / len(plane.points)),
            "scale": 1.0,
            "bytes": (path / "coefficients.npy").stat().st_size,
            "settings": {"dose_mask": True, "dose_weighting": True, "tilt_weighting": True},
            "source": "benchmark",
        }
        write_json(path / "store.json", record)
    return Store.open(path)


def _images(
    particles: int, tilts: int, pixel_size: float, dose: float, rng: np.random.Generator
) -> pd.DataFrame:
    order = np.arange(tilts)
    angle = 3.0 * ((order + 1) // 2) * np.where(order % 2, 1, -1)
    n = particles * tilts
    stage = Rotation.from_euler("y", np.tile(angle, particles)[:, None], degrees=True)
    pose = Rotation.random(particles, random_state=int(rng.integers(1 << 30)))
    view = (stage * pose[np.repeat(np.arange(particles), tilts)]).as_matrix()
    defocus = np.repeat(rng.uniform(2e4, 4e4, particles), tilts)
    columns = {f"view_{i}{j}": view[:, i, j] for i in range(3) for j in range(3)}
    plain = {
        "shift_x_angstrom": 0.0,
        "shift_y_angstrom": 0.0,
        "astigmatism_degrees": 30.0,
        "phase_shift_degrees": 0.0,
        "scale": 1.0,
        "bfactor_A2": 0.0,
        **NO_FALLOFF,
        "pixel_size_angstrom": pixel_size,
        "voltage_kv": 300.0,
        "cs_mm": 2.7,
        "amplitude_contrast": 0.07,
        "premultiplied": False,
        "dose_weighted": False,
    }
    table = pd.DataFrame(columns).assign(
        uid=np.repeat([f"t{p // 500:03d}/{p:06d}" for p in range(particles)], tilts),
        defocus_u_angstrom=defocus + 250,
        defocus_v_angstrom=defocus - 250,
        dose_e_per_A2=np.tile(dose * (order + 1), particles),
        tilt_degrees=np.tile(angle, particles).astype(float),
        **plain,
    )
    assert len(table) == n
    return table


def _coefficients(path: Path, total: int, rng: np.random.Generator) -> None:
    """Noise of variance 1, the same slab again and again."""
    slab = rng.standard_normal((min(total, _SLAB), 2), dtype=np.float32).astype(np.float16)
    packed = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(total, 2))
    for first in range(0, total, len(slab)):
        packed[first : first + len(slab)] = slab[: total - first]
    packed.flush()
