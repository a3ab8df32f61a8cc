"""Fixtures of the whole suite: the shared test data, and one small simulated store with truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.reliability import Outcomes
from tomopipe.config.simulate import SimulateSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import Store
from tomopipe.simulate.particles import simulate_particles


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", type=Path, help="page to write the outcome of faults into")


def pytest_configure(config: pytest.Config) -> None:
    page = config.getoption("--reliability")
    if page:
        config.pluginmanager.register(Outcomes(page))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws from torch is the same alone, in any order, and beside any other."""
    torch.manual_seed(0)


_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not _SHARED.is_dir():
        pytest.skip("../shared/data is not beside this clone: tests on real data are skipped")
    return _SHARED


@dataclass(frozen=True)
class Simulated:
    settings: SimulateSettings
    raw: Path
    dataset: Path
    store_path: Path
    truth: pd.DataFrame  # indexed by uid

    def open(self, uids=None) -> Store:
        return Store.open(self.store_path, uids)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Simulated:
    """100 particles of two states and junk, 6 to 9 tilts, little noise, box 24."""
    root = tmp_path_factory.mktemp("tiny")
    settings = SimulateSettings(
        particles=100,
        box=24,
        pixel_size_angstrom=13.0,
        states={"whole": 0.5, "no_lobe": 0.5},
        motion_degrees=0,
        junk_fraction=0.1,
        tilts=9,
        min_tilts=6,
        snr=1.0,
        tomograms=3,
        seed=1,
    )
    simulate_particles(settings, root / "raw")
    import_star(root / "raw" / "particles.star", root / "dataset")
    prepare(root / "dataset", root / "store")
    truth = pd.read_parquet(root / "raw" / "truth.parquet").set_index("uid")
    return Simulated(settings, root / "raw", root / "dataset", root / "store", truth)
