"""Real files: WarpTools ribosomes, simulated ribosomes with pickled truth, RELION 3.1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.export import export
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.particles import ParticleSet
from tomopipe.errors import InputError
from tomopipe.io.foreign_pickle import read_ctf, read_poses
from tomopipe.io.mrc import open_stack
from tomopipe.io.star import read_star, write_star
from tomopipe.physics.pose import euler_angles

WARP = "warptools_ribosome_32/warptools_test_4-tomos_10-ptcls_box-32_angpix-12"
CTF = [
    "defocus_u_angstrom",
    "defocus_v_angstrom",
    "astigmatism_degrees",
    "voltage_kv",
    "cs_mm",
    "amplitude_contrast",
    "phase_shift_degrees",
]


@pytest.fixture(scope="module")
def ribosomes(shared_data, tmp_path_factory) -> ParticleSet:
    out = tmp_path_factory.mktemp("warptools") / "data"
    import_star(shared_data / f"{WARP}_optimisation_set.star", out)
    return ParticleSet.load(out)


def test_warptools_images(ribosomes, shared_data):
    assert ribosomes.info["dialect"] == "warptools"
    assert (len(ribosomes), len(ribosomes.images)) == (40, 1430)
    assert ribosomes.images["premultiplied"].all() and ribosomes.info["box"] == 32
    visible = read_star(shared_data / f"{WARP}.star")["particles"]["rlnTomoVisibleFrames"]
    assert ribosomes.particles["n_images"].tolist() == visible.str.count("1").tolist()


def test_warptools_dose_and_tilt_are_those_of_the_frame(ribosomes, shared_data):
    """Looked up frame by frame in the tomograms file, independently of the importer."""
    star = read_star(shared_data / f"{WARP}_tomograms.star")
    images = ribosomes.images.merge(ribosomes.particles[["uid", "tomogram"]], on="uid")
    assert images["dose_e_per_A2"].min() == pytest.approx(2.556)
    for name, members in images.groupby("tomogram"):
        tilts = star[str(name)].astype({"rlnMicrographPreExposure": float, "rlnDefocusU": float})
        own = tilts.iloc[members["source_frame"]]
        np.testing.assert_allclose(
            members["dose_e_per_A2"], own["rlnMicrographPreExposure"] + 2.556, atol=1e-9
        )
        assert (own["rlnCtfScalefactor"].astype(float) > 0).all(), "excluded tilts have scale 0"
        # defocus follows the frame; height in the tomogram moves it by less than its thickness
        away = np.abs(members["defocus_u_angstrom"].to_numpy() - own["rlnDefocusU"].to_numpy())
        assert away.max() < 6000
        cosine = own["rlnTomoProjZ"].str.strip("[]").str.split(",").str[2].astype(float)
        np.testing.assert_allclose(np.cos(np.radians(members["tilt_degrees"])), cosine, atol=1e-6)


def test_warptools_slots_hold_images(ribosomes):
    """Slots left out are those of excluded tilts; the ones taken are real images."""
    for stack, members in list(ribosomes.images.groupby("stack"))[:8]:
        with open_stack(stack) as reader:
            assert reader.shape[0] == 37
            deviations = reader.read(members["slot"].to_numpy()).std(axis=(1, 2))
        assert (deviations > 0).all()


def test_warptools_round_trip(shared_data, tmp_path):
    import_star(shared_data / f"{WARP}_optimisation_set.star", tmp_path / "data")
    found = ParticleSet.load(tmp_path / "data")
    uids = found.particles["uid"]
    export(tmp_path / "data", tmp_path / "out", {"all": uids, "few": uids[[7, 3, 30]]})
    for made, source in (
        ("all.star", f"{WARP}.star"),
        ("tomograms.star", f"{WARP}_tomograms.star"),
    ):
        one, two = read_star(tmp_path / "out" / made), read_star(shared_data / source)
        for name in two.blocks:
            pd.testing.assert_frame_equal(one[name], two[name])
    names = read_star(tmp_path / "out/few.star")["particles"]["rlnTomoParticleName"]
    assert names.tolist() == [uids[k] for k in (3, 7, 30)]


def test_simulated_truth(shared_data, tmp_path):
    """Poses, shifts and CTF equal cryoDRGN's pickles to float precision."""
    folder = shared_data / "sim_ribosome_32"
    import_star(folder / "10076_both_32_sim.star", tmp_path / "data")
    found = ParticleSet.load(tmp_path / "data")
    images = found.images
    assert len(found) == 144 and len(images) == 1296
    poses = [read_poses(folder / f"pose_class{c}.pkl") for c in "DE"]
    views = np.concatenate([pose[0] for pose in poses])
    shifts = np.concatenate([pose[1] for pose in poses]) * 32 * 13.1
    np.testing.assert_allclose(found.views(), views, atol=2e-6)
    np.testing.assert_allclose(images[["shift_x_angstrom", "shift_y_angstrom"]], shifts, atol=2e-5)
    table = np.concatenate([read_ctf(folder / f"ctf_class{c}.pkl") for c in "DE"])
    np.testing.assert_allclose(images[CTF], table[:, 2:], rtol=1e-6)
    np.testing.assert_allclose(images["pixel_size_angstrom"], table[:, 1])
    # 2 e/Å² a tilt in class D, 3 in class E, counted with the image itself
    first = images.groupby("uid")["dose_e_per_A2"].min()
    assert sorted(first.unique()) == [2.0, 3.0]
    assert sorted(found.particles["n_images"].unique()) == [8, 10]
    assert images["tilt_degrees"].max() == pytest.approx(15.0, abs=1e-3)


