"""What training must find, on particles whose truth is known."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from tests.records import check_record
from tomopipe.analysis.convergence import assess
from tomopipe.config.analysis import ConvergenceSettings
from tomopipe.config.linear import LinearSettings
from tomopipe.config.training import HeterogeneousSettings, HomogeneousSettings
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_parquet
from tomopipe.io.mrc import read_volume, write_volume
from tomopipe.models import load_model
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.physics.fsc import correlation, fsc
from tomopipe.training import neural
from tomopipe.training.inference import embed
from tomopipe.training.linear import fit_linear
from tomopipe.training.neural import train_heterogeneous, train_homogeneous

QUICK = {"hidden": 64, "layers": 2, "dtype": "float32", "device": "cpu", "fraction": 1.0}


def latents(out) -> tuple[np.ndarray, np.ndarray]:
    table = read_parquet(out / "latents.parquet")
    names = [c for c in table if c.startswith("z")]
    return table[names].to_numpy(), table["error"].to_numpy()


def test_homogeneous_network_reproduces_the_map(make_store, states, tmp_path):
    store = make_store(["whole"] * 30, [6] * 30)
    settings = HomogeneousSettings(epochs=40, batch=2, learning_rate=3e-3, **QUICK)
    rough = states["body"].volume(16).roll(2, 1)  # only its amplitudes are used
    write_volume(tmp_path / "map.mrc", rough.numpy(), 10.0)
    train_homogeneous(store.path, tmp_path / "out", settings, consensus=tmp_path / "map.mrc")
    check_record("homogeneous", tmp_path / "out", settings)
    volume, pixel_size = read_volume(tmp_path / "out" / "map.mrc")
    truth = states["whole"].volume(16)
    assert pixel_size == pytest.approx(10.0)
    curve = fsc(torch.from_numpy(volume), truth)
    assert (curve[:4] > 0.97).all(), curve
    assert curve[4] > 0.9, curve  # a ten-thousandth of the first shell's power
    # scale and sign: the network's map in the data's own units, not only up to a factor
    slope = float((torch.from_numpy(volume) * truth).sum() / truth.square().sum())
    assert slope == pytest.approx(1.0, abs=0.15)
    mirrored = torch.from_numpy(volume).flip(0).roll(1, 0)
    assert correlation(torch.from_numpy(volume), truth) > correlation(mirrored, truth) + 0.1
    assert load_model(tmp_path / "out").volumes(torch.zeros(1, 0)).shape == (1, 16, 16, 16)


@pytest.fixture
def two_states(make_store):
    return two(make_store, 150.0)


def two(make_store, noise: float):
    names = ["body", "whole"] * 30
    rng = np.random.default_rng(1)
    return names, make_store(names, rng.integers(4, 9, size=60).tolist(), noise=noise)


@pytest.mark.parametrize(("encoder", "noise"), [("volume", 150.0), ("tilts", 40.0)])
def test_two_states_are_told_apart(make_store, states, tmp_path, encoder, noise):
    names, store = two(make_store, noise)
    settings = HeterogeneousSettings(
        zdim=2,
        epochs=20 if encoder == "volume" else 30,
        batch=4,
        learning_rate=3e-3,
        encoder=encoder,
        encoder_hidden=64,
        encoder_layers=1,
        encoder_radius=5,
        **QUICK,
    )
    consensus = (states["body"].volume(16) + states["whole"].volume(16)) / 2
    write_volume(tmp_path / "consensus" / "map.mrc", consensus.numpy(), 10.0)
    out = tmp_path / "out"
    train_heterogeneous(store.path, out, settings, consensus=tmp_path / "consensus")
    z, error = latents(out)
    labels = KMeans(2, n_init=5, random_state=0).fit_predict(z)
    assert adjusted_rand_score(names, labels) > 0.9
    assert np.isfinite(error).all()
    assert error.mean() == pytest.approx(1.0, abs=0.05)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows] == list(range(1, settings.epochs + 1))
    assert rows[-1]["validation"] < rows[0]["validation"]
    assert rows[0]["latent_shift"] is None
    if encoder == "volume":
        check_volumes(out, np.array(names), z, states)


def check_volumes(out, names, z, states) -> None:
    model = HeterogeneousModel.load(out)
    body, whole = (z[names == n].mean(0) for n in ("body", "whole"))
    difference = model.volumes(torch.tensor(np.stack([body, whole]), dtype=torch.float32))
    change = difference[1] - difference[0]
    truth = states["whole"].volume(16) - states["body"].volume(16)
    assert correlation(change, truth) > 0.7
    early = HeterogeneousModel.load(out, epoch=1)
    last = HeterogeneousModel.load(out, epoch=read_json(out / "config.json")["epochs_done"])
    at = torch.tensor(whole[None], dtype=torch.float32)
    torch.testing.assert_close(last.volumes(at), model.volumes(at))
    assert not torch.allclose(early.volumes(at), model.volumes(at))


@pytest.mark.parametrize("encoder", ["volume", "tilts"])
def test_linear_model_is_where_it_begins(make_store, tmp_path, encoder):
    """With the linear model's latents to begin with, one epoch suffices."""
    names, store = two(make_store, 80.0)
    fit_linear(store.path, tmp_path / "linear", LinearSettings(components=2, rounds=15))
    linear = read_parquet(tmp_path / "linear" / "latents.parquet")
    settings = HeterogeneousSettings(
        zdim=3, epochs=1, encoder=encoder, linear_epochs=60, encoder_radius=5, **QUICK
    )
    out = tmp_path / "out"
    train_heterogeneous(store.path, out, settings, linear=tmp_path / "linear")
    z, _ = latents(out)
    labels = KMeans(2, n_init=5, random_state=0).fit_predict(z)
    if encoder == "volume":
        assert adjusted_rand_score(names, labels) > 0.9
    design = np.column_stack([z, np.ones(len(z))])
    fit, *_ = np.linalg.lstsq(design, linear["z0"], rcond=None)
    assert np.corrcoef(design @ fit, linear["z0"])[0, 1] > 0.9
    assert len(HeterogeneousModel.load(out).fixed.basis) == 2


