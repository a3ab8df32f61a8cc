"""Recovery against planted truth: a results tree whose every figure is known beforehand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from tomopipe.analysis.recovery import recovery, told_apart
from tomopipe.config import parse_config
from tomopipe.config.simulate import SimulateSettings
from tomopipe.errors import StateError
from tomopipe.io.atomic import write_json, write_parquet
from tomopipe.io.mrc import write_volume
from tomopipe.simulate.particles import true_volume

SETTINGS = SimulateSettings(
    particles=60,
    box=16,
    pixel_size_angstrom=20.0,
    states={"whole": 0.5, "no_lobe": 0.5},
    junk_fraction=0.2,
)
STATES = ("whole", "no_lobe", "junk")
MODEL = {"linear": {"components": 2}, "analysis": {"clusters": 2}}
RAW = {
    "datasets": {"d": {"simulate": SETTINGS.model_dump()}},
    "branches": {
        "pilot": {"dataset": "d", "consensus": {}, "junk": {}, **MODEL},
        "clean": {"parent": "pilot", "select": {"junk": "auto"}, **MODEL},
        "moving": {"parent": "clean", "select": {"largest": 1}, **MODEL},
        "waits": {"parent": "clean", "select": {}, **MODEL},
    },
}
CONFIG = parse_config(RAW)


class TrueModel:
    """z0 is the number of the state, z1 the coordinate: gives the true volume times `sign`."""

    kind, zdim, box, pixel_size = "linear", 2, SETTINGS.box, SETTINGS.pixel_size_angstrom

    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign

    def volumes(self, z, *, box=None):
        maps = [true_volume(SETTINGS, STATES[round(float(s))], float(t)) for s, t in z]
        return self.sign * torch.stack(maps)


@pytest.fixture
def truth() -> pd.DataFrame:
    """24 whole particles whose arm turns, 24 without a lobe, 12 junk, in mixed order."""
    rng = np.random.default_rng(0)
    state = rng.permutation(np.repeat(STATES, [24, 24, 12]))
    moves = np.where(state == "whole", rng.uniform(size=60), np.nan)
    uids = [f"t/{i:02d}" for i in range(60)]
    return pd.DataFrame({"uid": uids, "state": state, "coordinate": moves, "junk": state == "junk"})


def plant(root, truth, branch, particles, found=None) -> None:
    """Results of a branch that holds `particles` of the truth: clusters are the true states."""
    own = truth[particles].sample(frac=1, random_state=1)  # rows stand in any order
    code = own["state"].map({s: i for i, s in enumerate(STATES)})
    folder = root / "branches" / branch / "analysis"
    write_parquet(folder / "clusters.parquet", own[["uid"]].assign(cluster=code.to_numpy()))
    latents = own[["uid"]].assign(z0=code.to_numpy(float), z1=own["coordinate"].fillna(0))
    coordinate = own["coordinate"] if found is None else found(own["coordinate"])
    write_parquet(folder / "latents.parquet", latents.assign(coordinate=coordinate))
    for i, state in enumerate(STATES[:2]):
        volume = true_volume(SETTINGS, state, 0.5).numpy()
        write_volume(folder / "volumes" / f"cluster_{i:02d}.mrc", volume, 20.0)


@pytest.fixture
def perfect(tmp_path, truth, monkeypatch):
    """A run in which everything was found: the pilot's junk was dropped, states are clusters."""
    simulated = tmp_path / "datasets" / "d" / "simulated"
    write_parquet(simulated / "truth.parquet", truth)
    write_json(simulated / "simulation.json", {"settings": SETTINGS.model_dump()})
    for state in STATES[:2]:
        volume = true_volume(SETTINGS, state, 0.5).numpy()
        write_volume(simulated / "truth" / f"{state}.mrc", volume, 20.0)
    plant(tmp_path, truth, "pilot", np.ones(60, dtype=bool))
    plant(tmp_path, truth, "clean", ~truth["junk"])
    plant(tmp_path, truth, "moving", truth["state"] == "whole", lambda c: 1 - c)
    monkeypatch.setattr("tomopipe.analysis.recovery.load_model", lambda folder: TrueModel())
    return tmp_path


def test_a_perfect_run_reaches_one_everywhere(perfect):
    found = recovery(CONFIG, perfect)
    assert found["state_branch"] == "clean"
    assert found["motion_branch"] == "moving"
    assert found["ari"] == 1
    assert found["spearman"] == pytest.approx(1)  # the coordinate runs backwards there
    assert found["fsc_area"] == pytest.approx(1, abs=1e-5)
    assert found["junk"] == {"true": 12, "found": 12, "precision": 1, "recall": 1}
    assert found["confusion"]["whole"] == {"0": 24, "1": 0, "junk": 0}
    assert set(found["branches"]) == {"pilot", "clean", "moving"}
    for state, cluster in (("whole", 0), ("no_lobe", 1)):
        assert found["states"][state]["cluster"] == cluster
        assert found["states"][state]["area"] == pytest.approx(1, abs=1e-5)


