"""The falloff of the signal, measured in images that were made with a known one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import check_grad

from tomopipe.config.extract import ExtractSettings
from tomopipe.config.prepare import PrepareSettings
from tomopipe.config.simulate import SimulateSettings
from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import Store
from tomopipe.extract.extract import extract
from tomopipe.extract.particles import read_particles
from tomopipe.extract.series import series_of
from tomopipe.io.atomic import read_json
from tomopipe.models.mean import FixedVolumes
from tomopipe.reconstruct import falloff as module
from tomopipe.reconstruct.backproject import accumulate
from tomopipe.reconstruct.factors import Estimate, Groups, _Fit, significant_factors
from tomopipe.reconstruct.falloff import Falloff, measure_falloff
from tomopipe.reconstruct.half_maps import half_maps
from tomopipe.reconstruct.match import Match, _agreeing
from tomopipe.simulate.particles import simulate_particles
from tomopipe.simulate.phantom import complex_in_state
from tomopipe.simulate.tilt_series import simulate_tilt_series

THICKNESS, DOSE = 0.8, 120.0  # of 1 / cos - 1; Å² per e/Å²
BFACTORS = np.array([-3000.0, 0.0, 4000.0])  # of the three tomograms, Å²


class Images:
    """100 particles with up to 13 tilts of ±60° in three tomograms; images as one likes them."""

    def __init__(self, folder: Path, box: int = 24) -> None:
        settings = SimulateSettings(
            particles=100,
            box=box,
            pixel_size_angstrom=312 / box,
            tilts=13,
            min_tilts=9,
            tilt_step_degrees=10.0,
            tomograms=3,
            seed=1,
        )
        simulate_particles(settings, folder / "raw")
        import_star(folder / "raw" / "particles.star", folder / "dataset")
        prepare(folder / "dataset", folder / "store", PrepareSettings(workers=1))
        self.dataset, self.folder = folder / "dataset", folder
        self.store = store = Store.open(folder / "store")
        batch = store.batch(np.arange(store.n_particles))
        points = batch.points().double() / store.pixel_size
        phantom = complex_in_state("whole").transform(points)
        # closed forms, no maps
        signal = phantom * batch.ctf * batch.damage / store.scale
        self.signal, self.squared = torch.view_as_real(signal), points.square().sum(1)
        self.image, self.particle = batch.coefficient_image, batch.coefficient_particle()
        self.group = np.unique(store.tomograms, return_inverse=True)[1]

    def falloff(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and B-factor of each image."""
        tilt = np.deg2rad(self.store.images["tilt_degrees"].to_numpy())
        group = np.repeat(self.group, self.store.images_per_particle)
        bfactor = DOSE * self.store.images["dose_e_per_A2"].to_numpy() + BFACTORS[group]
        return np.exp(-THICKNESS * (1 / np.cos(tilt) - 1)), bfactor

    def made(self, seed, scale=1.0, bfactor=0.0, empty=(), noise=1.0) -> Store:
        """A store of images signal x factor + noise, without signal in the particles `empty`."""
        n = self.store.n_images
        scale, bfactor = (torch.tensor(np.broadcast_to(v, n)) for v in (scale, bfactor))
        factor = scale[self.image] * torch.exp(-bfactor[self.image] * self.squared / 4)
        factor[torch.isin(self.particle, torch.tensor(empty))] = 0
        draw = torch.randn(self.signal.shape, generator=torch.Generator().manual_seed(seed))
        folder = self.folder / f"made_{seed}"
        folder.mkdir(exist_ok=True)
        data = self.signal * factor[:, None] + noise * draw
        np.save(folder / "coefficients.npy", data.numpy().astype(np.float16))
        images = self.store.images.drop(columns="crc32")
        return Store(folder, self.store.meta, self.store.particles, images)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    return Images(tmp_path_factory.mktemp("falloff"))


def test_known_falloff_is_found_within_its_errors(images):
    off = []
    for seed in range(6):
        found = measure_falloff(images.made(seed, *images.falloff()))
        off.append((found.thickness.value - THICKNESS) / found.thickness.error)
        off.append((found.dose.value - DOSE) / found.dose.error)
        table = found.tomograms
        difference = np.diff(table["bfactor_A2"]) - np.diff(BFACTORS)
        square = table["error"].to_numpy() ** 2
        off += list(difference / np.sqrt(square[1:] + square[:-1]))
        for estimate in (found.thickness, found.dose):
            assert 0 < estimate.used < estimate.value
            assert estimate.error < 0.25 * estimate.value
    assert np.abs(off).max() < 4
    assert 0.5 < np.sqrt(np.mean(np.square(off))) < 1.5


