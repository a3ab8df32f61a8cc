"""A packed store of exact, analytic projections: sums of Gaussian balls have known transforms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.transform import Rotation

from tomopipe.dataset.store import NO_FALLOFF, STEP_FORMAT, Store
from tomopipe.io.atomic import write_json
from tomopipe.physics.ctf import ctf
from tomopipe.physics.dose import dose_weight
from tomopipe.physics.fourier import half_plane

PIXEL = 10.0


@dataclass(frozen=True)
class Balls:
    """Gaussian balls: `(n, 3)` (x, y, z) in pixels from the centre, weights, one sigma."""

    at: np.ndarray
    weight: np.ndarray
    sigma: float = 1.5

    def transform(self, points: torch.Tensor) -> torch.Tensor:
        """Transform `(C, 2)` at `(C, 3)` points in cycles per pixel: analytic."""
        points = points.double()
        phase = -2 * np.pi * points @ torch.from_numpy(self.at).double().T
        envelope = torch.exp(-2 * np.pi**2 * self.sigma**2 * points.square().sum(-1))
        weight = torch.from_numpy(self.weight).double()
        return envelope[:, None] * torch.stack(
            [(phase.cos() * weight).sum(-1), (phase.sin() * weight).sum(-1)], dim=-1
        )

    def volume(self, box: int) -> torch.Tensor:
        """`(box, box, box)` map [z, y, x], centre at box // 2."""
        k = torch.arange(box, dtype=torch.float64) - box // 2
        z, y, x = torch.meshgrid(k, k, k, indexing="ij")
        total = torch.zeros(box, box, box, dtype=torch.float64)
        norm = (2 * np.pi * self.sigma**2) ** 1.5
        for (bx, by, bz), w in zip(self.at, self.weight, strict=True):
            r2 = (x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2
            total += w * torch.exp(-r2 / (2 * self.sigma**2)) / norm
        return total.float()


BODY = np.array([[0, 0, 0], [3, 0, 1], [-2, 3, 0], [0, -3, 2.0]])
ARM = np.array([[-1, -1, -4], [2, 2, -3.0]])
STATES = {
    "body": Balls(BODY, np.full(4, 400.0)),
    "whole": Balls(np.concatenate([BODY, ARM]), np.full(6, 400.0)),
}


def build_store(
    path: Path,
    states: list[str],
    tilts: list[int],
    *,
    box: int = 16,
    noise: float = 0.0,
    seed: int = 0,
    damage: bool = True,
) -> Store:
    """Write a store as `tomopipe prepare` would, from exact transforms, and open it."""
    rng = np.random.default_rng(seed)
    plane = half_plane(box)
    flat = torch.nn.functional.pad(plane.points.double(), (0, 1)) / box
    rows, values = [], []
    for i, (state, n) in enumerate(zip(states, tilts, strict=True)):
        pose = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix()
        for t in range(n):
            angle = 3.0 * ((t + 1) // 2) * (1 if t % 2 else -1)
            view = Rotation.from_euler("y", angle, degrees=True).as_matrix() @ pose
            row = _row(f"t/{i:04d}", view, 3.0 * (t + 1) if damage else 0.0, angle)
            row["defocus_u_angstrom"] = row["defocus_v_angstrom"] = rng.uniform(2e4, 3e4)
            rows.append(row)
            clean = STATES[state].transform(flat @ torch.from_numpy(view))
            values.append(_image(clean, row, flat[:, :2], noise, rng))
    images = pd.DataFrame(rows)
    count = len(plane.points)
    images["coefficient_start"] = np.arange(len(images)) * count
    images["coefficient_count"] = images["kept_count"] = count
    particles = pd.DataFrame(
        {"uid": [f"t/{i:04d}" for i in range(len(states))], "tomogram": "t", "n_images": tilts}
    ).assign(half=np.arange(len(states)) % 2 + 1)
    data = torch.cat(values).numpy()
    scale = float(data.std())
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / "coefficients.npy", (data / scale).astype(np.float16))
    images.to_parquet(path / "images.parquet")
    particles.to_parquet(path / "particles.parquet")
    size = (path / "coefficients.npy").stat().st_size
    settings = {"dose_mask": True, "dose_weighting": True, "tilt_weighting": True}
    write_json(
        path / "store.json",
        {
            "step_format": STEP_FORMAT,
            "box": box,
            "pixel_size_angstrom": PIXEL,
            "scale": scale,
            "source": f"analytic {seed}",
            "bytes": size,
            "settings": settings,
        },
    )
    return Store.open(path)


def _row(uid: str, view: np.ndarray, dose: float, tilt: float) -> dict:
    return {
        "uid": uid,
        **{f"view_{i}{j}": view[i, j] for i in range(3) for j in range(3)},
        "astigmatism_degrees": 0.0,
        "phase_shift_degrees": 0.0,
        "dose_e_per_A2": dose,
        "tilt_degrees": tilt,
        "scale": 1.0,
        "bfactor_A2": 0.0,
        **NO_FALLOFF,
        "pixel_size_angstrom": PIXEL,
        "voltage_kv": 300.0,
        "cs_mm": 2.7,
        "amplitude_contrast": 0.07,
        "premultiplied": False,
        "dose_weighted": False,
    }


def _image(
    clean: torch.Tensor, row: dict, k: torch.Tensor, noise: float, rng: np.random.Generator
) -> torch.Tensor:
    one = torch.ones(1, dtype=torch.float64)
    contrast = ctf(
        (k / PIXEL)[None],
        defocus_u_angstrom=one * row["defocus_u_angstrom"],
        defocus_v_angstrom=one * row["defocus_v_angstrom"],
        astigmatism_degrees=one * 0,
        voltage_kv=one * 300,
        cs_mm=one * 2.7,
        amplitude_contrast=one * 0.07,
        phase_shift_degrees=one * 0,
    )[0]
    faded = dose_weight(k.norm(dim=-1) / PIXEL, one * row["dose_e_per_A2"], 300.0)
    image = (contrast * faded)[:, None] * clean
    return image + noise * torch.from_numpy(rng.normal(size=image.shape))


@pytest.fixture
def make_store(tmp_path):
    """Builder of a store in a temporary directory; see `build_store`."""

    def make(states, tilts, **more):
        return build_store(tmp_path / "store", states, tilts, **more)

    return make


@pytest.fixture
def states():
    """The maps behind the stores."""
    return STATES
