"""Images multiplied by their CTF and cut afterwards, against the same done to noise and particles.

Everything here is made on a grid of three boxes, multiplied there, cut, windowed and transformed,
as the programs that write such stacks and `prepare` do.
"""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from tests.dataset.importing.test_real import WARP
from tomopipe.config.prepare import PrepareSettings
from tomopipe.dataset.images import ctf_parameters
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import Store
from tomopipe.dataset.transfer import TransferTable
from tomopipe.physics.ctf import ctf
from tomopipe.physics.fourier import fft2c, frequencies, full_plane, half_plane, ifft2c
from tomopipe.physics.window import cosine_window, disc_overlap, soft_edge

CASES = [(32, 6.0, 2e4), (32, 6.0, 3e4), (48, 10.0, 3e4)]  # box, Å per pixel, Å of defocus
SETTINGS = PrepareSettings()


def optics(pixel: float, defocus: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "defocus_u_angstrom": [defocus],
            "defocus_v_angstrom": [defocus - 1500.0],
            "astigmatism_degrees": [30.0],
            "voltage_kv": [300.0],
            "cs_mm": [2.7],
            "amplitude_contrast": [0.07],
            "phase_shift_degrees": [0.0],
            "bfactor_A2": [0.0],
            "scale": [1.0],
            "dose_e_per_A2": [0.0],
            "pixel_size_angstrom": [pixel],
            "premultiplied": [True],
            "dose_weighted": [False],
        }
    )


def plane_of(box: int, pixel: float, images: pd.DataFrame) -> torch.Tensor:
    """The CTF `(box, box)`."""
    k = full_plane(box).double() / (box * pixel)
    return ctf(k[None], **ctf_parameters(images))[0].reshape(box, box)


def cut(big: torch.Tensor, box: int) -> torch.Tensor:
    """Windowed transforms `(n, box, box)` of the middles of images three times as large."""
    low = big.shape[-1] // 2 - box // 2
    window = cosine_window(box, SETTINGS.window_inner, SETTINGS.window_outer).double()
    return fft2c(big[:, low : low + box, low : low + box] * window)


