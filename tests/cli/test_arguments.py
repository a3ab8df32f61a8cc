"""Selections and groups of particles that verbs read from the results of a branch."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.selection import write_selection
from tomopipe.cli.arguments import given_config, kept_uids
from tomopipe.cli.export import groups
from tomopipe.errors import ConfigError, StateError
from tomopipe.io.atomic import write_parquet

UIDS = [f"t/{i}" for i in range(6)]


@pytest.fixture
def branch(tmp_path: Path) -> Path:
    """Six particles, the first left by the branch; clusters 0, 1, 2 of two each; cluster 1 junk."""
    kept = [False, True, True, True, True, True]
    selected = pd.DataFrame({"uid": UIDS, "kept": kept, "reason": "all"})
    clusters = pd.DataFrame({"uid": UIDS, "cluster": [0, 0, 1, 1, 2, 2]})
    write_parquet(tmp_path / "selected.parquet", selected)
    write_parquet(tmp_path / "analysis" / "clusters.parquet", clusters)
    decisions = pd.DataFrame(
        {"cluster": [0, 1, 2], "count": 2, "decision": ["keep", "junk", "unsure"], "reason": "so"}
    )
    write_selection(tmp_path / "selection.yaml", decisions, clusters_fingerprint(clusters))
    return tmp_path


def test_kept_particles_are_read_in_order(branch: Path) -> None:
    assert kept_uids(branch / "selected.parquet") == UIDS[1:]
    assert kept_uids(None) is None


def test_a_selection_that_keeps_nothing_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "selected.parquet"
    write_parquet(table, pd.DataFrame({"uid": UIDS, "kept": False}))
    with pytest.raises(StateError, match="keeps no particle"):
        kept_uids(table)
    write_parquet(table, pd.DataFrame({"uid": UIDS}))
    with pytest.raises(StateError, match="no column 'kept'"):
        kept_uids(table)


def test_groups_obey_selection_and_decisions(branch: Path) -> None:
    assert groups(branch) == {
        "kept": ["t/1", "t/4", "t/5"],
        "junk": ["t/2", "t/3"],
        "cluster_00": ["t/1"],
        "cluster_01": ["t/2", "t/3"],
        "cluster_02": ["t/4", "t/5"],
    }


def test_without_decisions_nothing_is_junk(branch: Path) -> None:
    (branch / "selection.yaml").unlink()
    found = groups(branch)
    assert found["kept"] == UIDS[1:]
    assert "junk" not in found


def test_decisions_of_a_stage_that_was_taken_out_do_not_count(branch: Path) -> None:
    assert "junk" in groups(branch)
    found = groups(branch, decided=False)
    assert "junk" not in found
    assert len(found["kept"]) == len(kept_uids(branch / "selected.parquet") or [])


def test_decisions_on_other_clusters_are_refused(branch: Path) -> None:
    other = pd.DataFrame({"uid": UIDS, "cluster": [0, 1, 2, 0, 1, 2]})
    write_parquet(branch / "analysis" / "clusters.parquet", other)
    with pytest.raises(StateError, match="other clusters"):
        groups(branch)


def test_a_config_is_given_as_file_or_as_json(tmp_path: Path) -> None:
    raw = {
        "results": "out",
        "datasets": {"sim": {"simulate": {}}},
        "branches": {"a": {"dataset": "sim", "linear": {}}},
    }
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(raw))
    assert given_config(str(path)) == given_config(json.dumps(raw))
    with pytest.raises(ConfigError, match="not valid JSON"):
        given_config("{")