def test_toy_projections_with_their_pickled_poses(shared_data, tmp_path):
    folder = shared_data / "spa"
    star = folder / "toy_projections.star"
    with pytest.raises(InputError, match="has no column rlnAngleRot"):
        import_star(star, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    views, shifts = read_poses(folder / "toy_rot_trans.pkl")
    ctf = read_ctf(folder / "test_ctf.pkl")
    source = read_star(star)
    angles = euler_angles(views)
    table = source["images"].assign(
        **{
            f"rlnAngle{n}": [f"{a:.9f}" for a in angles[:, k]]
            for k, n in enumerate(("Rot", "Tilt", "Psi"))
        },
        **{
            f"rlnOrigin{n}": [f"{a:.9f}" for a in shifts[:, k] * ctf[0, 0]]
            for k, n in enumerate("XY")
        },
    )
    block = source.blocks["images"]
    write_star(tmp_path / "toy.star", [type(block)("images", table)])
    import_star(
        tmp_path / "toy.star",
        tmp_path / "data",
        ImportSettings(data_dir=folder, pixel_size_angstrom=1.0),
    )
    found = ParticleSet.load(tmp_path / "data")
    assert found.info["box"] == ctf[0, 0] and len(found) == 1000
    np.testing.assert_allclose(found.views(), views, atol=1e-6)
    np.testing.assert_allclose(found.images[CTF], ctf[:, 2:], rtol=1e-6)


def test_relion31_single_particles(shared_data, tmp_path):
    import_star(shared_data / "spa/relion31.star", tmp_path / "data")
    found = ParticleSet.load(tmp_path / "data")
    one = found.images.iloc[0]
    assert found.info["dialect"] == "single" and len(found) == 5
    assert (one["pixel_size_angstrom"], one["cs_mm"]) == (2.806, 0.01)
    assert one["shift_x_angstrom"] == pytest.approx(0.019324)
    assert found.particles["half"].tolist() == [
        int(s) for s in read_star(shared_data / "spa/relion31.star")["particles"]["rlnRandomSubset"]
    ]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("spa/empiar_10076_7.star", "has no column rlnAngleRot"),
        ("sim_ribosome_32/10076_classE_32_clean.star", "does not exist"),
        (f"{WARP}_tomograms.star", "tomograms STAR file"),
        ("spa/relion31.mrcs", "not a"),
    ],
)
def test_files_that_cannot_be_imported(shared_data, tmp_path, name, problem):
    with pytest.raises(InputError, match=problem) as caught:
        import_star(shared_data / name, tmp_path / "data")
    assert "\n" not in str(caught.value) and Path(name).name in str(caught.value)
    assert list(tmp_path.iterdir()) == []
