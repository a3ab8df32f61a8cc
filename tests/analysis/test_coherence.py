"""Half-maps of a cluster against what so few particles of the whole would give."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tomopipe.analysis.coherence import add_coherence

BOX, PIXEL = 128, 2.5
START, FALL = 200.0, 5.0  # signal to noise of the whole's half-maps: START * exp(-shell / FALL)


def write_curve(path: Path, share: float) -> None:
    """FSC of half-maps to which a share of all particles contributes: noise falls as they grow."""
    signal_to_noise = share * START * np.exp(-np.arange(1, BOX // 2) / FALL)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"fsc": signal_to_noise / (1 + signal_to_noise)})
    table.assign(fsc_masked=0.99, fsc_corrected=0.99).to_csv(path, index=False)


def crossing(share: float) -> float:
    """Resolution (Å) at FSC 0.143, where the signal to noise is 0.143 / 0.857."""
    shell = FALL * log(share * START * 0.857 / 0.143)
    return BOX * PIXEL / shell


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Three clusters: a sound one, one in which a quarter of the particles agree, one unmapped."""
    write_curve(tmp_path / "consensus" / "fsc.csv", 1.0)
    write_curve(tmp_path / "analysis" / "volumes" / "fsc_00.csv", 0.6)
    write_curve(tmp_path / "analysis" / "volumes" / "fsc_01.csv", 0.25 * 0.3)
    found = pd.DataFrame({"cluster": [1, 0, 2], "count": [300, 600, 100]}, index=[7, 3, 5])
    add_coherence(found, tmp_path / "analysis", tmp_path / "consensus", PIXEL)
    return found.set_index("cluster")


def test_expected_is_the_whole_s_resolution_with_fewer_particles(table: pd.DataFrame) -> None:
    for cluster, share in ((0, 0.6), (1, 0.3), (2, 0.1)):
        assert table["expected"][cluster] == pytest.approx(crossing(share), rel=2e-3)


def test_a_cluster_of_like_particles_is_as_sharp_as_expected(table: pd.DataFrame) -> None:
    assert table["resolution"][0] == pytest.approx(table["expected"][0])


def test_one_whose_particles_disagree_is_not(table: pd.DataFrame) -> None:
    assert table["resolution"][1] == pytest.approx(crossing(0.075), rel=2e-3)
    assert table["resolution"][1] > 1.2 * table["expected"][1]


def test_without_a_map_of_its_own_nothing_is_known(table: pd.DataFrame) -> None:
    assert table["resolution"].isna().to_dict() == {0: False, 1: False, 2: True}
