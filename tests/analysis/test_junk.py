from __future__ import annotations

import numpy as np
import pytest
import yaml

from tomopipe.analysis.analyze import analyze
from tomopipe.analysis.evidence import Consensus
from tomopipe.analysis.junk import find_junk
from tomopipe.analysis.selection import settle
from tomopipe.analysis.signal import consensus_signal
from tomopipe.config.analysis import AnalysisSettings, JunkSettings
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_parquet

SETTINGS = AnalysisSettings(
    clusters=3,
    method="kmeans",
    umap=False,
    coordinate=False,
    traversal_components=0,
    backprojection=False,
)


@pytest.fixture
def branch(planted, planted_model, tmp_path):
    analyze(planted.store, planted.model, tmp_path / "analysis", SETTINGS)
    return tmp_path


def run(planted, branch):
    """Both verbs, `junk` and `decide`."""
    table = find_junk(
        planted.store,
        planted.model,
        branch / "analysis",
        planted.consensus,
        branch / "junk.parquet",
        JunkSettings(),
    )
    settle(branch)
    return table


def test_signal_tells_particles_from_junk_one_by_one(planted):
    store = planted.open()
    consensus = Consensus.read(planted.consensus, store)
    signal = consensus_signal(store, consensus.halves * consensus.mask, consensus.radius)
    junk = planted.truth["junk"].to_numpy()
    assert np.median(signal[~junk]) == pytest.approx(1.0, abs=0.5)
    assert abs(np.median(signal[junk])) < 0.35 * np.median(signal[~junk])
    # ranked by signal, nearly every particle stands before every false pick
    pairs = signal[~junk][:, None] > signal[junk]
    assert pairs.mean() > 0.98


def test_planted_junk_is_found_with_reasons_and_a_person_is_obeyed(planted, branch):
    table = run(planted, branch)
    # by which another branch may take it over
    settings = read_parquet(branch / "junk.parquet").attrs["settings"]
    assert settings == JunkSettings().model_dump(mode="json")
    clusters = read_parquet(branch / "analysis" / "clusters.parquet").set_index("uid")["cluster"]
    junk = int(clusters[planted.truth.index[planted.truth["junk"]][0]])
    assert table.set_index("cluster")["decision"].to_dict() == {
        c: "junk" if c == junk else "keep" for c in range(3)
    }
    text = (branch / "selection.yaml").read_text()
    content = yaml.safe_load(text)
    assert text.startswith("# Which clusters")
    assert content["decided_by"] == "automatic"
    assert content["clusters"][junk]["decision"] == "junk"
    assert content["clusters"][junk]["count"] == int(planted.truth["junk"].sum())
    particles = read_parquet(branch / "junk_particles.parquet").set_index("uid")
    mean = particles["signal"].groupby(planted.truth["junk"]).mean()
    assert mean[False] == pytest.approx(1.0, abs=0.15)
    assert mean[True] < 0.35

    # a change is kept when the rule runs again
    edited = text.replace("decision: junk", "decision: keep")
    (branch / "selection.yaml").write_text(edited)
    run(planted, branch)
    assert (branch / "selection.yaml").read_text() == edited

    # and never thrown away when the clusters have changed
    analyze(
        planted.store,
        planted.model,
        branch / "analysis",
        SETTINGS.model_copy(update={"clusters": 4}),
    )
    with pytest.raises(StateError, match="decided on other clusters"):
        run(planted, branch)
    assert (branch / "selection.yaml").read_text() == edited

    # an untouched proposal is simply renewed
    (branch / "selection.yaml").write_text(text)
    run(planted, branch)
    assert len(yaml.safe_load((branch / "selection.yaml").read_text())["clusters"]) == 4


def test_clusters_and_summary_of_different_runs_are_refused(planted, branch):
    table = read_parquet(branch / "analysis" / "clusters.parquet")
    table.assign(cluster=0).to_parquet(branch / "analysis" / "clusters.parquet")
    with pytest.raises(StateError, match=r"does not belong to its analysis\.json"):
        run(planted, branch)
    assert not (branch / "selection.yaml").exists()
