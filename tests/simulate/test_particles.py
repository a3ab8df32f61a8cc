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
    "wrong",
    [
        {"states": {"half": 1.0}},
        {"states": {"whole": -1, "no_lobe": 1}},
        {"states": {"whole": 0}},
        {"states": {}},
        {"tilts": 5, "min_tilts": 9},
        {"tilts": 200},
        {"box": 33},
        {"smr": 1},
        {"seed": 2**32},
        {"snr": float("inf")},
    ],
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


def _noise_free(junk_kinds, folder, **more):
    """Images of one tilt with hardly any noise, their truth and settings."""
    settings = SimulateSettings(
        particles=16,
        junk_fraction=0.75,
        junk_kinds=junk_kinds,
        states={"whole": 1},
        motion_degrees=0,
        tilts=1,
        min_tilts=1,
        tomograms=1,
        shift_pixels=0,
        snr=1e6,
        **more,
    )
    simulate_particles(settings, folder)
    with open_stack(folder / "tomo_001.mrcs") as stack:
        images = stack.read(range(16))
    return images, pd.read_parquet(folder / "truth.parquet"), settings


def test_off_centre_junk_is_displaced_and_does_not_come_back_on_the_other_side(tmp_path):
    images, truth, settings = _noise_free(["off-centre"], tmp_path / "a")
    axis = np.arange(settings.box) - settings.box // 2
    weight = np.clip(images, 0, None) ** 2
    total = weight.sum((1, 2))
    centre = np.stack([(weight.sum(1) * axis).sum(1), (weight.sum(2) * axis).sum(1)], 1)
    away = np.linalg.norm(centre / total[:, None], axis=1)
    junk = truth["junk"].to_numpy()
    # along the beam a displacement does not show, hence the median
    assert np.median(away[junk]) > 2 * away[~junk].max()
    assert total[junk].min() < 0.6 * total[~junk].mean()  # part of one left the box


def test_misaligned_junk_is_a_good_particle_seen_from_elsewhere(tmp_path):
    images, truth, _ = _noise_free(["misaligned"], tmp_path / "a")
    power = (images**2).sum((1, 2))
    junk = truth["junk"].to_numpy()
    assert power[junk].mean() == pytest.approx(power[~junk].mean(), rel=0.5)
    straight, _, _ = _noise_free(["noise"], tmp_path / "b")
    # the same draws until the first junk particle: good ones before it are equal
    first = int(np.flatnonzero(junk)[0])
    assert np.array_equal(images[:first], straight[:first])
    assert not np.allclose(images[first], straight[first], atol=1e-2)


def test_states_of_maps_and_of_the_phantom_do_not_mix():
    own = {"population": 1.0, "maps": ["a.mrc"]}
    for states in ({"whole": 1.0, "mine": own}, {"junk": own}, {"a/b": own}, {"a": {"maps": []}}):
        with pytest.raises(ValidationError):
            SimulateSettings(states=states)
    assert SimulateSettings(states={"mine": own}).reference == "mine"
