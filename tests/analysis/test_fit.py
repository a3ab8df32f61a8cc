from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from tests.records import check_record
from tomopipe.analysis.analyze import linear_beside
from tomopipe.analysis.fit import fit, reason, wants_network
from tomopipe.config.fit import FitSettings, NetworkSettings
from tomopipe.config.linear import LinearSettings
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_sealed_json, write_sealed_json
from tomopipe.models import load_model
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training import heldout
from tomopipe.training.heldout import Comparison, compare
from tomopipe.training.linear import fit_linear
from tomopipe.training.neural import train_heterogeneous
from tomopipe.training.splits import hold_out

SMALL = NetworkSettings(
    epochs=1, hidden=16, layers=1, zdim=4, encoder_hidden=16, encoder_components=4, batch=8
)
WITHOUT = FitSettings(network="never", linear=LinearSettings(components=3, rounds=15))


@pytest.fixture(scope="module")
def fitted(planted, tmp_path_factory):
    out = tmp_path_factory.mktemp("fit") / "fit"
    return out, fit(planted.store, out, WITHOUT)


def test_states_are_found_without_being_told_their_number(planted, fitted):
    out, record = fitted
    clusters = pd.read_parquet(out / "clusters.parquet")
    truth = planted.truth.loc[clusters["uid"], "state"]
    assert list(clusters["uid"]) == list(Store.open(planted.store).uids)
    assert record["clusters"] == clusters["cluster"].nunique() >= 2
    assert clusters["probability"].between(0, 1).all()
    assert adjusted_rand_score(truth, clusters["cluster"]) > 0.6


def test_the_folder_is_a_model_and_says_why(fitted):
    out, record = fitted
    assert load_model(out).kind == "linear"
    check_record("fit", out, WITHOUT)
    assert "no network was asked for" in record["reason"]
    assert read_json(out / "fit.json")["reason"] == record["reason"]
    assert not out.with_name("fit.state").exists()


def test_an_interrupted_fit_goes_on_from_its_linear_model(planted, tmp_path, monkeypatch):
    settings = FitSettings(
        network="always", linear=LinearSettings(components=3, rounds=5), heterogeneous=SMALL
    )

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tomopipe.analysis.fit.train_heterogeneous", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(planted.store, tmp_path / "out", settings)
    before = (tmp_path / "out.state/linear/model.safetensors").stat().st_mtime_ns
    assert not (tmp_path / "out").exists()
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr("tomopipe.analysis.fit.fit_linear", lambda *args: seen.append("fitted again"))
        record = fit(planted.store, tmp_path / "out", settings)
    assert not seen and before
    assert record["comparison"]["particles"] > 0
    assert (tmp_path / "out/latents.parquet").is_file()


def test_clusters_are_the_linear_models_also_where_the_network_is_taken(
    planted, tmp_path, monkeypatch
):
    linear = LinearSettings(components=3, rounds=8)
    fit(planted.store, tmp_path / "without", FitSettings(network="never", linear=linear))
    better = Comparison(mean=1.0, linear=0.9, network=0.8, sigmas=9.0, particles=100)
    monkeypatch.setattr("tomopipe.analysis.fit.compare", lambda *args: better)
    settings = FitSettings(network="always", linear=linear, heterogeneous=SMALL)
    assert fit(planted.store, tmp_path / "with", settings)["model"] == "network"
    one, two = (pd.read_parquet(tmp_path / d / "clusters.parquet") for d in ("without", "with"))
    pd.testing.assert_frame_equal(one, two)


def test_a_network_that_predicts_worse_is_not_taken(planted, tmp_path, monkeypatch):
    worse = Comparison(mean=1.0, linear=0.9, network=0.95, sigmas=-9.0, particles=100)
    monkeypatch.setattr("tomopipe.analysis.fit.compare", lambda *args: worse)
    linear = LinearSettings(components=3, rounds=3)
    settings = FitSettings(network="always", linear=linear, heterogeneous=SMALL)
    record = fit(planted.store, tmp_path / "fit", settings)
    assert record["model"] == "linear" and "predicts worse" in record["reason"]
    assert load_model(tmp_path / "fit").kind == "linear"
    assert linear_beside(tmp_path / "fit") is None


