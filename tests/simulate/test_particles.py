import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from tomopipe.config.simulate import STATE_NAMES, SimulateSettings
from tomopipe.io.mrc import open_stack
from tomopipe.physics.fsc import correlation
from tomopipe.simulate.particles import simulate_particles, true_volume
from tomopipe.simulate.phantom import STATES


def test_same_seed_same_data_other_seed_other_data(tiny, tmp_path):
    small = SimulateSettings(particles=8, tilts=5, min_tilts=3, tomograms=2, seed=5)
    for name, settings in {
        "a": small,
        "b": small,
        "c": small.model_copy(update={"seed": 6}),
    }.items():
        simulate_particles(settings, tmp_path / name)
    read = {n: open_stack(tmp_path / n / "tomo_001.mrcs").read([0]) for n in "abc"}
    assert np.array_equal(read["a"], read["b"])
    assert not np.array_equal(read["a"], read["c"])


def test_shares_of_states_and_junk_are_met(tiny):
    counts = tiny.truth["state"].value_counts()
    assert counts.to_dict() == {"whole": 45, "no_lobe": 45, "junk": 10}


def test_tilts_are_uneven_within_bounds(tiny):
    n = tiny.open().images_per_particle
    assert n.min() >= 6
    assert n.max() <= 9
    assert len(set(n)) > 1


def test_truth_uids_are_those_of_the_import(tiny):
    particles = pd.read_parquet(tiny.dataset / "particles.parquet")
    assert list(particles["uid"]) == list(tiny.truth.index)


def test_only_the_whole_state_moves():
    settings = SimulateSettings()
    still = true_volume(settings, "no_lobe", 0.2) - true_volume(settings, "no_lobe", 0.9)
    moves = true_volume(settings, "whole", 0.2) - true_volume(settings, "whole", 0.9)
    assert still.abs().max() == 0
    assert moves.abs().max() > 0.1 * true_volume(settings, "whole", 0.2).max()


@pytest.mark.parametrize(
    "wrong", [{"states": {"half": 1.0}}, {"tilts": 5, "min_tilts": 9}, {"box": 33}, {"smr": 1}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        SimulateSettings(**wrong)


def test_every_state_of_the_settings_is_one_of_the_phantom_and_differs():
    settings = SimulateSettings()
    assert set(STATES) == set(STATE_NAMES)
    whole = true_volume(settings, "whole", 0.0)
    cc = {s: correlation(true_volume(settings, s), whole) for s in STATE_NAMES if s != "whole"}
    assert all(0.5 < value < 0.999 for value in cc.values())
    # the subtle states are subtle: closer to the whole than any state that lacks a part
    subtle = min(cc["no_ball"], cc["turned"])
    assert subtle > max(value for s, value in cc.items() if s in ("no_lobe", "no_cap", "no_arm"))