def test_reference_model_trains_with_uneven_tilts(two_states, tmp_path):
    _, store = two_states
    settings = HeterogeneousSettings.reference(
        zdim=4, epochs=1, encoder_hidden=32, tilt_features=16, **(QUICK | {"hidden": 32})
    )
    train_heterogeneous(store.path, tmp_path / "out", settings)
    config = read_json(tmp_path / "out" / "config.json")
    assert config["tilts"] == 3  # the fewest tilts, less the one held out
    z, _ = latents(tmp_path / "out")
    assert z.shape == (60, 4)


def test_only_the_last_decoders_are_kept(two_states, tmp_path):
    _, store = two_states
    settings = HeterogeneousSettings(
        zdim=2, epochs=4, snapshot_weights=2, tensorboard=True, encoder_radius=4, **QUICK
    )
    train_heterogeneous(store.path, tmp_path / "out", settings, uids=list(store.uids[:12]))
    check_record("heterogeneous", tmp_path / "out", settings)
    kept = sorted(p.name for p in (tmp_path / "out" / "snapshots").iterdir())
    assert [k for k in kept if k.startswith("decoder")] == [
        "decoder_003.safetensors",
        "decoder_004.safetensors",
    ]
    assert len([k for k in kept if k.startswith("epoch")]) == 4
    # the state is gone, TensorBoard's curves are not
    assert not (tmp_path / "out.state").exists()
    assert any((tmp_path / "out" / "tensorboard").iterdir())
    with pytest.raises(StateError, match="decoder_001"):
        HeterogeneousModel.load(tmp_path / "out", epoch=1)


