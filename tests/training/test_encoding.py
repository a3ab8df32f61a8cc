"""The table of what images add to their particles' posteriors, and what is looked at of a store."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tomopipe.config.linear import LinearSettings
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.dataset.reader import Reader
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.reconstruct.backproject import batches, open_on
from tomopipe.training import heldout, statistics
from tomopipe.training.encoding import Encoding
from tomopipe.training.heldout import compare
from tomopipe.training.inference import held_out_error
from tomopipe.training.linear import fit_linear
from tomopipe.training.neural import train_heterogeneous
from tomopipe.training.splits import hold_out

SMALL = HeterogeneousSettings(
    zdim=3, epochs=1, batch=4, hidden=16, layers=1, encoder_hidden=16, encoder_radius=4
).model_copy(update={"device": "cpu", "dtype": "float32"})


@pytest.fixture
def store(make_store):
    return make_store(["body", "whole"] * 4, [5, 3, 6, 4] * 2, noise=60.0)


def model_with(store, directions: int) -> HeterogeneousModel:
    torch.manual_seed(0)
    volumes = torch.randn(directions + 1, store.box, store.box, store.box)
    fixed = FixedVolumes(volumes[0], volumes[1:])
    model = HeterogeneousModel(
        SMALL, box=store.box, pixel_size=store.pixel_size, scale=1.0, fixed=fixed
    )
    model.encoder.adopt(fixed.basis)
    torch.nn.init.normal_(model.encoder.network.last.weight)
    return model.eval()


@pytest.mark.parametrize(("directions", "columns"), [(2, 5), (3, 9)])
def test_the_table_holds_the_components_of_the_linear_model_alone(store, directions, columns):
    """16 have places, most of which are empty; what is left out of the sums is exactly 0."""
    model = model_with(store, directions)
    encoding = Encoding(model, Reader(store))
    everything = np.arange(store.n_particles)
    tilts = [np.arange(n) for n in store.images_per_particle]
    with torch.no_grad():
        found = encoding(everything, tilts)
        rows = model.encoder.image_sums(store.batch(everything), model.fixed, damage=True)
        whole = torch.stack([rows[a:b].sum(0) for a, b in zip(*ends(store), strict=True)])
        expected = model.encoder.from_sums(whole)
    assert encoding._images.shape == (store.n_images, columns) and whole.shape[1] == 16 * 19 // 2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.encoder._all_sums(whole[:, model.encoder.places_kept()]), whole)


def ends(store):
    return store.image_start[:-1], store.image_start[1:]


def test_a_subspace_without_zeros_is_kept_whole(store):
    model = model_with(store, 2)
    torch.nn.init.normal_(model.encoder.subspace.components)
    assert torch.equal(model.encoder.places_kept(), torch.arange(16 * 19 // 2))


def test_errors_of_some_particles_are_those_of_all_in_their_order(store):
    model, reader = model_with(store, 2), Reader(store)
    split = hold_out(list(store.uids), store.images_per_particle, 0.2, 0)
    some = np.array([6, 1, 3])  # 1 has three tilts, of which none is held out
    whole, part = (held_out_error(model, reader, split, p) for p in (None, some))
    assert part.error.shape == (3, store.box // 2)
    assert float(part.count[1].sum()) == 0 < float(part.count[0].sum())
    torch.testing.assert_close(part.error, whole.error[some], rtol=1e-4, atol=0)
    assert torch.equal(part.count, whole.count[some])


def test_models_are_compared_on_the_particles_looked_at_alone(store, tmp_path, monkeypatch):
    """No table of the others is made, and it does not matter in which view these stand."""
    fit_linear(store.path, tmp_path / "linear", LinearSettings(components=2, rounds=2))
    train_heterogeneous(store.path, tmp_path / "network", SMALL, linear=tmp_path / "linear")
    models = tmp_path / "linear", tmp_path / "network"
    monkeypatch.setattr(heldout, "_PARTICLES", 3)
    views = []
    error = heldout.held_out_error

    def noted(model, reader, *rest):
        views.append(reader.store)
        return error(model, reader, *rest)

    noise = heldout._LinearError._noise_per_shell  # the noise is that of all particles
    whole = {}
    monkeypatch.setattr(
        heldout._LinearError,
        "_noise_per_shell",
        lambda *args: whole.setdefault("noise", noise(*args)),
    )
    monkeypatch.setattr(heldout, "held_out_error", noted)
    found = compare(store, *models, torch.device("cpu"))
    (view,) = views
    assert found.particles == view.n_particles == 3
    again = compare(store.subset(list(view.uids)), *models, torch.device("cpu"))
    assert (again.mean, again.linear, again.network) == pytest.approx(
        (found.mean, found.linear, found.network)
    )


def test_statistics_are_read_with_one_reader(store, tmp_path, monkeypatch):
    """On a GPU a reader has tables of all images: one for every chunk would take quadratic time."""
    monkeypatch.setattr(statistics, "_SMALLEST", 1)
    monkeypatch.setattr(statistics, "_LARGEST", 1)
    opened, read = [], []
    monkeypatch.setattr(
        statistics, "open_on", lambda *args: opened.append(open_on(*args)) or opened[-1]
    )
    monkeypatch.setattr(statistics, "batches", lambda *args: read.append(args[2]) or batches(*args))
    fit_linear(store.path, tmp_path / "linear", LinearSettings(components=2, rounds=1))
    assert len(read) == store.n_particles
    assert len(opened) == 1 and all(reader is opened[0] for reader in read)
