"""Maps of the shared test data against the maps that lie beside it."""

import numpy as np
import pandas as pd
import pytest
import torch

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import Store
from tomopipe.io.mrc import read_volume
from tomopipe.models.mean import FixedVolumes
from tomopipe.physics.fourier import frequencies
from tomopipe.physics.fsc import correlation, fsc
from tomopipe.physics.mask import sphere_mask
from tomopipe.reconstruct.backproject import accumulate, batches
from tomopipe.reconstruct.falloff import measure_falloff
from tomopipe.reconstruct.half_maps import half_maps, wiener_term

# what a quick back-projection reached against RELION's, shells 1 to 11, in a sphere of 13 pixels
QUICK = [0.99, 0.97, 0.93, 0.88, 0.82, 0.69, 0.63, 0.68, 0.66, 0.62, 0.54]


def _stored(star, folder, **settings):
    import_star(star, folder / "dataset", ImportSettings(**settings))
    prepare(folder / "dataset", folder / "store")
    return Store.open(folder / "store")


def test_warptools_consensus_agrees_with_relions_reconstruction(shared_data, tmp_path):
    folder = shared_data / "warptools_ribosome_32"
    star = next(folder.glob("*optimisation_set.star"))
    store = _stored(star, tmp_path, hand="mirror")
    relion = torch.from_numpy(read_volume(next(folder.glob("*reconstruct.mrc")))[0])
    sphere = (frequencies(32, 3) <= 13).float()
    ours = half_maps(store, wiener=0).map
    curve = fsc(ours, relion, sphere)[:11].numpy()
    # as good as the quick one, to the two digits it was noted in
    assert (curve >= np.array(QUICK) - 0.005).all(), curve.round(3)
    assert correlation(ours, relion, sphere) > correlation(ours, relion.flip(0), sphere) + 0.2


def predicted(store: Store) -> float:
    """Share of the images' power that a map of the particles of the other half-set explains.

    The power of every image and shell counts as 1, so that no model of the noise has a say.
    """
    mask, explained, cells = sphere_mask(32, 13), 0.0, 0
    sums = [accumulate(store, np.flatnonzero(store.half == half)) for half in (1, 2)]
    curve = fsc(*(each.volume() for each in sums), mask)
    for half, own in zip((2, 1), sums, strict=True):
        volume = own.volume(wiener_term(own, curve)) * mask
        fixed = FixedVolumes(volume, torch.zeros(0, *volume.shape))
        for batch in batches(store, np.flatnonzero(store.half == half), store):
            seen = (batch.ctf * batch.damage)[:, None] * fixed(batch.points())
            shell = batch.lattice.float().norm(dim=-1)[batch.coefficient_lattice].round().long()
            power = batch.data.double().square().sum(1)
            left = (batch.data - seen).double().square().sum(1)
            cell = batch.coefficient_image * 32 + shell
            total = torch.zeros(32 * batch.n_images, dtype=torch.float64).index_add_(0, cell, power)
            some = (shell >= 1) & (shell <= 12)
            explained += float(((power - left) / total[cell])[some].sum())
            cells += len(cell[some].unique())
    return explained / cells


def test_scale_of_the_ctf_and_height_predict_the_other_half(shared_data, tmp_path):
    star = next((shared_data / "warptools_ribosome_32").glob("*optimisation_set.star"))
    ours = predicted(_stored(star, tmp_path / "ours"))
    other = predicted(_stored(star, tmp_path / "other", defocus_hand="turn"))
    dataset = tmp_path / "ours" / "dataset"
    images = pd.read_parquet(dataset / "images.parquet")
    images.assign(scale=1.0).to_parquet(dataset / "images.parquet")
    prepare(dataset, tmp_path / "without")
    assert ours > other
    assert ours > 1.5 * predicted(Store.open(tmp_path / "without")) > 0


def test_falloff_of_real_images_predicts_the_other_half(shared_data, tmp_path):
    """Measured in both half-sets, in a handful of numbers; it also makes the half-maps agree."""
    star = next((shared_data / "warptools_ribosome_32").glob("*optimisation_set.star"))
    store = _stored(star, tmp_path, hand="mirror")
    found = measure_falloff(store)
    assert found.thickness.used > 0
    assert np.ptp(found.tomograms["used"]) > 5000  # Å²: one is aligned much worse than another
    shown = store.with_columns(found.columns(store.images, store.image_tomograms))
    assert predicted(shown) > 1.1 * predicted(store)
    plain, better = (half_maps(one).fsc_masked[:12] for one in (store, shown))
    assert better.mean() > plain.mean() + 0.02


def test_sim_ribosome_classes_agree_with_their_true_maps(shared_data, tmp_path):
    folder = shared_data / "sim_ribosome_32"
    store = _stored(folder / "10076_both_32_sim.star", tmp_path)
    mask = sphere_mask(32, 12, 2)
    maps = {}
    for name, tomogram in (("D", "000"), ("E", "001")):
        truth = torch.from_numpy(read_volume(folder / f"10076_class{name}_32.mrc")[0])
        maps[name] = half_maps(store, np.flatnonzero(store.tomograms == tomogram)).map
        curve = fsc(maps[name], truth, mask)
        assert (curve[:6] > 0.85).all()
        assert (curve[:9] > 0.5).all()
        assert correlation(maps[name], truth, mask) == pytest.approx(0.83, abs=0.05)
    truths = [
        torch.from_numpy(read_volume(folder / f"10076_class{c}_32.mrc")[0]) for c in "DE"
    ]  # fmt: skip
    assert fsc(maps["D"] - maps["E"], truths[0] - truths[1], mask)[:3].min() > 0.5