def test_dropped_particles_count_as_junk_in_the_ari(perfect, truth):
    dropped = truth.index[truth["state"] == "no_lobe"][:10]
    plant(perfect, truth, "clean", ~truth["junk"] & ~truth.index.isin(dropped))
    found = recovery(CONFIG, perfect)
    said = truth["state"].where(~truth.index.isin(dropped), "junk")
    assert found["ari"] == pytest.approx(adjusted_rand_score(truth["state"], said))
    assert found["ari"] < 0.8
    assert found["branches"]["clean"]["ari"] == 1  # of those that were left
    assert found["confusion"]["no_lobe"] == {"0": 0, "1": 14, "junk": 10}
    assert found["junk"] == {"true": 12, "found": 22, "precision": 12 / 22, "recall": 1}


def test_junk_that_was_kept_costs_too(perfect, truth):
    plant(perfect, truth, "clean", np.ones(60, dtype=bool))
    junk = truth["junk"]
    clusters = pd.DataFrame({"uid": truth["uid"], "cluster": (truth["state"] == "no_lobe") * 1})
    write_parquet(perfect / "branches/clean/analysis/clusters.parquet", clusters)
    found = recovery(CONFIG, perfect)
    assert found["junk"]["found"] == 0 and found["junk"]["precision"] is None
    assert found["confusion"]["junk"] == {"0": int(junk.sum()), "1": 0}
    assert found["ari"] < 0.8


def test_the_sign_of_the_coordinate_does_not_matter_its_order_does(perfect, truth):
    whole = truth["state"] == "whole"
    figures = {}
    for name, change in (
        ("same", lambda c: c**3),
        ("turned", lambda c: -(c**3)),
        ("mixed", lambda c: np.random.default_rng(5).permutation(c)),
    ):
        plant(perfect, truth, "moving", whole, change)
        figures[name] = recovery(CONFIG, perfect)["spearman"]
    assert figures["same"] == figures["turned"] == pytest.approx(1)
    assert 0 <= figures["mixed"] < 0.5


def test_without_a_branch_that_moves_there_is_no_correlation(perfect, truth):
    plant(perfect, truth, "moving", truth["state"] == "no_lobe")
    found = recovery(CONFIG, perfect)
    assert found["spearman"] is None and found["motion_branch"] is None


def test_inverted_and_wrong_volumes_have_no_area(perfect, monkeypatch):
    monkeypatch.setattr("tomopipe.analysis.recovery.load_model", lambda folder: TrueModel(-1.0))
    assert recovery(CONFIG, perfect)["fsc_area"] == pytest.approx(-1, abs=1e-5)


def test_each_particle_is_compared_with_its_own_truth(perfect, monkeypatch):
    """The arm at its own place, not the state's mean map: a model that never moves reaches less."""

    class Rigid(TrueModel):
        def volumes(self, z, *, box=None):
            return super().volumes(z * torch.tensor([1.0, 0.0]))

    monkeypatch.setattr("tomopipe.analysis.recovery.load_model", lambda folder: Rigid())
    assert 0.5 < recovery(CONFIG, perfect)["fsc_area"] < 0.999


def test_a_branch_of_junk_alone_has_no_area(perfect, truth):
    for branch in ("pilot", "clean", "moving"):
        plant(perfect, truth, branch, truth["junk"])
    found = recovery(CONFIG, perfect)
    assert found["fsc_area"] is None and found["spearman"] is None
    assert found["states"] == {}


def test_missing_truth_and_results_are_one_sentence(perfect):
    raw = RAW | {"datasets": {"d": {"particles": "particles.star"}}}
    with pytest.raises(StateError, match="no dataset of this config is simulated"):
        recovery(parse_config(raw), perfect)
    (perfect / "branches/clean/analysis/latents.parquet").unlink()
    with pytest.raises(StateError, match=r"clean/analysis/latents\.parquet is missing"):
        recovery(CONFIG, perfect)


def test_clusters_that_together_hold_the_wanted_particles_are_told_apart() -> None:
    uids = [f"t/{i}" for i in range(12)]
    clusters = pd.Series([0] * 4 + [1] * 4 + [2] * 4, index=uids)
    wanted = pd.Series([True] * 8 + [False] * 4, index=uids)
    found = told_apart(clusters, wanted.sample(frac=1, random_state=0))
    assert (found["clusters"], found["precision"], found["recall"]) == ([0, 1], 1.0, 1.0)
    assert found["ari"] == 1.0


def test_chance_clusters_tell_nothing_apart() -> None:
    rng = np.random.default_rng(0)
    uids = [f"t/{i}" for i in range(4000)]
    clusters = pd.Series(rng.integers(0, 2, 4000), index=uids)
    wanted = pd.Series(rng.uniform(size=4000) < 0.3, index=uids)
    assert abs(told_apart(clusters, wanted)["ari"]) < 0.02