def test_stops_when_converged(two_states, tmp_path, monkeypatch):
    _, store = two_states
    monkeypatch.setattr("tomopipe.training.neural.should_stop", lambda rows, rule: len(rows) == 2)
    settings = HeterogeneousSettings(zdim=2, epochs=9, stop="converged", **QUICK)
    train_heterogeneous(store.path, tmp_path / "out", settings, uids=list(store.uids[:8]))
    assert read_json(tmp_path / "out" / "config.json")["epochs_done"] == 2


def test_particles_that_show_something_else_have_the_largest_error(make_store, states, tmp_path):
    """Of the same power, with random phases. Of three tilts none is held out to judge by."""
    tilts = np.random.default_rng(1).integers(4, 9, size=60)
    wrong, few = [3, 21, 22, 40, 59], 7
    tilts[few] = 3
    store = make_store(["body", "whole"] * 30, tilts.tolist(), noise=10.0)
    packed = np.load(store.path / "coefficients.npy", mmap_mode="r+")
    theirs = np.repeat(np.isin(np.arange(60), wrong), tilts * store.n_lattice)
    values = packed[theirs].astype(np.float32).view(np.complex64)
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, size=values.shape)
    packed[theirs] = (values * np.exp(1j * phase)).astype(np.complex64).view(np.float32)
    packed.flush()
    consensus = (states["body"].volume(16) + states["whole"].volume(16)) / 2
    write_volume(tmp_path / "consensus" / "map.mrc", consensus.numpy(), 10.0)
    settings = HeterogeneousSettings(zdim=2, epochs=1, encoder_radius=5, **QUICK)
    train_heterogeneous(store.path, tmp_path / "out", settings, consensus=tmp_path / "consensus")
    _, error = latents(tmp_path / "out")
    assert np.isnan(error[few])
    others = np.delete(error, [few, *wrong])
    assert np.isfinite(others).all()
    assert error[wrong].min() > 1.5 * np.percentile(others, 95)


def test_consensus_of_another_box_is_refused(two_states, tmp_path):
    _, store = two_states
    write_volume(tmp_path / "map.mrc", np.zeros((12, 12, 12), np.float32), 10.0)
    with pytest.raises(StateError, match="box 12"):
        train_heterogeneous(store.path, tmp_path / "out", consensus=tmp_path / "map.mrc")


def test_latents_are_no_random_draw_and_a_trained_run_is_judged(two_states, tmp_path):
    """Latents are posterior means of all tilts, whoever else is there; convergence reads the run.

    tomoDRGN's latents are one random draw; cryoDRGN's convergence crashes on what it trained.
    """
    _, store = two_states
    out = tmp_path / "out"
    settings = HeterogeneousSettings(zdim=2, epochs=3, encoder_radius=4, **QUICK)
    some = store.subset(list(store.uids[:12]))
    train_heterogeneous(store.path, out, settings, uids=list(some.uids))
    model, cpu = HeterogeneousModel.load(out).eval(), torch.device("cpu")
    z, _ = latents(out)
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.testing.assert_allclose(embed(model, some, cpu)[0], z, atol=1e-5)
    few = some.subset(list(some.uids[[9, 2, 5]]))
    np.testing.assert_allclose(embed(model, few, cpu)[0], z[[2, 5, 9]], atol=1e-5)
    verdict = assess(out, tmp_path / "convergence", ConvergenceSettings(landmarks=2))
    found = read_json(tmp_path / "convergence" / "convergence.json")
    assert found["status"] == verdict["status"] == "not yet"
    assert found["curves"]["epoch"] == [1, 2, 3]
    assert found["curves"]["volume_epoch"] == [2, 3]