def test_a_fit_leaves_nothing_of_the_model_that_was_there(planted, tmp_path, monkeypatch):
    """A network's folder holds its linear model, by which `analyze` counts clusters."""
    linear = LinearSettings(components=3, rounds=3)
    better = Comparison(mean=1.0, linear=0.9, network=0.8, sigmas=9.0, particles=100)
    monkeypatch.setattr("tomopipe.analysis.fit.compare", lambda *args: better)
    settings = FitSettings(network="always", linear=linear, heterogeneous=SMALL)
    out = tmp_path / "fit"
    fit(planted.store, out, settings)
    assert linear_beside(out) == out / "linear"
    (out / "notes.txt").write_text("of the user")
    fit(planted.store, out, FitSettings(network="never", linear=linear))
    alone = tmp_path / "alone"
    fit(planted.store, alone, FitSettings(network="never", linear=linear))
    names = {path.name for path in alone.iterdir()}
    assert {path.name for path in out.iterdir()} == names | {"notes.txt"}
    assert linear_beside(out) is None


def test_without_held_out_tilts_no_network_is_trained(planted, tmp_path, monkeypatch):
    """There would be nothing to judge it by."""
    settings = FitSettings(
        network="always",
        linear=LinearSettings(components=3, rounds=3),
        heterogeneous=SMALL.model_copy(update={"validation_fraction": 0}),
    )
    monkeypatch.delattr("tomopipe.analysis.fit.train_heterogeneous")
    record = fit(planted.store, tmp_path / "out", settings)
    assert record["model"] == "linear"
    assert "held out" in record["reason"]


def test_a_fit_killed_after_the_network_does_not_train_it_again(planted, tmp_path, monkeypatch):
    settings = FitSettings(
        network="always", linear=LinearSettings(components=3, rounds=3), heterogeneous=SMALL
    )

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tomopipe.analysis.fit.compare", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(planted.store, tmp_path / "out", settings)
    with monkeypatch.context() as patch:
        patch.delattr("tomopipe.analysis.fit.train_heterogeneous")
        assert fit(planted.store, tmp_path / "out", settings)["comparison"]["particles"] > 0
    other = settings.model_copy(update={"linear": LinearSettings(components=4, rounds=3)})
    with monkeypatch.context() as patch:
        patch.setattr("tomopipe.analysis.fit.compare", killed)
        for wanted in (settings, other):
            with pytest.raises(KeyboardInterrupt):
                fit(planted.store, tmp_path / "again", wanted)
    network = load_model(tmp_path / "again.state/network")
    assert len(network.fixed.basis) == 4  # not the one that began from three components


def test_too_few_particles_are_refused_in_one_sentence(planted, tmp_path):
    uids = list(Store.open(planted.store).uids[:3])
    with pytest.raises(StateError, match="too few"):
        fit(planted.store, tmp_path / "out", FitSettings(network="never"), uids)
    assert not (tmp_path / "out").exists()


def test_a_network_that_adds_nothing_predicts_as_the_linear_model_does(
    planted, tmp_path, monkeypatch
):
    """After one short epoch the decoder is next to nothing, latents are the linear posterior's."""
    store = Store.open(planted.store)
    fit_linear(planted.store, tmp_path / "linear", LinearSettings(components=4, rounds=8))
    train_heterogeneous(planted.store, tmp_path / "network", SMALL, linear=tmp_path / "linear")
    found = compare(store, tmp_path / "linear", tmp_path / "network", torch.device("cpu"))
    # what is held out is mostly noise, and volumes explain some of the rest
    assert found.linear < found.mean
    assert abs(found.network - found.linear) < 0.4 * (found.mean - found.linear)
    monkeypatch.setattr(heldout, "_PARTICLES", 20)
    assert (
        compare(store, tmp_path / "linear", tmp_path / "network", torch.device("cpu")).particles
        == 20
    )


