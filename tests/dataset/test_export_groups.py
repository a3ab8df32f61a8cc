"""`tomopipe export` by hand: the groups that there are now, one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tomopipe.cli.export import groups
from tomopipe.cli.main import main
from tomopipe.config.importing import ExportSettings
from tomopipe.dataset.export import export
from tomopipe.dataset.particles import ParticleSet
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_parquet, write_parquet, write_text


@pytest.fixture
def branch(tiny, tmp_path: Path) -> Path:
    """A branch that keeps all particles of `tiny`, in four clusters."""
    uids = read_parquet(tiny.dataset / "particles.parquet")["uid"]
    write_parquet(
        tmp_path / "branch/selected.parquet",
        pd.DataFrame({"uid": uids, "kept": True, "reason": "all"}),
    )
    group(tmp_path / "branch", 4)
    return tmp_path / "branch"


def group(branch: Path, k: int, without: int = 0) -> None:
    uids = read_parquet(branch / "selected.parquet")["uid"]
    table = pd.DataFrame({"uid": uids, "cluster": np.arange(len(uids)) % k})
    write_parquet(branch / "analysis/clusters.parquet", table.iloc[without:])


def star_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.star")}


def test_groups_that_there_are_no_more_go(tiny, branch: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["export", str(tiny.dataset), str(branch), "--out", str(out)]
    assert main(words) == 0
    before = star_files(out)
    mine = {"mine.star", "cluster_1.star", "relion5/refined.star"}
    for name in mine:
        write_text(out / name, "mine")
    write_text(out / "junk.star", "of an earlier decision")
    group(branch, 2)
    assert main(words) == 0
    old = {name for name in before if "cluster_02" in name or "cluster_03" in name}
    assert len(old) == 8
    assert star_files(out) == before - old | mine
    assert main([*words, "--no-relion5"]) == 0
    kept = {"kept.star", "cluster_00.star", "cluster_01.star"}
    assert star_files(out) == kept | mine
    assert not (out / "relion5/lost.json").exists()


def test_particles_without_a_cluster_are_missed(tiny, branch: Path, tmp_path: Path) -> None:
    group(branch, 2, without=3)
    with pytest.raises(StateError, match=r"clusters\.parquet lacks 3 of 100 particles"):
        groups(branch)


def test_one_group_at_a_time_and_none_before_all_are_known(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = read_parquet(tiny.dataset / "particles.parquet")["uid"].tolist()
    taken: list[int] = []
    subset = ParticleSet.subset

    def counted(self: ParticleSet, wanted: list[str]) -> ParticleSet:
        # those before it are written
        assert len(star_files(tmp_path / "out")) == len(taken)
        taken.append(len(wanted))
        return subset(self, wanted)

    monkeypatch.setattr(ParticleSet, "subset", counted)
    named = {"kept": uids, "cluster_00": uids[:60], "cluster_01": uids[60:]}
    export(tiny.dataset, tmp_path / "out", named, ExportSettings(relion5=False))
    assert taken == [100, 60, 40]
    before = star_files(tmp_path / "out")
    with pytest.raises(StateError, match=r"group cluster_01 has 1 particles .* first nobody"):
        export(tiny.dataset, tmp_path / "out", {"kept": uids, "cluster_01": ["nobody"]})
    assert star_files(tmp_path / "out") == before
