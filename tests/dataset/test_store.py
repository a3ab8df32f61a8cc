import os
import shutil

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch

from tomopipe.config.prepare import PrepareSettings
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import STEP_FORMAT, Store
from tomopipe.errors import InputError, StateError
from tomopipe.io.atomic import (
    read_json,
    read_sealed_json,
    write_json,
    write_parquet,
    write_sealed_json,
)
from tomopipe.models.image import ImageModel
from tomopipe.physics.dose import optimal_dose
from tomopipe.simulate.phantom import complex_in_state


def _expected(tiny, store, batch):
    """Noise-free coefficients of the phantom itself, from its closed-form transform."""
    s = batch.points().double() / store.pixel_size
    owner = batch.coefficient_particle()
    out = torch.zeros(len(s), dtype=torch.complex128)
    for i, uid in enumerate(batch.uids):
        blobs = complex_in_state(tiny.truth.loc[uid, "state"])
        mine = owner == i
        out[mine] = blobs.transform(s[mine])
    return out * batch.ctf * batch.damage / store.scale


def test_coefficients_are_the_image_formation_of_the_truth(tiny):
    good = tiny.truth.index[~tiny.truth.junk][:20]
    store = tiny.open(good)
    batch = store.batch(np.arange(store.n_particles))
    data = torch.view_as_complex(batch.data).to(torch.complex128)
    expected = _expected(tiny, store, batch)
    gain = (data * expected.conj()).sum().real / (expected.abs() ** 2).sum()
    # the window takes a little; sign, pose, shift, CTF and dose must all be right to get here
    assert 0.9 < gain < 1.05
    noise = torch.sqrt(((data - expected).abs() ** 2).mean() / 2)
    assert 0.3 < noise < 1.1


def test_dose_mask_keeps_exactly_the_frequencies_within_the_optimal_dose(tiny, tmp_path):
    dataset = tmp_path / "dataset"
    shutil.copytree(tiny.dataset, dataset)
    images = pd.read_parquet(dataset / "images.parquet")
    rng = np.random.default_rng(0)
    images["dose_e_per_A2"] = rng.uniform(20, 400, len(images))
    write_parquet(dataset / "images.parquet", images)
    prepare(dataset, tmp_path / "store", PrepareSettings(workers=1))
    store = Store.open(tmp_path / "store")
    k = store.radius / (store.box * store.pixel_size)
    for row, count in zip(images.itertuples(), store.counts, strict=True):
        allowed = (row.dose_e_per_A2 <= optimal_dose(k, 300.0)).numpy()
        assert count == allowed.sum()
        assert allowed[:count].all()


def test_mask_as_a_flag_keeps_all_coefficients_but_marks_them(tiny, tmp_path):
    prepare(tiny.dataset, tmp_path / "store", PrepareSettings(dose_mask=False, workers=1))
    store = Store.open(tmp_path / "store")
    assert (store.counts == store.n_lattice).all()
    batch = store.batch([0])
    kept = torch.bincount(batch.coefficient_image[batch.kept])
    assert kept.tolist() == store.kept_counts[: store.images_per_particle[0]].tolist()


def test_batch_of_some_tilts_is_that_part_of_the_whole(tiny):
    store = tiny.open()
    whole = store.batch([3])
    part = store.batch([3, 5], tilts=[np.array([1, 4]), np.array([0])])
    assert part.image_particle.tolist() == [0, 0, 1]
    pieces = [whole.data[whole.image_start[i] : whole.image_start[i + 1]] for i in (1, 4)]
    assert torch.equal(part.data[: part.image_start[2]], torch.cat(pieces))
    assert torch.equal(part.view[0], whole.view[1])


def test_subset_keeps_the_stores_order_and_the_right_images(tiny):
    store = tiny.open()
    chosen = [store.uids[7], store.uids[2], store.uids[40]]
    view = store.subset(chosen)
    assert list(view.uids) == [store.uids[2], store.uids[7], store.uids[40]]
    for i, uid in enumerate(view.uids):
        j = list(store.uids).index(uid)
        assert torch.equal(view.batch([i]).data, store.batch([j]).data)
        assert torch.equal(view.batch([i]).view, store.batch([j]).view)


def test_unknown_uid_is_one_sentence(tiny):
    with pytest.raises(StateError, match=r"lacks 1 of the 2 selected particles.*nobody/1"):
        tiny.open([tiny.open().uids[0], "nobody/1"])


