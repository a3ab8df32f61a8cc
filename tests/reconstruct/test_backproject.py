import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from tests.records import check_record
from tomopipe.config.linear import ConsensusSettings
from tomopipe.config.prepare import PrepareSettings
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_sealed_json, write_json, write_sealed_json
from tomopipe.io.mrc import read_volume
from tomopipe.physics.fsc import correlation, fsc
from tomopipe.reconstruct.backproject import accumulate
from tomopipe.reconstruct.consensus import consensus
from tomopipe.reconstruct.half_maps import half_maps, half_sums
from tomopipe.simulate.particles import true_volume


def _of_state(tiny, state):
    store = tiny.open()
    return store, np.flatnonzero((tiny.truth.loc[list(store.uids), "state"] == state).to_numpy())


@pytest.mark.parametrize("state", ["whole", "no_lobe"])
def test_state_comes_back_with_hand_sign_and_scale(tiny, state):
    store, particles = _of_state(tiny, state)
    result = half_maps(store, particles)
    truth = true_volume(tiny.settings, state)
    mirrored = true_volume(tiny.settings, state).flip(0)
    curve = fsc(result.map, truth, result.mask)
    assert (curve[:5] > 0.9).all()
    assert correlation(result.map, truth) > 0.85
    assert correlation(result.map, mirrored) < correlation(result.map, truth) - 0.1
    gain = float((result.map * truth).sum() / (truth**2).sum())
    assert 0.75 < gain < 1.1


def test_states_differ_where_the_lobe_is(tiny):
    maps = {s: half_maps(*_of_state(tiny, s)).map for s in ("whole", "no_lobe")}
    truth = true_volume(tiny.settings, "whole") - true_volume(tiny.settings, "no_lobe")
    assert correlation(maps["whole"] - maps["no_lobe"], truth) > 0.6


def test_half_maps_share_no_particle(tiny):
    store, particles = _of_state(tiny, "whole")
    whole = accumulate(store, particles)
    halves = [accumulate(store, particles[store.half[particles] == h]) for h in (1, 2)]
    together = halves[0] + halves[1]
    assert torch.allclose(together.denominator, whole.denominator, rtol=1e-4, atol=1e-5)
    # changing a particle of half 2 leaves half-map 1 as it was
    fewer = particles[~((store.half[particles] == 2) & (particles > particles[3]))]
    one = accumulate(store, fewer[store.half[fewer] == 1])
    assert torch.equal(one.numerator, halves[0].numerator)


def test_half_sums_are_those_of_the_source_s_half_sets(tiny):
    store = tiny.open()
    source = pd.read_parquet(tiny.dataset / "particles.parquet").set_index("uid")["half"]
    particles = np.random.default_rng(0).permutation(store.n_particles)[:31]
    half = source.loc[list(store.uids[particles])].to_numpy()
    for number, sums in enumerate(half_sums(store, particles), start=1):
        own = accumulate(store, particles[half == number])
        assert own.denominator.any()
        assert torch.equal(sums.denominator, own.denominator)
        assert torch.equal(sums.numerator, own.numerator)


def test_half_maps_of_noise_agree_nowhere(tiny, tmp_path):
    shutil.copytree(tiny.store_path, tmp_path / "noise")
    packed = np.load(tmp_path / "noise" / "coefficients.npy", mmap_mode="r+")
    scale = packed.astype(np.float32).std()
    packed[:] = scale * np.random.default_rng(0).normal(size=packed.shape)
    packed.flush()
    meta = read_sealed_json(tmp_path / "noise" / "store.json")
    write_sealed_json(
        tmp_path / "noise" / "store.json", {k: v for k, v in meta.items() if k != "checksums"}
    )
    result = half_maps(Store.open(tmp_path / "noise"))
    assert result.curves.resolution(13.0, 0.143) > 3 * 26  # Nyquist, which maps of signal reach
    assert result.fsc[3:].abs().max() < 0.2


def test_consensus_leaves_maps_and_fsc(tiny, tmp_path):
    consensus(tiny.store_path, tmp_path / "consensus")
    check_record("consensus", tmp_path / "consensus", ConsensusSettings())
    summary = json.loads((tmp_path / "consensus" / "consensus.json").read_text())
    table = pd.read_csv(tmp_path / "consensus" / "fsc.csv")
    volume, pixel_size = read_volume(tmp_path / "consensus" / "map.mrc")
    assert volume.shape == (24, 24, 24)
    assert pixel_size == pytest.approx(13.0)
    assert summary["half_counts"][0] + summary["half_counts"][1] == summary["n_particles"] == 100
    assert table["resolution_angstrom"].iloc[0] == pytest.approx(24 * 13.0)
    assert 26 <= summary["resolution_0143_angstrom"] < 80


def test_one_empty_half_set_is_one_sentence(tiny, tmp_path):
    store = tiny.open()
    with pytest.raises(StateError, match="are in half-set"):
        consensus(tiny.store_path, tmp_path / "out", uids=list(store.uids[store.half == 1]))
    assert not (tmp_path / "out").exists()


def test_inverted_density_is_noticed(tiny, tmp_path, capsys):
    consensus(tiny.store_path, tmp_path / "right")
    assert "inverted" not in capsys.readouterr().err
    dataset = tmp_path / "dataset"
    shutil.copytree(tiny.dataset, dataset)
    write_json(dataset / "import.json", read_json(dataset / "import.json") | {"contrast": "dark"})
    prepare(dataset, tmp_path / "store", PrepareSettings(workers=1))
    consensus(tmp_path / "store", tmp_path / "wrong")
    assert "looks inverted" in capsys.readouterr().err
    maps = [read_volume(tmp_path / d / "map.mrc")[0] for d in ("right", "wrong")]
    assert np.allclose(maps[0], -maps[1], atol=1e-3 * np.abs(maps[0]).max())


def test_no_particles_are_an_empty_sum(tiny):
    sums = accumulate(tiny.open(), [])
    assert not sums.denominator.any()
