"""The same simulated particles in every dialect, read by the importer: one geometry."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tomopipe.config.simulate import SimulateSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.particles import ParticleSet
from tomopipe.io.mrc import open_stack
from tomopipe.io.star import read_star
from tomopipe.simulate.particles import simulate_particles

DIALECTS = ("warp", "relion31", "relion5", "warptools")
GEOMETRY = [
    "shift_x_angstrom",
    "shift_y_angstrom",
    "defocus_u_angstrom",
    "defocus_v_angstrom",
    "astigmatism_degrees",
    "dose_e_per_A2",
    "voltage_kv",
    "cs_mm",
    "amplitude_contrast",
]


def made(folder, **given) -> SimulateSettings:
    common = {"particles": 12, "box": 16, "pixel_size_angstrom": 20.0, "tilts": 7, "min_tilts": 4}
    settings = SimulateSettings(**(common | {"tomograms": 2, "one_pose": True} | given))
    simulate_particles(settings, folder)
    return settings


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> dict[str, ParticleSet]:
    root = tmp_path_factory.mktemp("dialects")
    sets = {}
    for dialect in DIALECTS:
        made(root / dialect, dialect=dialect)
        import_star(root / dialect / "particles.star", root / f"{dialect}_set")
        sets[dialect] = ParticleSet.load(root / f"{dialect}_set")
    return sets


@pytest.mark.parametrize("dialect", DIALECTS[1:])
def test_every_dialect_says_the_same(imported, dialect):
    warp, other = imported["warp"], imported[dialect]
    assert other.info["dialect"] == dialect
    assert list(other.particles["uid"]) == list(warp.particles["uid"])
    assert list(other.images["uid"]) == list(warp.images["uid"])
    np.testing.assert_allclose(other.views(), warp.views(), atol=1e-6)
    for name in GEOMETRY:
        np.testing.assert_allclose(other.images[name], warp.images[name], atol=1e-3, err_msg=name)
    tilt = np.abs(warp.images["tilt_degrees"])  # from a cosine of six digits, without a sign
    np.testing.assert_allclose(np.abs(other.images["tilt_degrees"]), tilt, atol=2e-3)


@pytest.mark.parametrize("dialect", DIALECTS[1:])
def test_every_dialect_names_the_same_images(imported, dialect):
    for k in (0, 17, len(imported["warp"].images) - 1):
        rows = [imported[name].images.iloc[k] for name in ("warp", dialect)]
        first, second = (open_stack(row["stack"]).read([row["slot"]]) for row in rows)
        assert np.array_equal(first, second)


def test_optimisation_set_is_read_too(tmp_path):
    made(tmp_path / "a", dialect="relion5")
    import_star(tmp_path / "a" / "optimisation_set.star", tmp_path / "set")
    assert len(ParticleSet.load(tmp_path / "set")) == 12


def test_defocus_follows_the_height_of_the_particle(imported):
    warp = imported["warp"]
    # two particles in one tilt of one tomogram differ by their heights, whatever that tilt's own is
    images = warp.images.assign(tomogram=warp.images["uid"].str.split("/").str[0])
    spread = images.groupby(["tomogram", "dose_e_per_A2"])["defocus_u_angstrom"].agg(np.ptp)
    assert spread.max() > 500


def test_errors_are_in_what_is_written_and_the_truth_is_kept(tmp_path):
    kept = {"particles": 40, "tilts": 3, "min_tilts": 3, "box": 8, "pixel_size_angstrom": 40.0}
    for name, more in {
        "right": {},
        "wrong": {"perturb_degrees": 3.0, "perturb_angstrom": 8.0},
        "rigid": {"perturb_degrees": 3.0, "perturb_angstrom": 8.0, "dialect": "relion5"},
    }.items():
        made(tmp_path / name, **{"one_pose": name == "rigid"} | kept | more)
        if name != "rigid":
            import_star(tmp_path / name / "particles.star", tmp_path / f"{name}_set")
    right, wrong = (ParticleSet.load(tmp_path / f"{n}_set") for n in ("right", "wrong"))
    cosine = (np.einsum("nij,nij->n", right.views(), wrong.views()) - 1) / 2
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1))).reshape(40, 3)
    np.testing.assert_allclose(np.ptp(angle, axis=1), 0, atol=1e-4)  # one rotation per particle
    # |N(3, 3)|: mean 3.5, and the angle between two rotations has no sign
    assert angle.mean() == pytest.approx(3.5, abs=1.0)
    moved = wrong.images["shift_x_angstrom"] - right.images["shift_x_angstrom"]
    assert moved.abs().mean() == pytest.approx(8.0, abs=1.2)
    assert moved.abs().max() < 16.0
    # images are the same, and the truth says where the particles really are
    stacks = [open_stack(s.images["stack"].iloc[0]).read([0, 5]) for s in (right, wrong)]
    assert np.array_equal(*stacks)
    truth = pd.read_parquet(tmp_path / "wrong" / "truth_images.parquet")
    np.testing.assert_allclose(
        truth["shift_x_pixels"] * 40.0, right.images["shift_x_angstrom"], atol=1e-4
    )
    # one origin per particle: its error is that of three axes
    places = pd.read_parquet(tmp_path / "rigid" / "truth.parquet")
    written = read_star(tmp_path / "rigid" / "particles.star")["particles"]
    for axis in "XYZ":
        off = written[f"rlnOrigin{axis}Angst"].astype(float)
        off = off - places[f"origin_{axis.lower()}_angstrom"]
        assert 0 < off.abs().mean() < off.abs().max() < 16.0
