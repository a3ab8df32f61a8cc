from __future__ import annotations

import numpy as np
import pytest
import torch

from tomopipe.config.training import HeterogeneousSettings
from tomopipe.models.encoder import VolumeEncoder
from tomopipe.models.image import ImageModel
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.subspace import VoxelSubspace
from tomopipe.models.vae import HeterogeneousModel

POOLINGS = ["mean", "max", "median", "attention", "set_transformer"]


def model_for(store, **changes) -> HeterogeneousModel:
    torch.manual_seed(0)
    values = {"zdim": 2, "hidden": 32, "encoder_hidden": 32, "encoder_radius": 5} | changes
    model = HeterogeneousModel(
        HeterogeneousSettings(**values), box=store.box, pixel_size=store.pixel_size, scale=1.0
    )
    if isinstance(model.encoder, VolumeEncoder):  # as if fitted and trained
        torch.nn.init.normal_(model.encoder.subspace.components)
        torch.nn.init.normal_(model.encoder.network.last.weight)
    return model.eval()


@pytest.mark.parametrize("pooling", [None, *POOLINGS])
def test_uneven_tilts_give_the_latent_of_a_particle_alone(make_store, pooling):
    store = make_store(["body", "whole", "whole"], [3, 1, 6], noise=20.0)
    changes = {} if pooling is None else {"encoder": "tilts", "pooling": pooling}
    model = model_for(store, **changes)
    with torch.no_grad():
        together = model.encode(store.batch([0, 1, 2]))
        for p in range(3):
            alone = model.encode(store.batch([p]))
            for a, b in zip(together, alone, strict=True):
                torch.testing.assert_close(a[p], b[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pooling", [None, *POOLINGS])
def test_order_of_tilts_does_not_matter(make_store, pooling):
    store = make_store(["whole"], [6], noise=20.0)
    changes = {} if pooling is None else {"encoder": "tilts", "pooling": pooling}
    model = model_for(store, **changes)
    with torch.no_grad():
        first = model.encode(store.batch([0], tilts=[np.arange(6)]))
        second = model.encode(store.batch([0], tilts=[np.array([4, 0, 5, 2, 1, 3])]))
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("encoder", ["volume", "tilts"])
def test_low_frequencies_are_all_it_reads(make_store, encoder):
    store = make_store(["body", "whole"], [3, 5], noise=20.0)
    model = model_for(store, encoder=encoder)
    with torch.no_grad():
        full = model.encode(store.batch([0, 1]))
        short = model.encode(store.batch([0, 1], first=model.encoder.n_points))
    torch.testing.assert_close(full, short)
    assert model.encoder.n_points < store.n_lattice


def test_tilt_pixels_are_phase_flipped_and_dense(make_store):
    store = make_store(["whole"], [2], noise=1.0)
    model = model_for(store, encoder="tilts", encoder_radius=0)
    batch = store.batch([0])
    pixels = model.encoder.pixels(batch).view(2, store.n_lattice, 2)
    plain = (batch.data * batch.ctf.sign()[:, None]).view(2, store.n_lattice, 2)
    torch.testing.assert_close(pixels, plain)


def test_statistics_back_project_everything(make_store):
    store = make_store(["whole"], [4], noise=1.0)
    model = model_for(store)
    batch = store.batch([0])
    matched, power = model.encoder.statistics(batch, model.fixed, damage=True)
    image = ImageModel.of(batch, damage=True)
    # points well inside the ball spread all of their weight over voxels of the ball
    inner = batch.lattice.float().norm(dim=-1)[batch.coefficient_lattice] <= 3
    least = (image.weight * image.transfer**2)[inner].sum()
    most = (image.weight * image.transfer**2)[
        batch.lattice.float().norm(dim=-1)[batch.coefficient_lattice] <= 5
    ].sum()
    assert float(least) <= float(power.sum()) <= float(most) * (1 + 1e-5)
    assert matched.shape == (1, len(model.encoder.lattice), 2)


def test_mean_volume_is_interpolated_in_fourier_space(states):
    box = 32
    mean = FixedVolumes(states["whole"].volume(box), torch.zeros(0, box, box, box))
    points = (torch.rand(500, 3) - 0.5) * 0.5
    truth = states["whole"].transform(points).float()
    error = (mean(points) - truth).square().mean().sqrt() / truth.square().mean().sqrt()
    assert float(error) < 0.03
    radius = torch.tensor([[6 / box, 0, 0]])
    shell = torch.nn.functional.normalize(torch.randn(4000, 3), dim=-1) * 6 / box
    rms = states["whole"].transform(shell).square().sum(-1).mean().sqrt()
    assert float(mean.scale(radius)) == pytest.approx(float(rms), rel=0.1)


def test_subspace_is_recovered_with_missing_voxels():
    """Probabilistic PCA with a different set of voxels seen for every particle."""
    rng = torch.Generator().manual_seed(0)
    n, v = 400, 60
    truth = torch.randn(v, 2, 2, generator=rng)
    z = torch.randn(n, 2, generator=rng)
    seen = (torch.rand(n, v, generator=rng) < 0.6).float()
    noise = torch.randn(n, v, 2, generator=rng)
    values = torch.einsum("vck,nk->nvc", truth, z) + 0.5
    matched = seen[..., None] * (values + noise)
    torch.manual_seed(0)
    subspace = VoxelSubspace(v, 2)
    subspace.fit(matched, seen, torch.full((v,), 1.0), rounds=30)
    found, covariance = subspace(matched, seen)
    design = torch.cat([found, torch.ones(n, 1)], dim=1)
    residual = z - design @ torch.linalg.lstsq(design, z).solution
    assert float(residual.var() / z.var()) < 0.03
    assert float(subspace.offset.mean()) == pytest.approx(0.5, abs=0.15)
    assert (covariance.diagonal(dim1=1, dim2=2) < 0.2).all()
    # nothing seen: the prior
    empty, prior = subspace(torch.zeros(1, v, 2), torch.zeros(1, v))
    torch.testing.assert_close(empty, torch.zeros(1, 2))
    torch.testing.assert_close(prior[0], torch.eye(2))


def test_linear_directions_are_added_and_adopted(make_store, states):
    """With data of mean + z · direction, the adopted subspace finds z, and V(z) is the data."""
    store = make_store(["whole"] * 3 + ["body"] * 3, [8] * 6, noise=0.1)
    both = [states[n].volume(16) / store.scale for n in ("body", "whole")]
    fixed = FixedVolumes(both[0], (both[1] - both[0])[None])
    settings = HeterogeneousSettings(zdim=2, hidden=16, encoder_hidden=16, encoder_radius=5)
    model = HeterogeneousModel(settings, box=16, pixel_size=10.0, scale=1.0, fixed=fixed).eval()
    model.encoder.adopt(fixed.basis)
    batch = store.batch(np.arange(6))
    with torch.no_grad():
        z, _ = model.encode(batch)
        known = fixed.at(batch.points(), batch.coefficient_particle(), z)
    torch.testing.assert_close(z[:, 0], torch.tensor([1.0, 1, 1, 0, 0, 0]), atol=0.2, rtol=0)
    assert (z[:, 1] == 0).all()
    transfer = ImageModel.of(batch, damage=True).transfer[:, None]
    error = (transfer * known - batch.data).square().mean() / batch.data.square().mean()
    assert float(error) < 0.02


def test_sums_of_images_add_up_to_the_posterior_of_the_particle(make_store):
    """What a step encodes is a sum of rows made once for every image."""
    store = make_store(["body", "whole"], [4, 6], noise=20.0)
    model = model_for(store)
    batch = store.batch([0, 1])
    rows = model.encoder.image_sums(batch, model.fixed, damage=True)
    assert len(rows) == 10
    sums = torch.stack([rows[:4].sum(0), rows[4:].sum(0)])
    with torch.no_grad():
        found, expected = model.encoder.from_sums(sums), model.encode(batch)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