def multiplied(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return ifft2c(fft2c(images) * factor).real


def of_the_table(box: int, images: pd.DataFrame) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Transfer, noise and shell of every point of the half plane."""
    lattice = half_plane(box).points
    radius = 0.25 * box * (SETTINGS.window_inner + SETTINGS.window_outer)
    table = TransferTable(images, lattice, box, radius, torch.device("cpu"))
    n = len(lattice)
    transfer, noise, *_ = table(torch.zeros(n, dtype=torch.long), torch.arange(n))
    return transfer.double(), noise.double(), lattice.double().norm(dim=-1).round().long()


def per_shell(value: torch.Tensor, shell: torch.Tensor, box: int) -> torch.Tensor:
    """Means over shells 2 … box / 2 - 1."""
    return torch.stack([value[shell == s].mean() for s in range(2, box // 2)])


@pytest.mark.parametrize(("box", "pixel", "defocus"), CASES)
def test_noise_of_premultiplied_images_is_what_window_and_ctf_make_of_it(box, pixel, defocus):
    images, generator = optics(pixel, defocus), torch.Generator().manual_seed(0)
    factor = plane_of(3 * box, pixel, images)
    power, count = torch.zeros(box, box, dtype=torch.float64), 300
    for _ in range(count // 20):
        white = torch.randn(20, 3 * box, 3 * box, dtype=torch.float64, generator=generator)
        power += cut(multiplied(white, factor), box).abs().square().sum(0)
    window = cosine_window(box, SETTINGS.window_inner, SETTINGS.window_outer).double()
    measured = half_plane(box).gather(torch.complex(power, torch.zeros_like(power))).real
    measured /= count * window.square().sum()
    _, noise, shell = of_the_table(box, images)
    assert per_shell(measured / noise, shell, box).numpy() == pytest.approx(1, abs=0.2)
    # without the window, zeros of the CTF would hold next to no noise
    plain = half_plane(box).gather(plane_of(box, pixel, images) + 0j).real ** 2
    assert per_shell(measured / plain, shell, box).max() > 2


@pytest.mark.parametrize(("box", "pixel", "defocus"), CASES)
def test_particles_in_premultiplied_images_lose_the_half_that_leaves_the_window(
    box, pixel, defocus
):
    """Particles of random density within half of the window's radius."""
    images, generator = optics(pixel, defocus), torch.Generator().manual_seed(0)
    factor = plane_of(3 * box, pixel, images).square()
    radius = 0.2125 * box
    support = soft_edge(frequencies(3 * box, 2).double(), 0.9 * radius, 1.1 * radius)
    match, norm = torch.zeros(2, box, box, dtype=torch.float64)
    for _ in range(15):
        white = torch.randn(20, 3 * box, 3 * box, dtype=torch.float64, generator=generator)
        particles = white * support
        seen, true = cut(multiplied(particles, factor), box), cut(particles, box)
        match += (seen * true.conj()).real.sum(0)
        norm += true.abs().square().sum(0)
    measured = half_plane(box).gather(match / norm + 0j).real
    transfer, _, shell = of_the_table(box, images)
    plain = half_plane(box).gather(plane_of(box, pixel, images) + 0j).real ** 2

    def error(model: torch.Tensor) -> torch.Tensor:
        return per_shell((measured - model).square(), shell, box).sqrt()

    assert error(transfer).max() < 0.1
    assert error(transfer).mean() <= error(plain).mean() + 0.002


def test_overlap_of_a_disc_with_itself():
    x = torch.linspace(-1.5, 1.5, 601, dtype=torch.float64)
    y, x = torch.meshgrid(x, x, indexing="ij")
    disc = x**2 + y**2 <= 1
    for distance in (0.0, 0.3, 1.0, 1.7, 2.0, 5.0):
        both = disc & ((x - distance) ** 2 + y**2 <= 1)
        expected = float(both.sum() / disc.sum())
        assert float(disc_overlap(torch.tensor(distance))) == pytest.approx(expected, abs=0.005)


def test_noise_of_real_premultiplied_stacks(shared_data, tmp_path):
    """WarpTools' ribosomes: at zeros of the CTF the images hold what the window lets through."""
    import_star(shared_data / f"{WARP}_optimisation_set.star", tmp_path / "dataset")
    prepare(tmp_path / "dataset", tmp_path / "store", SETTINGS)
    store = Store.open(tmp_path / "store")
    batch = store.batch(range(store.n_particles))
    radius = batch.lattice.float().norm(dim=-1)[batch.coefficient_lattice].round().long()
    unwindowed = TransferTable(store.images, store.lattice, store.box, 1e9, batch.data.device)
    plain = unwindowed(batch.images[batch.coefficient_image], batch.coefficient_lattice)[1]
    power = batch.data.square().sum(1)
    shell = radius == 15  # the first with thousands of coefficients near zeros
    scale = torch.from_numpy(store.images["scale"].to_numpy(copy=True))[batch.images]
    most = (batch.damage * scale[batch.coefficient_image]).square()
    zeros = shell & (plain < 0.05 * most)

    def excess(model: torch.Tensor) -> float:
        """Power over that of a model, near zeros of the CTF against the whole shell."""
        near, whole = (power[m].sum() / model[m].sum() for m in (zeros, shell))
        return float(near / whole)

    assert excess(batch.noise) == pytest.approx(1, abs=0.25)
    assert excess(plain) > 3

    # tilted images were multiplied by rlnCtfScalefactor too, which leaves as little of the noise
    image_power, image_noise = (
        torch.zeros(store.n_images, dtype=torch.float64).index_add_(
            0, batch.coefficient_image, (value * (radius >= 11)).double()
        )
        for value in (power, batch.noise)
    )
    groups = [(scale >= low) & (scale < high) for low, high in ((0.5, 0.65), (0.8, 0.9), (0.97, 2))]
    steep, middle, flat = (float(image_power[g].sum() / image_noise[g].sum()) for g in groups)
    assert middle / flat == pytest.approx(1, abs=0.15)
    assert steep / flat == pytest.approx(1, abs=0.25)