@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_nothing_is_found_where_there_is_nothing(images, noise):
    found = [measure_falloff(images.made(seed, noise=noise)) for seed in range(6)]
    for one in found:
        columns = one.columns(images.store.images, images.store.image_tomograms)
        assert (columns["falloff_scale"] == 1).all()
        assert (columns["falloff_bfactor_A2"] == 0).all()
        assert one.resolution_angstrom < 60


def test_tomograms_of_few_particles_are_told_apart_by_nothing(images):
    """The scatter of two or three particles is no error to go by."""
    for seed, few in ((0, 2), (1, 3), (2, 5)):
        store = images.made(seed)
        names = [f"t{i // few}" for i in range(store.n_particles)]
        particles = store.particles.assign(tomogram=names)
        found = measure_falloff(Store(store.path, store.meta, particles, store.images))
        assert not found.tomograms["used"].any()
        known = found.tomograms["bfactor_A2"] / found.tomograms["error"]
        assert few == 2 or 0.5 < known.std() < 1.3


def test_too_few_particles_are_not_measured(images):
    store = images.made(0).subset(list(images.store.uids[:19]))
    found = measure_falloff(store)
    assert found.resolution_angstrom is None
    assert "fewer than 10 particles" in found.reason


def test_frequencies_beyond_the_measured_ones_spoil_nothing(tmp_path):
    """Pixels half as large: the last shells hold noise alone, and most of the coefficients."""
    images = Images(tmp_path, box=48)
    store = images.made(1, *images.falloff())
    found = measure_falloff(store)
    assert found.resolution_angstrom > 4 * 6.5
    assert abs(found.thickness.value - THICKNESS) < 4 * found.thickness.error < 0.3
    assert abs(found.dose.value - DOSE) < 4 * found.dose.error < 60
    np.testing.assert_allclose(np.diff(found.tomograms["bfactor_A2"]), np.diff(BFACTORS), rtol=0.2)
    shown = store.with_columns(found.columns(store.images, store.image_tomograms))
    plain, better = (half_maps(one).fsc_masked.sum() for one in (store, shown))
    assert better > plain + 0.2


def test_false_picks_in_tilted_tomograms_are_no_falloff(images):
    """Where tomograms with false picks are those of steep tilts, these must not take the blame."""
    store = images.store
    group = np.arange(store.n_particles) % 6
    empty = np.flatnonzero((group < 2) & (np.arange(store.n_particles) % 4 > 0))
    named = store.particles.assign(tomogram=[f"t{g}" for g in group])
    steep = np.repeat(group < 2, store.images_per_particle)
    tilt = np.where(steep, 1.0, 1 / 3) * store.images["tilt_degrees"]
    for seed in range(3):
        made = images.made(seed, empty=empty)
        # nothing in the images depends on what the table says of the tilt
        shown = made.with_columns({"tilt_degrees": tilt})
        found = measure_falloff(Store(made.path, made.meta, named, shown.images))
        assert (found.thickness, found.dose) == (None, None)
        assert not found.tomograms["used"].any()


def test_what_is_the_same_within_each_tomogram_is_not_told_from_it(images):
    store = images.made(0)
    group = np.repeat(images.group, store.images_per_particle)
    store = store.with_columns({"tilt_degrees": np.array([0.0, 30.0, 60.0])[group]})
    assert measure_falloff(store).thickness is None


def test_factors_stay_within_bounds(images):
    one = Estimate(np.float64(9.0), np.float64(0.1), np.float64(9.0))
    table = pd.DataFrame({"used": [-3e5, 0.0, 3e5]}, index=["tomo_001", "tomo_002", "tomo_003"])
    found = Falloff(thickness=one, dose=one, tomograms=table, resolution_angstrom=30.0)
    columns = found.columns(images.store.images, images.store.image_tomograms)
    last = columns["falloff_scale"] * np.exp(-columns["falloff_bfactor_A2"] / 4 / 30**2)
    for factor in (columns["falloff_scale"], last):
        assert factor.min() >= 0.0099
        assert factor.max() <= 10.1


def test_shells_are_the_first_ones_that_agree():
    assert _agreeing(np.array([0.1, 0.9, 0.5, 0.1, 0.9])) == (2, 4)
    assert _agreeing(np.array([0.9, 0.5])) == (1, 3)
    assert _agreeing(np.array([0.1, 0.0])) == (1, 1)


def test_noise_alone_says_nothing(images):
    empty = range(images.store.n_particles)
    found = measure_falloff(images.made(0, empty=empty))
    assert (found.thickness, found.dose, found.tomograms) == (None, None, None)
    assert found.reason == "the half-maps agree in too few shells"


