"""The sets: easy, hard, motion, rare, junk; made once per seed and noise level, then kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tomopipe.config.simulate import SimulateSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.simulate.particles import simulate_particles

SETS: dict[str, dict[str, object]] = {
    "easy": {
        "particles": 480,
        "min_tilts": 21,
        "states": {"whole": 0.65, "no_lobe": 0.25, "no_cap": 0.1},
        "motion_degrees": 0,
        "junk_fraction": 0,
    },
    "hard": {
        "particles": 600,
        "states": {"whole": 0.44, "no_lobe": 0.19, "no_ball": 0.185, "turned": 0.185},
        "motion_degrees": 0,
        "junk_fraction": 0.1,
    },
    "motion": {"particles": 480, "states": {"whole": 1.0}, "junk_fraction": 0},
    "rare": {
        "particles": 1000,
        "states": {"whole": 0.6, "no_lobe": 0.38, "no_cap": 0.02},
        "motion_degrees": 0,
        "junk_fraction": 0,
    },
    "junk": {"particles": 600, "junk_fraction": 0.3, "motion_degrees": 0},
}
SNR = {"low noise": 0.3, "high noise": 0.1}


@dataclass(frozen=True)
class Made:
    """A set on disk: its name, settings, store and truth by uid."""

    name: str
    noise: str
    seed: int
    settings: SimulateSettings
    folder: Path
    truth: pd.DataFrame

    @property
    def store(self) -> Path:
        """The packed store."""
        return self.folder / "store"


def make(name: str, noise: str, seed: int, box: int, root: Path) -> Made:
    """Simulate, import and prepare a set, unless that was done before."""
    settings = SimulateSettings.model_validate(
        SETS[name] | {"snr": SNR[noise], "seed": seed, "box": box, "pixel_size_angstrom": 320 / box}
    )
    folder = root / f"{name}-{SNR[noise]}-{seed}-{box}"
    if not (folder / "store").is_dir():
        simulate_particles(settings, folder / "raw")
        import_star(folder / "raw" / "particles.star", folder / "dataset")
        prepare(folder / "dataset", folder / "store")
    truth = pd.read_parquet(folder / "raw" / "truth.parquet").set_index("uid")
    return Made(name, noise, seed, settings, folder, truth)
