"""Batches are the same wherever they are made, and their transfer is that of the formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tomopipe.dataset.images import column, ctf_parameters
from tomopipe.dataset.reader import Reader, choose, open_reader
from tomopipe.dataset.transfer import TransferTable
from tomopipe.physics.ctf import ctf
from tomopipe.physics.dose import dose_weight


def tensors(batch) -> dict[str, torch.Tensor]:
    return {k: v for k, v in vars(batch).items() if isinstance(v, torch.Tensor)}


def test_resident_store_gives_the_batches_of_the_disk(tiny):
    """A view of some particles, some tilts, few coefficients and a random share of them."""
    whole = tiny.open()
    store = whole.subset(list(whole.uids[[3, 4, 9, 30, 31]]))
    resident = Reader(store, resident=True)
    assert resident.resident
    for asked in (
        {},
        {"first": 20},
        {"tilts": [np.array([2, 0]), np.array([1])], "inside": True},
        {"inside": True, "fraction": 0.3},
    ):
        one = store.batch([4, 1], **asked, rng=np.random.default_rng(5))
        other = resident.batch([4, 1], **asked, rng=np.random.default_rng(5))
        assert one.uids == other.uids
        for name, value in tensors(one).items():
            assert torch.equal(value, tensors(other)[name]), name


def test_store_is_resident_where_it_fits(tiny):
    store, cpu = tiny.open(), torch.device("cpu")
    size = 4e-9 * int(store.counts.sum())
    assert open_reader(store, cpu, 1.01 * size).resident
    assert not open_reader(store, cpu, 0.99 * size).resident
    assert not open_reader(store, cpu).resident


def test_a_share_of_the_coefficients_is_random_and_inside_the_mask(tiny):
    store = tiny.open()
    everything = choose(store, np.arange(30), inside=True)
    some = choose(store, np.arange(30), inside=True, fraction=0.25, rng=np.random.default_rng(0))
    assert len(some.lattice) == some.counts.sum()
    assert len(some.lattice) / len(everything.lattice) == pytest.approx(0.25, abs=0.01)
    owner = np.repeat(some.images, some.counts)
    assert (some.lattice < store.kept_counts[owner]).all()
    pairs = owner * store.n_lattice + some.lattice
    assert (np.diff(pairs) > 0).all()  # each at most once, in order
    # every frequency as often as any other
    low = (some.lattice < store.n_lattice // 2).mean()
    assert low == pytest.approx((everything.lattice < store.n_lattice // 2).mean(), abs=0.02)


@pytest.mark.parametrize("premultiplied", [False, True])
def test_transfer_is_that_of_the_formulas(tiny, premultiplied):
    """Astigmatism, phase plates, B-factors, pixel sizes and voltages, against float64.

    Without a window, which test_premultiplied.py looks at.
    """
    store = tiny.open()
    rng = np.random.default_rng(3)
    images = store.images.iloc[:40].copy()
    n = len(images)
    images["defocus_u_angstrom"] = rng.uniform(1e4, 8e4, n)
    images["defocus_v_angstrom"] = images["defocus_u_angstrom"] - rng.uniform(0, 3e3, n)
    images["astigmatism_degrees"] = rng.uniform(0, 180, n)
    images["phase_shift_degrees"] = rng.uniform(0, 120, n)
    images["bfactor_A2"] = rng.uniform(0, 50, n)
    images["scale"] = rng.uniform(0.7, 1, n)
    images["dose_e_per_A2"] = rng.uniform(0, 120, n)
    images["voltage_kv"] = rng.choice([200.0, 300.0], n)
    images["pixel_size_angstrom"] = rng.choice([1.5, 1.501], n)
    images["premultiplied"] = premultiplied
    images["dose_weighted"] = rng.random(n) < 0.5
    images.iloc[5, images.columns.get_loc("defocus_u_angstrom")] = np.nan  # no CTF
    images.iloc[6, images.columns.get_loc("dose_e_per_A2")] = np.nan
    images["falloff_scale"] = rng.uniform(0.1, 2, n)
    images["falloff_bfactor_A2"] = rng.uniform(-100, 500, n)
    images["falloff_angstrom"] = rng.uniform(4, 10, n)
    table = TransferTable(images, store.lattice, store.box, 1e9, torch.device("cpu"))
    image = torch.arange(n).repeat_interleave(store.n_lattice)
    lattice = torch.arange(store.n_lattice).repeat(n)
    found = table(image, lattice)

    s = (
        store.lattice[lattice].double()
        / (store.box * column(images, "pixel_size_angstrom"))[image, None]
    )
    optics = {k: v[image] for k, v in ctf_parameters(images).items()}
    value = ctf(s[:, None], **optics)[:, 0] * column(images, "scale")[image]
    value = value.nan_to_num(1.0)
    dose, voltage = column(images, "dose_e_per_A2")[image], optics["voltage_kv"]
    damage = dose_weight(s.norm(dim=-1), dose, voltage).nan_to_num(1.0)
    weighted = torch.from_numpy(images["dose_weighted"].to_numpy(bool, copy=True))[image]
    prefilter = value if premultiplied else torch.ones_like(value)
    prefilter = torch.where(weighted, prefilter * damage, prefilter)
    bfactor = column(images, "falloff_bfactor_A2")[image]
    squared = torch.minimum(
        s.square().sum(-1), column(images, "falloff_angstrom")[image] ** -2
    )  # it stays beyond where it was measured
    falloff = column(images, "falloff_scale")[image] * torch.exp(-bfactor * squared / 4)
    expected = (value * prefilter, prefilter**2, damage, falloff)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, atol=2e-4, rtol=1e-4)
