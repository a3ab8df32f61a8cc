"""A folder of decoded volumes holds those of the last run, and what a user put there."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from tomopipe.cli.main import main
from tomopipe.io.atomic import read_parquet, write_parquet
from tomopipe.models.linear import LinearModel


@pytest.fixture
def model(tmp_path: Path) -> Path:
    mean, component = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    LinearModel(mean, component[None], 7.0).save(tmp_path / "model", {})
    write_parquet(tmp_path / "model/latents.parquet", pd.DataFrame({"uid": ["t/0"], "z0": [0.0]}))
    return tmp_path / "model"


def test_volumes_of_an_earlier_run_go(model: Path, tmp_path: Path) -> None:
    words = ["volumes", str(model), "--out", str(tmp_path / "out")]
    assert main([*words, "--z=0", "--z=1", "--z=2"]) == 0
    (tmp_path / "out" / "volume_007.mrc").write_text("mine")
    assert main([*words, "--z=0.5"]) == 0
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"volume_000.mrc", "volume_007.mrc", "latents.parquet", "lineage.json"}


def test_latents_of_the_model_are_not_written_over(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["volumes", str(model), "--out", str(model), "--z=0"]) == 2
    assert "is not of decoded volumes: give another folder" in capsys.readouterr().err
    assert read_parquet(model / "latents.parquet")["uid"].tolist() == ["t/0"]