def test_tilt_weight_is_the_cosine_in_degrees(tiny):
    """A reference takes radians for degrees here, so that 60° weighs 0.9998 instead of 0.5."""
    store = tiny.open()
    batch = store.batch(np.arange(10))
    ratio = batch.weight / batch.damage
    expected = torch.cos(batch.tilt * torch.pi / 180)[batch.coefficient_image]
    assert torch.allclose(ratio, expected, atol=1e-5)
    assert ratio.min() < 0.99


def test_tilt_cosine_counts_once_everywhere(tiny):
    """cryoDRGN applies it twice: at 60° every weight must be halved, and the CTF left alone."""
    store = tiny.open()
    batches = []
    for degrees in (0.0, 60.0):
        images = store.images.assign(tilt_degrees=degrees)
        batches.append(Store(store.path, store.meta, store.particles, images).batch([0, 1]))
    flat, tilted = batches
    assert torch.equal(tilted.ctf, flat.ctf)
    half = torch.full_like(flat.weight, 0.5)
    assert torch.allclose(tilted.weight / flat.weight, half, atol=1e-5)
    for damage in (True, False):
        weights = [ImageModel.of(b, damage=damage).weight for b in batches]
        assert torch.allclose(weights[1] / weights[0], half, atol=1e-5)
        transfers = [ImageModel.of(b, damage=damage).transfer for b in batches]
        assert torch.equal(*transfers)
    for one, other in zip(tilted.back_projection(), flat.back_projection(), strict=True):
        assert torch.allclose(one, 0.5 * other, atol=1e-6)


def test_particles_in_any_order_keep_their_own_poses_and_images(tiny):
    """cryoDRGN's shuffler gives particles the poses of others."""
    store = tiny.open()
    order = [17, 3, 88, 4]
    mixed = store.batch(order)
    assert mixed.uids == [store.uids[i] for i in order]
    singles = [store.batch([i]) for i in order]
    for name in ("data", "ctf", "damage", "weight", "view", "dose", "tilt"):
        together = torch.cat([getattr(one, name) for one in singles])
        assert torch.equal(getattr(mixed, name), together), name
    points = torch.cat([one.points() for one in singles])
    assert torch.equal(mixed.points(), points)
    owner = [i for i, one in enumerate(singles) for _ in range(one.n_images)]
    assert mixed.image_particle.tolist() == owner


