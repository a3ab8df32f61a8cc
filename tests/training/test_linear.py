from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from tests.records import check_record
from tomopipe.config.linear import LinearSettings
from tomopipe.errors import StateError, TomopipeError
from tomopipe.models import load_model
from tomopipe.physics.fsc import correlation
from tomopipe.physics.grid import FourierGrid
from tomopipe.simulate.particles import true_volume
from tomopipe.training.em import Latents, expect, maximise
from tomopipe.training.linear import fit_linear, prepare_statistics
from tomopipe.training.statistics import Statistics

SETTINGS = LinearSettings(components=3, rounds=12)


@pytest.fixture(scope="module")
def good(tiny):
    return list(tiny.truth.index[~tiny.truth.junk])


@pytest.fixture(scope="module")
def fitted(tiny, good, tmp_path_factory):
    out = tmp_path_factory.mktemp("linear") / "linear"
    fit_linear(tiny.store_path, out, SETTINGS, uids=good)
    return out


def _latents(folder):
    table = pd.read_parquet(folder / "latents.parquet").set_index("uid")
    return table, table[["z0", "z1", "z2"]].to_numpy()


def test_two_states_are_two_clusters(tiny, fitted):
    table, z = _latents(fitted)
    labels = KMeans(2, n_init=10, random_state=0).fit_predict(z)
    assert adjusted_rand_score(tiny.truth.loc[table.index, "state"], labels) > 0.9


def test_first_component_is_the_missing_lobe(tiny, fitted):
    lobe = true_volume(tiny.settings, "whole") - true_volume(tiny.settings, "no_lobe")
    assert abs(correlation(load_model(fitted).components[0], lobe)) > 0.7


def test_volumes_at_the_states_are_the_states(tiny, fitted):
    table, z = _latents(fitted)
    model = load_model(fitted)
    state = tiny.truth.loc[table.index, "state"].to_numpy()
    for name in ("whole", "no_lobe"):
        mean = torch.from_numpy(z[state == name].mean(0, keepdims=True))
        assert correlation(model.volumes(mean)[0], true_volume(tiny.settings, name)) > 0.8


def test_posterior_is_that_of_the_dense_gaussian(tiny, good):
    """Against the textbook formula on explicit coefficients, no sparse statistics involved."""
    store = tiny.open(good[:4])
    grid = FourierGrid(store.box, 2)
    statistics, _ = prepare_statistics(store, grid, SETTINGS, "cpu")
    generator = torch.Generator().manual_seed(0)
    model = torch.view_as_complex(0.5 * torch.randn(grid.n, 3, 2, generator=generator))
    found = expect(statistics, model)
    batch = store.batch([2])
    voxel, mirrored = grid.nearest(batch.points())
    inside = voxel >= 0
    v = torch.where(mirrored[:, None], model[voxel].conj(), model[voxel])[inside]
    shell = grid.shell[voxel[inside]]
    cosine = torch.cos(torch.deg2rad(batch.tilt))[batch.coefficient_image]
    tau2 = statistics.noise[shell] / cosine[inside]
    transfer = (batch.ctf * batch.damage)[inside]
    design = torch.view_as_real(transfer[:, None] * v / tau2.sqrt()[:, None])  # (C, 3, 2)
    y = (batch.data[inside] / tau2.sqrt()[:, None]).double()
    design = design.movedim(1, 2).reshape(-1, 3).double()
    rest = y.reshape(-1) - design[:, 0]
    u = design[:, 1:]
    covariance = torch.linalg.inv(torch.eye(2).double() + u.T @ u)
    z = covariance @ u.T @ rest
    assert torch.allclose(found.mean[2].double(), z, rtol=1e-3, atol=1e-4)
    assert torch.allclose(found.covariance[2].double(), covariance, rtol=1e-3, atol=1e-7)
    error = ((rest - u @ z) ** 2).mean()
    assert float(found.error[2]) == pytest.approx(float(error), rel=1e-3)


def test_statistics_give_the_same_in_memory_packed_and_on_disk(tiny, good, tmp_path):
    store = tiny.open(good)
    grid = FourierGrid(store.box, 2)
    model = torch.randn(
        grid.n, 3, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)
    )
    exact = Statistics(store, grid, memory_gb=None, device="cpu")
    budget = 0.75 * exact.bytes(16) / 1e9
    packed = Statistics(store, grid, memory_gb=budget, device="cpu")
    spilled = Statistics(store, grid, memory_gb=1e-9, device="cpu", scratch=tmp_path)
    assert [(s.packed, s.spilled) for s in (exact, packed, spilled)] == [
        (False, False),
        (True, False),
        (True, True),
    ]
    assert not list(tmp_path.iterdir())  # the scratch file has no name: nothing is ever left
    found, half, disk = (expect(s, model) for s in (exact, packed, spilled))
    assert torch.equal(half.mean, disk.mean)
    spread = torch.sqrt(torch.diagonal(found.covariance, dim1=1, dim2=2))
    # float16 moves latents by far less than their own uncertainty
    assert ((half.mean - found.mean).abs() / spread).max() < 0.02
    sums = [s.sums() for s in (exact, spilled)]
    torch.testing.assert_close(sums[0], sums[1], rtol=1e-3, atol=1e-3 * float(sums[0].abs().max()))


