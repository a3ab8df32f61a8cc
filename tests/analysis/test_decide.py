from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tomopipe.analysis.decide import decide
from tomopipe.config.analysis import JunkSettings


def evidence(signal, cc, count, *, error=None, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    n = len(signal)
    cc = np.asarray(cc, float) * (1 + noise * rng.normal(size=n))
    return pd.DataFrame(
        {
            "cluster": np.arange(n),
            "count": count,
            "cc_volume": cc,
            "agreement": cc,
            "signal": np.asarray(signal, float) * (1 + noise * rng.normal(size=n)),
            "signal_error": 0.02,
            "without_signal": 0.0,
            "place": 1.0,
            "latent_norm": 1.0,
            "error_mean": 1.0 if error is None else error,
            "resolution": np.nan,
            "expected": 30.0,
        }
    )


def decisions(table, **settings):
    return decide(table, JunkSettings(**settings))["decision"].tolist()


@pytest.mark.parametrize("good", [2, 5, 20, 60])
@pytest.mark.parametrize("seed", range(3))
def test_planted_junk_is_found_among_few_and_many_clusters(good, seed):
    bad = max(1, good // 4)
    table = evidence(
        [1.0] * good + [0.1] * bad,
        [0.95] * good + [0.45] * bad,
        [50] * (good + bad),
        noise=0.03,
        seed=seed,
    )
    assert decisions(table) == ["keep"] * good + ["junk"] * bad


@pytest.mark.parametrize("seed", range(5))
def test_without_junk_nothing_is_junk_or_unsure(seed):
    table = evidence([1.0] * 12, [0.9] * 12, [40] * 12, noise=0.06, seed=seed)
    assert decisions(table) == ["keep"] * 12


def test_a_smaller_compositional_state_is_not_junk():
    # a large lobe alone, a quarter of the particles
    assert decisions(evidence([1, 1, 0.65], [0.95, 0.95, 0.8], [150, 150, 100])) == ["keep"] * 3


def test_a_small_part_of_the_complex_is_no_junk_if_its_particles_agree():
    # a third of it: signal 1/3, correlations √(1/3)
    table = evidence([1, 1, 0.33], [0.95, 0.95, 0.55], [150, 150, 80])
    assert decisions(table)[-1] == "junk"
    found = decide(table.assign(resolution=[25, 25, 32]), JunkSettings()).iloc[-1]
    assert found["decision"] == "unsure"
    assert "agree with each other to 32 Å" in found["reason"]
    assert decisions(table.assign(resolution=[25, 25, 60]))[-1] == "junk"
    blob = evidence([1, 1, 0.33], [0.95, 0.95, 0.77], [150, 150, 80])  # as misaligned ones make
    assert decisions(blob.assign(resolution=[25, 25, 32]))[-1] == "junk"
    few = evidence([1, 1, 0.33], [0.95, 0.95, 0.55], [150, 150, 20])
    assert decisions(few.assign(resolution=[25, 25, 32]))[-1] == "junk"
    weaker = evidence([1, 1, 0.1], [0.95, 0.95, 0.3], [150, 150, 80])
    assert decisions(weaker.assign(resolution=[25, 25, 32]))[-1] == "junk"


def test_a_half_and_half_cluster_is_unsure():
    table = evidence([1, 1, 1, 0.45], [0.95, 0.95, 0.9, 0.7], [50, 50, 50, 20])
    assert decisions(table)[-1] == "unsure"


@pytest.mark.parametrize("shares", [[30, 40, 30], [51, 49], [20] * 5])
def test_the_majority_is_never_junk(shares):
    rng = np.random.default_rng(len(shares))
    for _ in range(30):
        n = len(shares)
        table = evidence(rng.uniform(-0.1, 1, n), rng.uniform(-0.2, 1, n), shares)
        found = decide(table, JunkSettings())
        junk = found.loc[found["decision"] == "junk", "count"].sum()
        assert junk <= 0.5 * sum(shares)
        assert (found["decision"] != "junk").any()


def test_a_junk_majority_becomes_unsure_and_says_why():
    table = evidence([1.0, 0.05, 0.1, 0.02], [0.9, 0.3, 0.3, 0.3], [30, 25, 25, 20])
    found = decide(table, JunkSettings(max_junk_fraction=0.3))
    assert found["decision"].tolist() == ["keep", "unsure", "unsure", "junk"] or (
        found.loc[found["decision"] == "junk", "count"].sum() <= 30
    )
    unsure = found[found["decision"] == "unsure"]
    assert unsure["reason"].str.contains("more than 30%").any()


def test_one_cluster_is_kept():
    assert decisions(evidence([0.2], [0.01], [480])) == ["keep"]


def test_a_handful_of_particles_is_unsure_at_worst():
    table = evidence([1, 1, 0.05], [0.95, 0.95, 0.3], [100, 100, 3])
    assert decisions(table) == ["keep", "keep", "unsure"]
    assert decisions(table, min_particles=2)[-1] == "junk"


def test_differences_within_the_spread_of_the_good_are_noise():
    # the same cluster with 60 % of the signal: apart from even clusters, one of many uneven ones
    even = evidence([1, 1, 1, 1, 0.6], [0.9] * 5, [50] * 5)
    uneven = evidence([1, 0.85, 1.2, 0.75, 0.6], [0.9] * 5, [50] * 5)
    assert decide(even, JunkSettings())["share"].iloc[-1] < 0.8
    assert decide(uneven, JunkSettings())["share"].iloc[-1] == 1.0


def test_evidence_without_errors_is_enough():
    table = evidence([1, 1, 0.1], [0.95, 0.95, 0.4], [50, 50, 20]).assign(error_mean=np.nan)
    assert decisions(table) == ["keep", "keep", "junk"]


def test_reasons_are_one_sentence_with_the_figures():
    table = evidence([1, 1, 0.1], [0.95, 0.95, 0.4], [50, 50, 20], error=[1, 1, 1.4])
    reason = decide(table, JunkSettings())["reason"].iloc[-1]
    assert reason.endswith(".")
    assert "10% of the consensus signal" in reason
    assert "1.4 times" in reason
    assert "\n" not in reason


def test_where_nothing_shows_the_consensus_all_are_unsure():
    """Noise agrees with the consensus that was made of it, but not with the other half-set's."""
    table = evidence([0.03, -0.01, 0.02], [0.9, 0.9, 0.8], [100, 100, 100])
    assert decisions(table) == ["unsure"] * 3
    reasons = decide(table, JunkSettings())["reason"]
    assert reasons.str.contains("not seen").all()
    assert decisions(evidence([0.03], [0.9], [300])) == ["unsure"]
    assert decisions(evidence([0.3, 0.3, 0.3], [0.9, 0.9, 0.9], [100, 100, 100])) == ["keep"] * 3


@pytest.mark.parametrize("least", [1, 5])
def test_a_single_particle_that_agrees_by_chance_changes_nothing(least):
    """It would be the best cluster, and its mean signal has no error."""
    table = evidence([1, 0.95, 0.05, 0.9], [0.95, 0.95, 0.3, 1.4], [900, 800, 300, 1])
    table["signal_error"] = [0.02, 0.02, 0.02, np.inf]
    found = decide(table, JunkSettings(min_particles=least))
    assert found["decision"].tolist() == ["keep", "keep", "junk", "keep"]
    assert found["good"].iloc[3] == (least == 1)


def test_small_clusters_are_compared_with_where_there_are_no_others():
    found = decide(evidence([1, 1, 1], [0.9, 0.9, 0.95], [4, 4, 3]), JunkSettings())
    assert found["good"].tolist() == [True, False, True]
    assert found["decision"].tolist() == ["keep"] * 3
