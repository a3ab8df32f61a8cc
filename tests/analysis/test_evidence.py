"""Evidence by back-projection, and no more of it than is needed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tomopipe.analysis import evidence
from tomopipe.config.analysis import JunkSettings
from tomopipe.io.mrc import write_volume

BOX = 16


@pytest.mark.parametrize(("labels", "maps"), [([0] * 6, 0), ([0, 0, 0, 1, 1, 1], 2)])
def test_a_random_group_is_made_only_where_there_is_another_cluster(
    labels: list[int], maps: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    made, filtered = [], []
    lowpass = evidence.lowpass

    def particle_map(store: Any, members: Any) -> Any:
        made.append(len(members))
        return draw.normal(size=(BOX,) * 3)

    def counted(volume: Any, radius: float) -> Any:
        filtered.append(radius)
        return lowpass(volume, radius)

    monkeypatch.setattr(evidence, "particle_map", particle_map)
    monkeypatch.setattr(evidence, "lowpass", counted)
    own = [draw.normal(size=(BOX,) * 3) for _ in set(labels)]
    for cluster, volume in enumerate(own):
        write_volume(tmp_path / "volumes" / f"backprojection_{cluster:02d}.mrc", volume, 1.0)
    whole = sum(own)
    mask = np.ones_like(whole)
    consensus = evidence.Consensus(whole, np.stack([whole, whole]), mask, 4.0)
    table = pd.DataFrame({"cluster": sorted(set(labels))})
    table["count"] = [labels.count(label) for label in table["cluster"]]
    series = pd.Series(labels, index=[f"t/{i}" for i in range(len(labels))])
    store: Any = SimpleNamespace(n_particles=len(labels))
    evidence._add_backprojections(table, series, store, tmp_path, consensus, JunkSettings())
    assert made == [3] * maps
    # the consensus once, and every other map once
    assert len(filtered) == 1 + len(own) + maps
    if not maps:
        assert table["agreement"].tolist() == [1.0]