def test_maximisation_solves_the_normal_equations(tiny, good):
    """Against a library's solver on sums made from dense matrices."""
    store = tiny.open(good[:6])
    grid = FourierGrid(store.box, 1)
    statistics = Statistics(store, grid, memory_gb=None, device="cpu")
    statistics.whiten(statistics.noise_per_shell())
    generator = torch.Generator().manual_seed(2)
    mean = torch.randn(6, 2, generator=generator)
    latents = Latents(mean, 0.1 * torch.eye(2).repeat(6, 1, 1), torch.zeros(6))
    precision = torch.rand(grid.n, 3, generator=generator) + 1e-3
    mask = torch.ones(store.box, store.box, store.box)
    found = maximise(statistics, latents, precision, mask)
    (chunk,) = statistics
    power, real, imaginary = (
        m.to_dense().double() * statistics.weight[:, None].double()
        for m in (chunk.power_t, chunk.real_t, chunk.imaginary_t)
    )
    z = torch.cat([torch.ones(6, 1), mean], 1).double()
    moment = z[:, :, None] * z[:, None]
    moment[:, 1:, 1:] += latents.covariance
    left = torch.einsum("vp,pij->vij", power, moment) + torch.diag_embed(precision.double())
    solved = torch.linalg.solve(left, torch.stack([real @ z, imaginary @ z], -1))
    expected = grid.to_fourier(grid.to_real(torch.view_as_complex(solved.contiguous()).cfloat()))
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_noise_and_sums_are_those_of_single_coefficients(tiny, good):
    """Residuals of a mean volume one by one, against what follows from the statistics."""
    store = tiny.open(good)
    grid = FourierGrid(store.box, 2)
    statistics = Statistics(store, grid, memory_gb=None, device="cpu")
    mean = torch.randn(grid.n, dtype=torch.complex64, generator=torch.Generator().manual_seed(4))
    batch = store.batch(np.arange(store.n_particles), inside=True)
    voxel, mirrored = grid.nearest(batch.points())
    inside = voxel >= 0
    y = torch.view_as_complex(batch.data)
    y = torch.where(mirrored, y.conj(), y)[inside]
    cosine = torch.cos(torch.deg2rad(batch.tilt))[batch.coefficient_image][inside]
    transfer, voxel = (batch.ctf * batch.damage)[inside], voxel[inside]
    for removed in (0 * mean, mean):
        square = (y - transfer * removed[voxel]).abs().square() * cosine
        found = statistics.noise_per_shell(removed)
        for shell in (1, 4, store.box // 2 - 1):
            expected = square[grid.shell[voxel] == shell].double().mean() / 2
            assert float(found[shell]) == pytest.approx(float(expected), rel=1e-4)
    assert torch.equal(statistics.noise_per_shell(), statistics.noise_per_shell(0 * mean))
    statistics.whiten(found)
    precision = cosine / found[grid.shell[voxel]]
    direct = torch.zeros(grid.n, dtype=torch.complex128).index_add_(
        0, voxel, (transfer * y * precision).to(torch.complex128)
    )
    sums = torch.view_as_complex(statistics.sums()[:, 1:].double().contiguous())
    assert float((sums - direct).abs().max()) < 1e-4 * float(direct.abs().max())


def test_too_small_a_disk_is_one_sentence(tiny, good, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tomopipe.io.space.shutil.disk_usage", lambda path: SimpleNamespace(free=1000)
    )
    settings = SETTINGS.model_copy(update={"memory_gb": 1e-9, "scratch": str(tmp_path)})
    with pytest.raises(StateError, match="set `scratch` to a folder with more space"):
        fit_linear(tiny.store_path, tmp_path / "out", settings, uids=good)


def test_fit_is_deterministic_and_ignores_the_order_of_uids(tiny, good, fitted, tmp_path):
    fit_linear(tiny.store_path, tmp_path / "again", SETTINGS, uids=good[::-1])
    first, again = (pd.read_parquet(d / "latents.parquet") for d in (fitted, tmp_path / "again"))
    pd.testing.assert_frame_equal(first, again)


def test_well_explained_particles_have_error_one(fitted):
    error = pd.read_parquet(fitted / "latents.parquet")["error"]
    assert 0.9 < error.median() < 1.1


def test_the_record_has_settings_and_version(fitted):
    check_record("linear", fitted, SETTINGS)


def test_latents_are_standardised_and_spectrum_falls(fitted):
    table, z = _latents(fitted)
    variance = z.var(0) + table[["cov_0_0", "cov_1_1", "cov_2_2"]].mean().to_numpy()
    assert np.allclose(variance, 1, atol=0.05)
    spectrum = pd.read_csv(fitted / "spectrum.csv")
    assert (spectrum["eigenvalue"].diff().dropna() <= 0).all()
    assert spectrum["fraction"].sum() == pytest.approx(1)


def test_too_few_particles_is_one_sentence(tiny, good, tmp_path):
    with pytest.raises(StateError, match="too few for 3 components"):
        fit_linear(tiny.store_path, tmp_path / "out", SETTINGS, uids=good[:3])
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_refused_before_the_work(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tomopipe.training.linear.prepare_statistics", None)  # the work
    (tmp_path / "out").write_text("mine")
    with pytest.raises(TomopipeError):
        fit_linear(tiny.store_path, tmp_path / "out", SETTINGS)
    assert (tmp_path / "out").read_text() == "mine"
