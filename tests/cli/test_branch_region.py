"""`tomopipe branch --region` ties the region to the coordinates that it was chosen by."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tomopipe.analysis.choose import region_fingerprint
from tomopipe.cli.main import main
from tomopipe.config.run import read_config

CONFIG = """\
results: run
datasets: {one: {particles: a.star}}
branches:
  pilot: {dataset: one, linear: {}, analysis: {}}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config, and latents of ten particles of its branch pilot."""
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(CONFIG)
    folder = Path("run/branches/pilot/analysis")
    folder.mkdir(parents=True)
    table = pd.DataFrame({"uid": [f"t/{i}" for i in range(10)], "z0": range(10), "umap0": 0.5})
    table.to_parquet(folder / "latents.parquet")
    return tmp_path / "my.yaml"


def test_the_fingerprint_is_written(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["branch", "new", "--config", str(config), "--parent", "pilot", "--region", "z0=2:6"]
    assert main(words) == 0
    assert "The region holds 5 of 10 particles of pilot." in capsys.readouterr().out
    select = read_config(config).branches["new"].select
    assert select is not None and select.kinds == ("region",)
    latents = pd.read_parquet("run/branches/pilot/analysis/latents.parquet")
    mark = region_fingerprint(latents, ["z0"])
    assert select.region_of == mark[: len("sha256:") + 16]


def test_a_coordinate_that_does_not_exist_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["branch", "new", "--config", str(config), "--parent", "pilot", "--region", "z9=2:6"]
    assert main(words) == 2
    assert "region names 'z9'" in capsys.readouterr().err
    assert config.read_text() == CONFIG