def turned_round(store: Path, out: Path) -> Store:
    """A copy of a store with the signs of the held-out tilts' coefficients turned round."""
    shutil.copytree(store, out)
    opened = Store.open(store)
    split = hold_out(
        list(opened.uids), opened.images_per_particle, SMALL.validation_fraction, SMALL.seed
    )
    packed = np.load(out / "coefficients.npy", mmap_mode="r+")
    for particle, tilts in enumerate(split.held_out):
        for image in opened.image_start[particle] + tilts:
            start = opened.starts[image]
            packed[start : start + opened.counts[image]] *= -1
    packed.flush()
    meta = {k: v for k, v in read_sealed_json(out / "store.json").items() if k != "checksums"}
    write_sealed_json(out / "store.json", meta)
    return Store.open(out)


def test_latents_that_predict_held_out_tilts_have_not_seen_them(planted, tmp_path, monkeypatch):
    """With the signs of the held-out tilts turned round in the store they stay as they were."""
    fit_linear(planted.store, tmp_path / "linear", LinearSettings(components=3, rounds=3))
    train_heterogeneous(planted.store, tmp_path / "network", SMALL, linear=tmp_path / "linear")
    latents = {"network": [], "linear": []}
    predict, posterior = HeterogeneousModel.predict, heldout._LinearError._posterior

    def by_network(self, target, z):
        latents["network"].append(z.clone())
        return predict(self, target, z)

    def by_linear(self, known):
        latents["linear"].append(z := posterior(self, known))
        return z

    monkeypatch.setattr(HeterogeneousModel, "predict", by_network)
    monkeypatch.setattr(heldout._LinearError, "_posterior", by_linear)
    noise = heldout._LinearError._noise_per_shell
    seen = {}

    def first_noise(self, store, device):  # an average over all tilts, which has to see them
        return seen.setdefault("noise", noise(self, store, device))

    monkeypatch.setattr(heldout._LinearError, "_noise_per_shell", first_noise)
    models = tmp_path / "linear", tmp_path / "network"
    store = Store.open(planted.store)
    before = compare(store, *models, torch.device("cpu"))
    turned = turned_round(planted.store, tmp_path / "turned")
    after = compare(turned, *models, torch.device("cpu"))
    assert after.network > 1.001 * before.network  # what is predicted has changed, though
    for found in latents.values():
        half = len(found) // 2
        assert half and torch.equal(torch.cat(found[:half]), torch.cat(found[half:]))


@pytest.mark.parametrize(
    ("network", "device", "expected"),
    [
        ("auto", "cpu", False),
        ("auto", "cuda", True),
        ("always", "cpu", True),
        ("never", "cuda", False),
    ],
)
def test_where_a_network_is_trained(network, device, expected):
    assert wants_network(FitSettings(network=network), torch.device(device)) is expected


def test_the_reason_follows_the_comparison():
    cpu, settings = torch.device("cpu"), FitSettings(network="always")
    better = Comparison(mean=1.0, linear=0.9, network=0.88, sigmas=5.0, particles=100)
    assert better.network_wins and better.gain == pytest.approx(0.2)
    assert "network was taken" in reason(settings, cpu, better)
    assert "20 %" in reason(settings, cpu, better)
    equal = Comparison(mean=1.0, linear=0.9, network=0.899, sigmas=0.4, particles=100)
    assert "no better beyond chance" in reason(settings, cpu, equal)
    worse = Comparison(mean=1.0, linear=0.9, network=0.95, sigmas=-9.0, particles=100)
    assert "predicts worse" in reason(settings, cpu, worse)
    assert not np.isfinite(Comparison(1.0, 1.1, 1.0, 0.0, 3).gain)
