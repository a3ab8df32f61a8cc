"""Agreement of replicates: what is the same is found so, whatever the labels are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tomopipe.analysis.agreement import agreement, jaccard, linear_r2
from tomopipe.cli.main import main
from tomopipe.errors import ConfigError, StateError

N = 400
LABELS = np.repeat([0, 1, 2], [200, 120, 80])


def replicate(folder: Path, labels: np.ndarray, z: np.ndarray, order: np.ndarray) -> Path:
    uids = np.array([f"t/{i}" for i in range(N)])
    folder.mkdir(parents=True)
    clusters = pd.DataFrame({"uid": uids, "cluster": labels})
    clusters.iloc[order].to_parquet(folder / "clusters.parquet")
    latents = pd.DataFrame({"uid": uids, "z0": z[:, 0], "z1": z[:, 1], "error": 1.0})
    latents.iloc[order].to_parquet(folder / "latents.parquet")
    return folder


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """The branch; the same with other labels and turned latents; one that tears cluster 2 apart."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 2)) + 4 * np.array([[0, 0], [1, 0], [0, 1]])[LABELS]
    turned = z @ np.array([[0.3, -2.0], [1.5, 0.4]]) + 7
    torn = LABELS.copy()
    torn[320:400:2] = 0
    made = [("a", LABELS, z), ("b", 2 - LABELS, turned), ("c", torn, rng.normal(size=(N, 2)))]
    return [
        replicate(tmp_path / name / "analysis", labels, latents, rng.permutation(N))
        for name, labels, latents in made
    ]


def test_what_agrees_and_what_does_not(three: list[Path], tmp_path: Path) -> None:
    found = agreement(three, tmp_path / "out")
    assert found["replicates"] == ["a", "b", "c"]
    assert found["ari"][0][1] == pytest.approx(1)
    assert 0.5 < found["ari"][0][2] < 0.95
    assert [row["matches"][0] for row in found["clusters"]] == [2, 1, 0]
    # 40 of 80 are left of it: Jaccard 1 and 0.5, a mean of 0.75
    assert found["clusters"][2]["jaccard"] == [1.0, 0.5]
    same, other = found["latents"][0], found["latents"][1]
    assert same["r2"] == pytest.approx(1)
    assert same["neighbours"] > 0.5
    assert other["r2"] < 0.1
    assert other["neighbours"] < 4 * other["chance"]
    share = pd.read_parquet(tmp_path / "out/agreement.parquet").set_index("uid")["share"]
    assert share["t/0"] == 1.0
    assert share["t/320"] == 0.5


def test_a_cluster_that_others_divide_is_not_stable(three: list[Path], tmp_path: Path) -> None:
    found = agreement([three[0], three[2]], tmp_path / "out")
    assert [row["stable"] for row in found["clusters"]] == [True, True, False]


def test_measures_by_hand() -> None:
    assert jaccard(np.array([0, 0, 1]), np.array([0, 1, 1])).tolist() == [[0.5, 1 / 3], [0, 0.5]]
    rng = np.random.default_rng(1)
    a, noise = rng.normal(size=(3000, 3)), rng.normal(size=(3000, 1))
    b = a @ np.array([[1.0], [2.0], [2.0]]) + 3 * noise  # variance 9 explained, 9 not
    assert linear_r2(a, b) == pytest.approx(0.5, abs=0.03)
    assert linear_r2(noise, a) == pytest.approx(0, abs=0.01)


def test_other_particles_are_refused(three: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two analyses"):
        agreement(three[:1], tmp_path / "out")
    path = three[1] / "clusters.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    with pytest.raises(StateError, match="holds other particles"):
        agreement(three, tmp_path / "out")
    assert main(["agreement", *map(str, three), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
