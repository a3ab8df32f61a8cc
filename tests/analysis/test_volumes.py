"""`tomopipe volumes`: maps at the latents that were given, in the order in which they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tomopipe.cli.main import main
from tomopipe.io.atomic import read_parquet, write_parquet
from tomopipe.io.mrc import read_volume
from tomopipe.models.linear import LinearModel

Z = {"t/0": [0.5, -2.0], "t/1": [3.0, 0.25], "t/2": [-1.0, 1.0]}


@pytest.fixture
def model(tmp_path: Path) -> LinearModel:
    """A linear model of two components with the latents of three particles, in a folder `model`."""
    generator = torch.Generator().manual_seed(0)
    mean, *components = torch.randn(3, 16, 16, 16, generator=generator)
    made = LinearModel(mean, torch.stack(components), 7.0)
    made.save(tmp_path / "model", {})
    table = pd.DataFrame(Z, index=["z0", "z1"]).T.reset_index(names="uid")
    write_parquet(tmp_path / "model" / "latents.parquet", table)
    return made


def test_points_and_particles_in_the_order_given(model: LinearModel, tmp_path: Path) -> None:
    words = ["--uid", "t/2", "--z=1,0", "--uid", "t/0", "--z=-0.5,4"]
    out = tmp_path / "out"
    assert main(["volumes", str(tmp_path / "model"), "--out", str(out), *words]) == 0
    expected = np.array([[1, 0], [-0.5, 4], Z["t/2"], Z["t/0"]])
    table = read_parquet(out / "latents.parquet")
    assert table["volume"].tolist() == [f"volume_{i:03d}" for i in range(4)]
    assert table[["z0", "z1"]].to_numpy() == pytest.approx(expected)
    parts = model.components.numpy()
    for name, (first, second) in zip(table["volume"], expected, strict=True):
        volume, pixel_size = read_volume(out / f"{name}.mrc")
        true = model.mean.numpy() + first * parts[0] + second * parts[1]
        np.testing.assert_allclose(volume, true, atol=1e-5)
        assert pixel_size == pytest.approx(7.0)


def test_a_smaller_box_keeps_the_size_in_angstrom(model: LinearModel, tmp_path: Path) -> None:
    words = ["--z=0,0", "--box", "8", "--out", str(tmp_path / "out")]
    assert main(["volumes", str(tmp_path / "model"), *words]) == 0
    volume, pixel_size = read_volume(tmp_path / "out" / "volume_000.mrc")
    assert volume.shape == (8, 8, 8)
    assert pixel_size == pytest.approx(14.0)
    assert volume.mean() == pytest.approx(float(model.mean.mean()), abs=1e-4)