def test_false_picks_are_no_falloff(images):
    """A tomogram of three false picks in four has a quarter of the signal, at all frequencies."""
    last = np.flatnonzero(images.group == 2)
    empty = last[: 3 * len(last) // 4]
    for seed in range(3):
        found = measure_falloff(images.made(seed, empty=empty))
        assert found.thickness is None
        assert found.dose is None
        assert not found.tomograms["used"].any()


def test_columns_are_the_formula_up_to_the_level(images):
    found = measure_falloff(images.made(0, *images.falloff()))
    table = images.store.images
    columns = found.columns(table, images.store.image_tomograms)
    cosine = np.cos(np.deg2rad(table["tilt_degrees"].to_numpy()))
    scale = np.exp(-found.thickness.used * (1 / cosine - 1)) / found.level[0]
    np.testing.assert_allclose(columns["falloff_scale"], scale, atol=1e-4)
    bfactor = found.tomograms["used"].loc[images.store.image_tomograms].to_numpy()
    bfactor = bfactor + found.dose.used * table["dose_e_per_A2"].to_numpy() - found.level[1]
    np.testing.assert_allclose(columns["falloff_bfactor_A2"], bfactor, atol=0.1)
    assert (columns["falloff_angstrom"] == found.resolution_angstrom).all()


def test_images_are_predicted_on_the_scale_of_their_map(images):
    """What is usual counts as 1: a map and its falloff together predict the images' signal."""
    store = images.made(0, *images.falloff(), noise=0.3)
    found = measure_falloff(store)
    shown = store.with_columns(found.columns(store.images, store.image_tomograms))
    volume = accumulate(shown, np.arange(store.n_particles)).volume()
    batch = shown.batch(np.arange(store.n_particles))
    fixed = FixedVolumes(volume, torch.zeros(0, *volume.shape))
    predicted = (batch.ctf * batch.damage)[:, None] * fixed(batch.points())
    gain = (predicted * batch.data).sum() / predicted.square().sum()
    assert gain == pytest.approx(1, abs=0.1)


def test_maps_agree_better_and_need_no_cosine(images):
    gained = []
    for seed in (1, 2, 3):
        store = images.made(seed, *images.falloff())
        found = measure_falloff(store)
        shown = store.with_columns(found.columns(store.images, store.image_tomograms))
        plain, better = (half_maps(one).fsc.numpy()[5:9] for one in (store, shown))
        gained.append((better - plain).mean())
    assert min(gained) > 0
    assert np.mean(gained) > 0.015
    batch = shown.batch([0])
    assert torch.equal(batch.noise_precision(), 1 / batch.noise)


def test_what_falls_is_the_signal_and_nothing_else(images):
    store = images.store
    scale, bfactor = images.falloff()
    columns = {"falloff_scale": scale, "falloff_bfactor_A2": bfactor}
    shown = store.with_columns({**columns, "falloff_angstrom": np.full(len(scale), 30.0)})
    one, other = (s.batch(np.arange(5), inside=True) for s in (store, shown))
    squared = one.points().double().square().sum(1) / store.pixel_size**2
    squared = squared.clamp(max=30.0**-2)  # it stays beyond where it was measured
    factor = torch.from_numpy(scale)[one.images[one.coefficient_image]] * torch.exp(
        -torch.from_numpy(bfactor)[one.images[one.coefficient_image]] * squared / 4
    )
    torch.testing.assert_close(other.ctf.double(), one.ctf * factor, rtol=1e-4, atol=1e-6)
    for name in ("data", "noise", "damage", "weight"):
        assert torch.equal(getattr(other, name), getattr(one, name))
    assert one.falloff is None
    some = torch.rand(len(one.ctf)) < 0.5
    assert torch.equal(other.where(some).falloff, other.falloff[some])
    a, b = other.map_weights()
    signal = other.ctf * other.damage
    torch.testing.assert_close(a, signal / other.noise)
    # weak images count less, and nothing makes up for their weakness
    torch.testing.assert_close(b, a * one.ctf * one.damage, rtol=1e-4, atol=1e-6)
    assert all(map(torch.equal, one.map_weights(), one.back_projection()))


def test_slopes_and_a_shared_optimum():
    """Gradients against differences; factors without noise are found exactly."""
    rng = np.random.default_rng(0)
    shells = np.linspace(0.1, 1, 6)
    particle = np.repeat(np.arange(12), 5)
    group = np.arange(12) % 3
    x = rng.random(60)
    model = rng.uniform(200, 400, (60, 6))
    truth = np.exp(
        -0.5 * x[:, None] - np.array([0.0, 0.3, -0.6])[group][particle][:, None] * shells
    )
    match = Match(model * truth, model, shells)
    terms = {"thickness": (x, np.ones(6)), "dose": (rng.random(60), shells)}
    groups = Groups(particle, group, shells)
    fit = _Fit(match, terms, groups)
    point = rng.normal(0, 0.3, 8)
    error = check_grad(lambda p: fit._loss(p)[0], lambda p: fit._loss(p)[1], point)
    assert error < 1e-3 * np.linalg.norm(fit._loss(point)[1])
    value, _ = fit.shared()
    np.testing.assert_allclose(value, [0.5, 0], atol=0.01)
    np.testing.assert_allclose(np.diff(fit.groups()[0]), [0.3, -0.9], atol=0.01)


def test_a_group_of_one_particle_has_a_large_error():
    rng = np.random.default_rng(1)
    shells = np.linspace(0.1, 1, 6)
    particle, group = np.repeat(np.arange(21), 4), np.r_[np.repeat([0, 1], 10), 2]
    factor = np.exp(-np.array([1.0, -1.0, 1.0])[group][particle][:, None] * shells)
    model = np.full((84, 6), 100.0)
    match = Match(model * factor + rng.normal(0, 10, model.shape), model, shells)
    _, found = significant_factors(match, {}, Groups(particle, group, shells))
    assert found.error[2] > 3 * found.error[0]
    assert abs(found.used[2] - found.used[0]) < 3 * found.error[2]
    assert found.used[0] - found.used[1] == pytest.approx(2, abs=0.1)


def test_large_sets_are_measured_in_part(images, monkeypatch):
    monkeypatch.setattr(module, "MOST_IMAGES", images.store.n_images // 2)
    some = module._some(images.store)
    assert images.store.n_images * 0.45 < some.n_images <= images.store.n_images // 2
    assert list(some.uids) == list(module._some(images.store).uids)
    whole = images.store.particles.groupby("tomogram").size()
    part = some.particles.groupby("tomogram").size()
    assert part.max() - part.min() <= 1 < whole.min()


def test_prepare_measures_records_and_goes_on_after_a_kill(images, tmp_path, monkeypatch):
    one = PrepareSettings(workers=1)

    def killed(store: Store) -> Falloff:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(images.dataset, tmp_path / "store", one, killed)
    assert not (tmp_path / "store").exists()

    def once_more(*_: object) -> None:
        raise AssertionError("stacks are read once more")

    def measured(store: Store) -> Falloff:
        assert store.n_images == images.store.n_images
        return measure_falloff(images.made(0, *images.falloff()))

    with monkeypatch.context() as patch:
        patch.setattr("tomopipe.dataset.coefficients._pack", once_more)
        prepare(images.dataset, tmp_path / "store", one, measured)
    store = Store.open(tmp_path / "store")
    record = read_json(store.path / "falloff.json")
    found = measure_falloff(images.made(0, *images.falloff()))
    assert record["thickness"]["used"] == pytest.approx(found.thickness.used)
    assert record["tomograms"].keys() == set(store.tomograms)
    for name, values in found.columns(store.images, store.image_tomograms).items():
        np.testing.assert_allclose(store.images[name], values)

    def none(store: Store) -> Falloff:
        raise AssertionError("asked although the settings say no")

    prepare(images.dataset, tmp_path / "plain", PrepareSettings(workers=1, falloff=False), none)
    plain = Store.open(tmp_path / "plain")
    assert (plain.images["falloff_scale"] == 1).all()
    assert not (plain.path / "falloff.json").exists()


def test_thickness_of_simulated_ice_is_found_in_images_cut_out_of_tilt_series(tmp_path):
    """Tilted ice is thicker and lets fewer electrons pass: normalised images show less signal."""
    ice, free_path = 4000.0, 3100.0  # Å
    settings = TiltSeriesSimulation(
        tomograms=2,
        volume_angstrom=(2900.0, 2900.0, 700.0),
        image_pixels=(384, 384),
        pixel_size_angstrom=8.0,
        particles=40,
        junk_fraction=0.0,
        motion_degrees=0.0,
        states={"whole": 1.0},
        ice_angstrom=ice,
        tilts=13,
        tilt_step_degrees=10.0,
        snr=0.5,
    )
    simulate_tilt_series(settings, tmp_path / "cell")
    particles = read_particles(tmp_path / "cell" / "particles.star", None)
    chosen = ExtractSettings(box=24, pixel_size_angstrom=13.0)
    names = ["tomo_001", "tomo_002"]
    series = series_of(tmp_path / "cell" / "tomograms.star", names, chosen.tilt_series)
    extract(series, particles, tmp_path / "cut", chosen)
    import_star(tmp_path / "cut" / "optimisation_set.star", tmp_path / "data")
    prepare(tmp_path / "data", tmp_path / "store", PrepareSettings(workers=1))
    found = measure_falloff(Store.open(tmp_path / "store"))
    assert abs(found.thickness.value - ice / free_path / 2) < 3 * found.thickness.error
    assert found.thickness.error < 0.1
