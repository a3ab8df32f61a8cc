"""Very many particles and tomograms: the page stays small and says what it leaves out."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tomopipe.cli.main import main
from tomopipe.config import Config
from tomopipe.report import latent
from tomopipe.report.build import build_report


@pytest.fixture
def large(
    fake_results: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Path]:
    """Page and results of a run that is too large to be shown whole, with an unused data set."""
    config, results = fake_results
    root = tmp_path / "results"
    shutil.copytree(results, root)
    shutil.copytree(root / "datasets/demo", root / "datasets/unused")
    datasets = config.datasets | {"unused": config.datasets["demo"]}
    monkeypatch.setattr(latent, "_MOST_DOTS", 50)
    monkeypatch.setattr(latent, "_MOST_GROUPS", 3)
    build_report(config.model_copy(update={"datasets": datasets}), root, tmp_path / "report.html")
    return html.unescape((tmp_path / "report.html").read_text()), root


def _embedded(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found, name
    return json.loads(found[1])


def test_an_even_sample_is_drawn_with_its_own_uids(large: tuple[str, Path]) -> None:
    page, root = large
    uids, used = _embedded(page, "uids-demo"), set()
    for branch in ("pilot", "clean", "moving"):
        plot = _embedded(page, f"latents-data-{branch}")
        rows = np.frombuffer(base64.b64decode(plot["rows"]), "<u4")
        table = pd.read_parquet(root / f"branches/{branch}/analysis/latents.parquet")
        drawn = [uids[row] for row in rows]
        places = np.flatnonzero(table["uid"].isin(drawn))
        assert len(rows) == 50
        assert drawn == table["uid"][places].tolist()
        assert places[0] == 0 and places[-1] == len(table) - 1
        assert np.ptp(np.diff(places)) <= 1
        packed = plot["axes"]["z0"]
        raw = np.frombuffer(base64.b64decode(packed["data"]), "<u2")
        z = packed["low"] + raw * (packed["high"] - packed["low"]) / 65534
        assert np.abs(z - table["z0"][places]).max() < 1e-3
        assert f"50 of {len(table)} particles are drawn" in page
        used |= set(drawn)
    assert set(uids) == used
    assert 'id="data-unused"' in page and 'id="uids-unused"' not in page


def test_clusters_tell_their_largest_share_from_one_tomogram(large: tuple[str, Path]) -> None:
    page, root = large
    assert "tomogram" not in _embedded(page, "latents-data-clean")["colours"]
    assert "More than 3 tomograms are too many" in page
    cards = page.split('id="clusters-clean"')[1].split("</article>")
    clusters = pd.read_parquet(root / "branches/clean/analysis/clusters.parquet")
    for label, part in clusters.groupby("cluster"):
        counts = part["uid"].str.split("/").str[0].value_counts(normalize=True)
        named = [f"{100 * counts.max():.0f} % from one tomogram ({name})" for name in counts.index]
        assert any(words in cards[int(str(label))] for words in named)


def test_one_tomogram_needs_no_such_words(
    fake_results: tuple[Config, Path], tmp_path: Path
) -> None:
    config, results = fake_results
    root = tmp_path / "results"
    shutil.copytree(results, root)
    path = root / "datasets/demo/particles.parquet"
    pd.read_parquet(path).assign(tomogram="TS_01").to_parquet(path)
    build_report(config, root, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "from one tomogram" not in page and "are drawn" not in page


def test_status_reads_no_table_of_particles_or_images(
    fake_results: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, results = fake_results
    root = tmp_path / "results"
    shutil.copytree(results, root)
    given = config.model_copy(update={"results": str(root)})
    words = ["status", "--config", given.model_dump_json(by_alias=True, exclude_none=True)]
    assert main(words) == 0
    before = capsys.readouterr().out
    assert "240 of 240 particles" in before and "42 junk" in before
    for name in ("particles", "images", "truth", "latents", "clusters"):
        for path in root.rglob(f"{name}.parquet"):
            path.write_bytes(b"not a table")
    assert main(words) == 0
    assert capsys.readouterr().out == before