def test_only_a_store_is_ever_replaced(tiny, tmp_path):
    shutil.copytree(tiny.dataset, tmp_path / "dataset")
    before = sorted(p.name for p in (tmp_path / "dataset").iterdir())
    with pytest.raises(StateError, match="is not empty and no store: give a new folder"):
        prepare(tmp_path / "dataset", tmp_path / "dataset", PrepareSettings(workers=1))
    assert sorted(p.name for p in (tmp_path / "dataset").iterdir()) == before
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="file is a file: give a folder"):
        prepare(tmp_path / "dataset", tmp_path / "file", PrepareSettings(workers=1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset", "file"]
    for _ in range(2):
        prepare(tmp_path / "dataset", tmp_path / "store", PrepareSettings(workers=1))
    assert Store.open(tmp_path / "store").n_particles == 100


def test_a_linked_folder_is_replaced_where_it_lies(tiny, tmp_path):
    (tmp_path / "scratch" / "store").mkdir(parents=True)
    link = tmp_path / "store"
    link.symlink_to(tmp_path / "scratch" / "store")
    for _ in range(2):
        prepare(tiny.dataset, link, PrepareSettings(workers=1))
        assert link.is_symlink() and Store.open(link).n_particles == 100
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == ["store"]


def test_a_kill_while_a_store_is_replaced_leaves_no_part_of_it(tiny, tmp_path, monkeypatch):
    store = tmp_path / "store"
    shutil.copytree(tiny.store_path, store)

    def killed(path, ignore_errors=False):
        if path.exists():
            (path / "store.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(tiny.dataset, store, PrepareSettings(workers=1))
    prepare(tiny.dataset, store, PrepareSettings(workers=1))
    assert Store.open(store).n_particles == 100


@pytest.mark.parametrize("dose_mask", [True, False])
def test_a_hot_pixel_that_the_sample_misses_is_one_sentence(tiny, tmp_path, monkeypatch, dose_mask):
    """Half precision ends at 65504, which a single pixel of a detector can exceed."""
    dataset = tmp_path / "dataset"
    shutil.copytree(tiny.dataset, dataset)
    images = pd.read_parquet(dataset / "images.parquet")
    image = images.iloc[1]  # which the sample has not
    hot = tmp_path / "hot.mrcs"
    shutil.copy(image["stack"], hot)
    with mrcfile.open(hot, "r+") as mrc:
        mrc.data[image["slot"], 12, 12] = 1e9
    images["stack"] = images["stack"].replace(image["stack"], str(hot))
    write_parquet(dataset / "images.parquet", images)
    monkeypatch.setattr("tomopipe.dataset.prepare._SAMPLE_IMAGES", len(images) // 2)
    monkeypatch.setattr("tomopipe.dataset.prepare.check_unchanged", lambda dataset: None)
    with pytest.raises(InputError, match=rf"hot\.mrcs: image {image['slot'] + 1} is more than"):
        prepare(dataset, tmp_path / "store", PrepareSettings(workers=1, dose_mask=dose_mask))
    assert not (tmp_path / "store").exists()


@pytest.mark.fault(
    "Packing is interrupted",
    "The next start goes on from the last part that was written; the store is the same.",
)
def test_workers_and_interruptions_do_not_change_the_store(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tomopipe.dataset.prepare._CHUNK_PIXELS", 100 * 24 * 24)
    one = PrepareSettings(workers=1)
    prepare(tiny.dataset, tmp_path / "whole", one)
    calls = []

    def dies(path, value):
        write_json(path, value)
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tomopipe.dataset.prepare.write_json", dies)
        with pytest.raises(KeyboardInterrupt):
            prepare(tiny.dataset, tmp_path / "resumed", one)
    assert not (tmp_path / "resumed").exists()
    done = read_json(tmp_path / ".resumed.partial" / "progress.json")
    assert 0 < done["images_done"] // 100 < tiny.open().n_images // 100
    prepare(tiny.dataset, tmp_path / "resumed", one)
    prepare(tiny.dataset, tmp_path / "parallel", PrepareSettings(workers=2))
    arrays = [np.load(tmp_path / d / "coefficients.npy") for d in ("whole", "resumed", "parallel")]
    assert np.array_equal(arrays[0], arrays[1])
    assert np.array_equal(arrays[0], arrays[2])


def test_half_written_store_is_refused(tiny, tmp_path):
    shutil.copytree(tiny.store_path, tmp_path / "store")
    os.truncate(tmp_path / "store" / "coefficients.npy", 1000)
    with pytest.raises(StateError, match="has 1000 bytes instead of"):
        Store.open(tmp_path / "store")


@pytest.mark.parametrize("found", [STEP_FORMAT - 1, STEP_FORMAT + 1, None])
def test_a_store_of_another_format_is_refused(tiny, tmp_path, found):
    shutil.copytree(tiny.store_path, tmp_path / "store")
    record = tmp_path / "store" / "store.json"
    write_sealed_json(record, read_sealed_json(record) | {"step_format": found})
    sentence = (
        rf"store\.json has step_format {found}, this version reads {STEP_FORMAT}: "
        "run `tomopipe prepare` again"
    )
    with pytest.raises(StateError, match=sentence):
        Store.open(tmp_path / "store")


def test_mixed_pixel_sizes_are_refused(tiny, tmp_path):
    shutil.copytree(tiny.dataset, tmp_path / "dataset")
    images = pd.read_parquet(tmp_path / "dataset" / "images.parquet")
    images.loc[:10, "pixel_size_angstrom"] = 2.0
    write_parquet(tmp_path / "dataset" / "images.parquet", images)
    with pytest.raises(InputError, match="mixes pixel sizes"):
        prepare(tmp_path / "dataset", tmp_path / "store", PrepareSettings(workers=1))
    assert not (tmp_path / "store").exists()


def test_premultiplied_images_have_the_same_best_volume(tiny):
    """sum(a data) / sum(b) is the volume, of images that hold nothing else."""
    store = tiny.open()
    plain = store.batch([0])
    images = store.images.copy()
    images["premultiplied"] = True
    twin = Store(store.path, store.meta, store.particles, images).batch([0])
    near = (
        plain.lattice.float().norm(dim=-1)[plain.coefficient_lattice] < 4
    )  # the CTF moves little there
    torch.testing.assert_close(twin.ctf[near], plain.ctf[near] ** 2, atol=0.02, rtol=0.02)
    for batch in (plain, twin):
        a, b = batch.back_projection()
        torch.testing.assert_close(a * batch.ctf * batch.damage, b)
