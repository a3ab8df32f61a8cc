"""The scripts of the engine's speed run, and their figures mean what they say."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from benchmarks import gpu, neural_step
from benchmarks.engine.measure import Bench
from benchmarks.engine.synthetic import make_store
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.io.atomic import read_json
from tomopipe.physics.dose import optimal_dose

SMALL = {
    "hidden": 32,
    "encoder_hidden": 16,
    "encoder_radius": 4,
    "dtype": "float32",
    "device": "cpu",
}


def test_synthetic_store_has_the_dose_mask(tmp_path):
    store = make_store(
        tmp_path / "s", particles=3, tilts=7, box=16, pixel_size=4.0, dose_per_tilt=8
    )
    assert store.n_images == 21
    row = store.images.iloc[6]
    k = store.radius / (store.box * store.pixel_size)
    inside = int((row["dose_e_per_A2"] <= optimal_dose(k, 300.0)).sum())
    assert store.counts[6] == inside < store.n_lattice
    batch = store.batch([0, 2])
    assert float(batch.data.std()) == pytest.approx(1.0, abs=0.05)
    identity = batch.view @ batch.view.transpose(1, 2)
    torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-5, rtol=0)


def test_products_count_what_a_step_multiplies(tmp_path):
    store = make_store(tmp_path / "s", particles=6, tilts=7, box=16, pixel_size=8.0)
    bench = Bench(store, HeterogeneousSettings(zdim=2, batch=3, **SMALL), torch.device("cpu"), 2)
    before = [p.clone() for p in bench.model.parameters()]
    assert np.isfinite(float(bench.step(0)))
    assert any(not torch.equal(a, b) for a, b in zip(before, bench.model.parameters(), strict=True))
    run, flop = bench.products()
    run()
    points = bench.coefficients[0]
    decoder = 2 * points * (2 * 32 * 48 + 3 * (3 * 32 * 32 + 2 * 32))
    assert flop == pytest.approx(decoder, rel=0.3)
    assert flop > decoder  # the encoder's network


@pytest.mark.slow
def test_gpu_script_runs_small_on_any_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "VARIANTS", {"default": {}, "float32": {"dtype": "float32"}})
    out = tmp_path / "gpu.json"
    arguments = ["gpu", "--small", "--device", "cpu", "--out", str(out), "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    gpu.main()
    record = read_json(out)
    assert [r["variant"] for r in record["steps"]] == ["default", "float32"]
    assert all(r["step_ms"] > 0 for r in record["steps"])
    assert {r["dtype"] for r in record["quality"]} == set(gpu.QUALITY)
    assert "of peak" in gpu.table(record)


def test_table_of_the_step(tmp_path):
    step = {
        "shape": "x", "coefficients": 10, "dtype": "bfloat16", "step_ms": 2.0, "products_ms": 1.6,
        "ratio": 1.25, "embed_of_epoch": 0.001, "embed_first_of_epoch": 0.1,
    }  # fmt: skip
    volumes = {
        "count": 2,
        "box": 64,
        "seconds": 1.0,
        "products_seconds": 0.8,
        "linear_seconds": 0.1,
    }
    text = neural_step.table({"machine": "here", "steps": [step], "volumes": volumes})
    assert "| 1.25 |" in text
