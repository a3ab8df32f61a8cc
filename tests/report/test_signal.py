"""Differences of signal between tomograms are told where they are large and sure."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tomopipe.report.records import SelectionRecord
from tomopipe.report.signal import signal_sentence

N = 40


def said(means: dict[str, float], *, spread: float = 0.2, cluster: int = 0, n: int = N) -> str:
    rng = np.random.default_rng(0)
    names = np.repeat(list(means), n)
    uids = [f"{name}/{i}" for i, name in enumerate(names)]
    signal = np.array([means[name] for name in names]) + spread * rng.normal(size=len(names))
    found = pd.DataFrame({"uid": uids, "cluster": cluster, "signal": signal})
    keep = SimpleNamespace(cluster=0, decision="keep", count=len(uids))
    junk = SimpleNamespace(cluster=1, decision="junk", count=0)
    selection = SelectionRecord(decided_by="automatic", decisions=(keep, junk), stale=False)
    branch = SimpleNamespace(signal=found.sample(frac=1, random_state=1), selection=selection)
    particles = pd.DataFrame({"uid": uids, "tomogram": names})
    return signal_sentence(branch, SimpleNamespace(particles=particles))


def test_the_weakest_and_the_strongest_are_named_with_their_errors() -> None:
    words = said({"TS_1": 0.9, "TS_2": 0.45, "TS_3": 1.25}, spread=0.1)
    assert "tomogram TS_2 show 0.4" in words and "those of TS_3 1.2" in words
    assert words.count("± 0.0") == 2
    assert "knows of tomograms that are weaker at all resolutions alike" in words


@pytest.mark.parametrize(
    "case",
    [
        {"means": {"TS_1": 0.9, "TS_2": 1.1}},  # small
        {"means": {"TS_1": 0.5, "TS_2": 1.1}, "spread": 3.0},  # unsure
        {"means": {"TS_1": 0.5, "TS_2": 1.1}, "n": 9},  # few
        {"means": {"TS_1": 0.5, "TS_2": 1.1}, "cluster": 1},  # of junk
        {"means": {"TS_1": 0.5}},  # alone
    ],
)
def test_nothing_is_said_of_what_is_small_unsure_or_junk(case: dict) -> None:
    assert said(**case) == ""
