"""A small simulated data set with known states and junk, and a model that knows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tomopipe.config.simulate import SimulateSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import Store
from tomopipe.io.atomic import write_json, write_text
from tomopipe.io.mrc import read_volume, write_volume
from tomopipe.physics.fsc import resolution_at
from tomopipe.physics.mask import soft_mask
from tomopipe.reconstruct.half_maps import half_maps
from tomopipe.simulate.particles import simulate_particles

STATES = ("whole", "no_lobe", "junk")


@dataclass(frozen=True)
class Planted:
    """Paths of the data set and of a planted model, and the truth by uid."""

    dataset: Path
    store: Path
    model: Path
    consensus: Path
    truth: pd.DataFrame
    volumes: np.ndarray

    def open(self) -> Store:
        return Store.open(self.store)


class PlantedModel:
    """Two latents that mix three volumes; (0, 0) whole, (1, 0) no_lobe, (0, 1) junk."""

    kind, zdim = "linear", 2

    def __init__(self, volumes, pixel_size):
        self.corners, self.pixel_size = torch.as_tensor(volumes), pixel_size
        self.box = self.corners.shape[-1]

    def volumes(self, z, *, box=None):
        weight = torch.cat([1 - z.sum(1, keepdim=True), z], dim=1)
        return torch.einsum("nk,kzyx->nzyx", weight.float(), self.corners)


@pytest.fixture(scope="session")
def planted(tmp_path_factory) -> Planted:
    root = tmp_path_factory.mktemp("planted")
    settings = SimulateSettings(
        particles=120,
        box=24,
        pixel_size_angstrom=13.0,
        states={"whole": 0.6, "no_lobe": 0.4},
        motion_degrees=0,
        junk_fraction=0.2,
        tilts=11,
        min_tilts=7,
        snr=0.2,
        tomograms=3,
        seed=4,
    )
    simulate_particles(settings, root / "raw")
    import_star(root / "raw" / "particles.star", root / "dataset")
    prepare(root / "dataset", root / "store")
    store = Store.open(root / "store")
    # the simulation writes truth and STAR rows in one order, which import keeps
    truth = pd.read_parquet(root / "raw" / "truth.parquet").set_index(pd.Index(store.uids))
    _consensus(store, root / "consensus")
    volumes = [read_volume(root / "raw" / "truth" / f"{s}.mrc")[0] for s in STATES[:2]]
    volumes.append(np.zeros_like(volumes[0]))
    _latents(truth, root / "model")
    return Planted(
        root / "dataset",
        root / "store",
        root / "model",
        root / "consensus",
        truth,
        np.stack(volumes),
    )


def _consensus(store: Store, folder: Path) -> None:
    maps = half_maps(store)
    for name in ("map", "half1", "half2"):
        write_volume(folder / f"{name}.mrc", getattr(maps, name).numpy(), store.pixel_size)
    write_volume(folder / "mask.mrc", soft_mask(maps.map).numpy(), store.pixel_size)
    found = resolution_at(maps.fsc_masked, store.pixel_size, 0.5)
    write_text(folder / "fsc.csv", pd.DataFrame({"fsc": maps.fsc}).to_csv(index=False))
    write_json(folder / "consensus.json", {"resolution_05_angstrom": found})


def _latents(truth: pd.DataFrame, folder: Path) -> None:
    corner = {"whole": (0, 0), "no_lobe": (1, 0), "junk": (0, 1)}
    z = np.array([corner[s] for s in truth["state"]])
    z = z + 0.08 * np.random.default_rng(0).normal(size=z.shape)
    table = pd.DataFrame({"uid": truth.index, "z0": z[:, 0], "z1": z[:, 1]})
    table["error"] = np.where(truth["junk"], 1.2, 1.0)
    folder.mkdir()
    # the order of rows in a model's table must not matter
    table.sample(frac=1, random_state=3).to_parquet(folder / "latents.parquet", index=False)
    write_json(folder / "config.json", {"kind": "linear"})


@pytest.fixture
def planted_model(planted, monkeypatch):
    """Let the analysis load the planted model."""
    model = PlantedModel(planted.volumes, 13.0)
    monkeypatch.setattr("tomopipe.analysis.analyze.load_model", lambda directory: model)
    monkeypatch.setattr("tomopipe.analysis.volumes.load_model", lambda directory: model)
    return model
