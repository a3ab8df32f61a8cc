from __future__ import annotations

import numpy as np
import torch
from torch.distributions import Normal, kl_divergence

from tomopipe.models.image import ImageModel
from tomopipe.models.losses import kl_divergence as kl
from tomopipe.models.losses import sample_latent, squared_error
from tomopipe.physics.fourier import half_plane


def test_half_plane_loss_is_the_full_hartley_loss():
    """tomoDRGN sums w (CTF · H - H_data)^2 over the whole plane of Hartley coefficients."""
    box, rng = 16, np.random.default_rng(0)
    model, data = rng.normal(size=(2, box, box))
    fm, fd = (np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(v))) for v in (model, data))
    k = np.arange(box) - box // 2
    ky, kx = np.meshgrid(k, k, indexing="ij")
    radius = np.hypot(kx, ky)
    ctf, weight = np.sin(radius), np.exp(-radius / 5)
    kept = (radius > 0) & (radius < box // 2)
    hartley = ctf * (fm.real - fm.imag) - (fd.real - fd.imag)
    full = (weight * hartley**2)[kept].mean() / 2  # per real number of standard deviation 1

    plane = half_plane(box)

    def gather(x):
        return plane.gather(torch.from_numpy(x))

    predicted, seen = (torch.view_as_real(gather(f)) for f in (fm, fd))
    half = squared_error(predicted, seen, gather(ctf), gather(weight))
    np.testing.assert_allclose(float(half.mean()), full, rtol=1e-12)
    assert 2 * len(half) == kept.sum()


def test_kl_is_that_of_normal_distributions():
    mean, log_variance = torch.randn(5, 4), torch.randn(5, 4)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl(mean, log_variance), expected)


def test_latents_are_drawn_with_the_posterior_spread():
    mean, log_variance = torch.full((20000, 1), 3.0), torch.full((20000, 1), np.log(4.0))
    z = sample_latent(
        mean, log_variance, torch.from_numpy(np.random.default_rng(0).normal(size=(20000, 1)))
    )
    assert abs(float(z.mean()) - 3) < 0.05
    assert abs(float(z.std()) - 2) < 0.05


def test_image_models_agree_with_the_data(make_store, states):
    """Noise-free data are transfer times the volume's transform."""
    store = make_store(["whole"], [5])
    batch = store.batch([0])
    truth = states["whole"].transform(batch.points()).float() / store.scale
    image = ImageModel.of(batch, damage=True)
    torch.testing.assert_close(image.transfer[:, None] * truth, batch.data, atol=3e-3, rtol=3e-3)
    reference = ImageModel.of(batch, damage=False)
    assert (reference.transfer == batch.ctf).all()
    late, early = batch.coefficient_image == 4, batch.coefficient_image == 0
    assert reference.weight[late].mean() < 0.95 * reference.weight[early].mean()