def test_a_folder_that_is_no_state_is_not_removed(two_states, tmp_path):
    _, store = two_states
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(StateError, match="is not empty and no training state"):
        train_heterogeneous(store.path, tmp_path / "out", state=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()
    with pytest.raises(StateError, match=r"thesis\.txt is a file"):  # before hours of training
        train_heterogeneous(store.path, tmp_path / "mine" / "thesis.txt")


def test_how_a_run_is_carried_out_does_not_change_it(two_states, tmp_path, monkeypatch):
    """Same seed, same numbers: again, with the store in memory, and drawn ahead in a thread."""
    _, store = two_states
    uids = list(store.uids[:12])
    settings = HeterogeneousSettings(zdim=2, epochs=2, batch=5, encoder_radius=4, **QUICK)
    found, make = [], neural._run
    for name, changes in {"a": {}, "b": {}, "memory": {"memory_gb": 1.0}, "ahead": {}}.items():
        if name == "ahead":  # what a GPU gets
            monkeypatch.setattr(neural, "_run", lambda *args: replace(make(*args), ahead=True))
        train_heterogeneous(
            store.path, tmp_path / name, settings.model_copy(update=changes), uids=uids
        )
        found.append(latents(tmp_path / name))
    for z, error in found[1:]:
        assert np.array_equal(z, found[0][0])
        assert np.array_equal(error, found[0][1])


def test_embedding_is_the_encoder_on_all_tilts(two_states):
    """From sums made once for each image, as from every coefficient of the particle together."""
    _, store = two_states
    few = store.subset(list(store.uids[:9]))
    for changes in ({}, {"encoder": "tilts"}):
        settings = HeterogeneousSettings(zdim=2, encoder_radius=5, **QUICK, **changes)
        torch.manual_seed(0)
        model = HeterogeneousModel(settings, box=16, pixel_size=10.0, scale=1.0).eval()
        if not changes:
            torch.nn.init.normal_(model.encoder.subspace.components)
            torch.nn.init.normal_(model.encoder.network.last.weight)
        z, spread = embed(model, few, torch.device("cpu"))
        with torch.no_grad():
            mean, log_variance = model.encode(few.batch(np.arange(9)))
        np.testing.assert_allclose(z, mean, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(spread, (0.5 * log_variance).exp(), atol=1e-4, rtol=1e-4)


def test_tables_are_made_again_for_another_subspace(two_states):
    """Parts of any size give the same, and none are taken over from another model."""
    _, store = two_states
    few = store.subset(list(store.uids[:6]))
    model = HeterogeneousModel(
        HeterogeneousSettings(zdim=2, **QUICK), box=16, pixel_size=10.0, scale=1.0
    ).eval()
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        torch.nn.init.normal_(model.encoder.subspace.components)
        found.append(embed(model, few, torch.device("cpu"))[0])
    assert not np.allclose(*found)


SCRIPT = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tomopipe.config.linear import LinearSettings
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.training.linear import fit_linear
from tomopipe.training.neural import train_heterogeneous
settings = HeterogeneousSettings.model_validate_json(sys.argv[3])
train_heterogeneous(Path(sys.argv[1]), Path(sys.argv[2]), settings)
"""


def test_two_processes_train_like_one(make_store, tmp_path):
    store = make_store(["body", "whole"] * 4, [6] * 8, noise=50.0)
    settings = HeterogeneousSettings(
        zdim=2, epochs=2, batch=4, encoder_radius=4, **QUICK | {"fraction": 0.5}
    )
    out = tmp_path / "two"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SCRIPT, str(store.path), str(out), settings.model_dump_json()]
    shared = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(command, env=shared | {"RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in processes:
        _, message = process.communicate(timeout=120)
        assert process.returncode == 0, message.decode()[-2000:]
    train_heterogeneous(store.path, tmp_path / "one", settings)
    rows = [
        [json.loads(line) for line in (d / "metrics.jsonl").read_text().splitlines()]
        for d in (tmp_path / "one", out)
    ]
    for a, b in zip(*rows, strict=True):  # every draw belongs to a particle, not to a process
        for name in ("loss", "kl", "validation"):
            assert a[name] == pytest.approx(b[name], rel=1e-3)
    np.testing.assert_allclose(latents(out)[0], latents(tmp_path / "one")[0], atol=2e-3)
