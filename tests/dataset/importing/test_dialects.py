"""Every dialect gives the poses, shifts, CTF, dose and tilt that stand in its files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.particles import IMAGE_COLUMNS, PARTICLE_COLUMNS, ParticleSet

DIALECTS = ("warp", "cryosrpnt", "nextpyp", "relion31", "cistem", "single", "warptools", "relion5")
few = settings(max_examples=6, deadline=None)


def imported(made, folder, **options) -> ParticleSet:
    import_star(made.write(), Path(folder) / "out", ImportSettings(**options))
    return ParticleSet.load(Path(folder) / "out")


def assert_true(found: ParticleSet, truth: pd.DataFrame) -> None:
    """All images of the truth, and no others, with their own values."""
    images = found.images.assign(view=list(found.views()))
    both = truth.merge(images, on=["stack", "slot"], how="outer", suffixes=("_true", ""))
    assert len(both) == len(truth) == len(images)
    assert both["uid"].notna().all() and both["particle"].notna().all()
    np.testing.assert_allclose(np.stack(both["view"]), np.stack(both["view_true"]), atol=1e-8)
    shifts = both[["shift_x_angstrom", "shift_y_angstrom"]]
    np.testing.assert_allclose(shifts, np.stack(both["shift"]), atol=1e-6)
    for column, true in (
        ("defocus_u_angstrom", "u"),
        ("defocus_v_angstrom", "v"),
        ("astigmatism_degrees", "angle"),
        ("dose_e_per_A2", "dose"),
        ("pixel_size_angstrom", "pixel"),
    ):
        np.testing.assert_allclose(both[column], both[true], atol=1e-5, err_msg=column)
    np.testing.assert_allclose(both["tilt_degrees"], both["tilt"], atol=1e-4)
    assert both.groupby("uid")["particle"].nunique().max() == 1
    assert both["uid"].nunique() == both["particle"].nunique()


@pytest.mark.parametrize("dialect", DIALECTS)
@given(seed=st.integers(0, 10**6), particles=st.integers(1, 4), tilts=st.integers(2, 6))
@few
def test_columns_and_rows_in_any_order(stars, dialect, seed, particles, tilts):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        made = stars.make(dialect, folder, seed=seed, particles=particles, tilts=tilts)
        table = made.table.sample(frac=1, random_state=seed)
        table["rlnExtraColumn"] = [f"value_{k}" for k in range(len(table))]
        table = table.drop(columns=[c for c in made.optional if c in table and rng.random() < 0.5])
        made.table = table[list(rng.permutation(table.columns))].reset_index(drop=True)
        truth = made.truth
        found = imported(made, folder)
        assert_true(found, truth)
        assert found.info["dialect"] == made.dialect or dialect == "warp"
        rows = found.particles["source_row"].to_numpy()
        assert (np.diff(rows) > 0).all(), "particles stand in the source's order"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_tables_have_the_contract(stars, dialect, tmp_path):
    found = imported(stars.make(dialect, tmp_path), tmp_path)
    assert list(found.images.columns) == list(IMAGE_COLUMNS)
    assert list(found.particles.columns) == list(PARTICLE_COLUMNS)
    uids = found.images["uid"].to_numpy()
    blocks = 1 + int((uids[1:] != uids[:-1]).sum())
    assert blocks == len(found), "images of a particle stand together"
    assert list(dict.fromkeys(uids)) == found.particles["uid"].tolist()
    assert found.particles["n_images"].sum() == found.info["n_images"] == len(found.images)
    assert found.info["box"] == stars.box
    assert set(found.particles["half"]) <= {1, 2}


def test_pixel_size_of_every_optics_group(stars, tmp_path):
    found = imported(stars.make("relion31", tmp_path), tmp_path)
    pixels = found.images.groupby("optics")["pixel_size_angstrom"].unique()
    assert {name: list(values) for name, values in pixels.items()} == {"og1": [4.0], "og2": [5.5]}


def test_dose_is_not_the_order_of_rows(stars, tmp_path):
    made = stars.make("warp", tmp_path, tilts=6)
    before = imported(made, tmp_path).images.set_index(["stack", "slot"])["dose_e_per_A2"]
    made.table = made.table.iloc[::-1].reset_index(drop=True)
    after = imported(made, tmp_path).images.set_index(["stack", "slot"])["dose_e_per_A2"]
    pd.testing.assert_series_equal(before.sort_index(), after.sort_index())


def test_same_dose_for_the_same_image_in_every_dialect(stars, tmp_path):
    """The first image of a series with 3 e/Å² a tilt has seen 3, whatever program wrote it."""
    for dialect in ("warp", "nextpyp", "relion31", "warptools", "relion5"):
        found = imported(stars.make(dialect, tmp_path / dialect), tmp_path / dialect)
        doses = found.images["dose_e_per_A2"]
        assert np.allclose(doses / 3, np.round(doses / 3)) and doses.min() >= 3


@pytest.mark.parametrize("dialect", ["warptools", "relion5"])
def test_excluded_tilts_drop_everything_together(stars, dialect, tmp_path):
    """Dose, tilt, pose and defocus of an image are those of its own frame, not of its rank."""
    made = stars.make(dialect, tmp_path, particles=4, tilts=6)
    visible = made.table["rlnTomoVisibleFrames"].str.count("1").sum()
    found = imported(made, tmp_path)
    assert len(found.images) == visible
    assert_true(found, made.truth)
    assert (found.images.groupby("uid")["source_frame"].diff().dropna() > 0).all()


def test_tilt_is_in_degrees(stars, tmp_path):
    """A tilt of 60° must weigh cos 60° = 1/2: radians taken for degrees would give 1."""
    made = stars.make("warp", tmp_path, tilts=3)
    table = made.table
    table["rlnCtfScalefactor"] = ["1.0", "0.5", "0.7071067812"] * (len(table) // 3)
    found = imported(made, tmp_path)
    by_slot = found.images.groupby("slot")["tilt_degrees"].first()
    np.testing.assert_allclose(by_slot, [0, 60, 45], atol=1e-6)
    np.testing.assert_allclose(np.cos(np.radians(by_slot)), [1, 0.5, 0.70710678], atol=1e-8)
    assert (found.images["scale"] == 1).all(), (
        "the cosine is not applied a second time as CTF scale"
    )


def test_particles_star_with_tomograms_beside_or_given(stars, tmp_path):
    made = stars.make("warptools", tmp_path)
    made.write()
    whole = imported(made, tmp_path)
    tomograms = tmp_path / "Tomograms/job1/tomograms.star"
    import_star(made.particles, tmp_path / "a", ImportSettings(tomograms=tomograms))
    tomograms.rename(made.particles.parent / "tomograms.star")
    import_star(made.particles, tmp_path / "b")
    for name in "ab":
        other = ParticleSet.load(tmp_path / name)
        pd.testing.assert_frame_equal(other.images, whole.images)


def test_data_dir_comes_first_whatever_was_found_before(stars, tmp_path):
    """Tilt series lie in the project alone, stacks and one STAR file also in a faster place."""
    made = stars.make("relion5", tmp_path / "project")
    made.write()
    shutil.copytree(tmp_path / "project/Extract", tmp_path / "fast/Extract")
    found = imported(made, tmp_path, data_dir=tmp_path / "fast")
    assert all(Path(p).is_relative_to(tmp_path / "fast") for p in found.images["stack"])
    copied = tmp_path / "fast/Tomograms/job1/tilt_series/TS_1.star"
    copied.parent.mkdir(parents=True)
    first = made.files[tmp_path / "project/Tomograms/job1/tilt_series/TS_1.star"]["TS_1"]
    stars.write_blocks(copied, {"TS_1": first.assign(rlnPhaseShift="33")})
    found = imported(made, tmp_path, data_dir=tmp_path / "fast")
    phase = found.images["phase_shift_degrees"].to_numpy()
    assert (phase == 33).tolist() == found.images["uid"].str.startswith("TS_1/").tolist()


def test_a_name_alone_is_the_last_resort(stars, tmp_path):
    """The first stack is found by its file name alone; the second in its folder, not so."""
    made = stars.make("warp", tmp_path, tomograms=1, particles=2)
    (tmp_path / "stacks/000_000000.mrcs").rename(tmp_path / "000_000000.mrcs")
    stars.write_stack(tmp_path / "000_000001.mrcs", 5)
    stacks = imported(made, tmp_path).images["stack"].unique().tolist()
    assert stacks == [str(tmp_path / "000_000000.mrcs"), str(tmp_path / "stacks/000_000001.mrcs")]


@pytest.mark.parametrize("dialect", ["relion31", "single", "relion5"])
def test_optics_may_stand_after_the_particles(stars, dialect, tmp_path):
    made = stars.make(dialect, tmp_path)
    blocks = made.files[made.particles]
    made.files[made.particles] = {name: blocks[name] for name in reversed(blocks)}
    found = imported(made, tmp_path)
    assert_true(found, made.truth)
    assert found.images["premultiplied"].all() == (dialect == "relion5")


def test_single_particles_with_a_group_of_micrographs_are_not_tilts(stars, tmp_path):
    """RELION 3.0 calls groups of micrographs rlnGroupName too."""
    made = stars.make("single", tmp_path, particles=4)
    made.table = made.table.assign(rlnGroupName="group_1")
    found = imported(made, tmp_path)
    assert found.info["dialect"] == "single"
    assert (found.particles["n_images"] == 1).all()


def test_no_defocus_means_no_ctf(stars, tmp_path):
    made = stars.make("cryosrpnt", tmp_path)
    gone = [
        "rlnDefocusU",
        "rlnDefocusV",
        "rlnDefocusAngle",
        "rlnVoltage",
        "rlnSphericalAberration",
        "rlnAmplitudeContrast",
    ]
    made.table = made.table.drop(columns=gone)
    images = imported(made, tmp_path).images
    assert images["defocus_u_angstrom"].isna().all() and (images["voltage_kv"] == 300).all()


def test_settings_override_columns(stars, tmp_path):
    made = stars.make("relion5", tmp_path)
    found = imported(made, tmp_path)
    assert found.images["premultiplied"].all() and found.images["dose_weighted"].all()
    other = imported(
        made,
        tmp_path,
        premultiplied=False,
        dose_weighted=False,
        dose_per_tilt=5.0,
        pixel_size_angstrom=7.0,
        contrast="dark",
    )
    assert not other.images["premultiplied"].any() and not other.images["dose_weighted"].any()
    np.testing.assert_allclose(other.images["dose_e_per_A2"], found.images["dose_e_per_A2"] + 2)
    assert (other.images["pixel_size_angstrom"] == 7.0).all()
    assert other.info["contrast"] == "dark" and found.info["contrast"] == "bright"


def test_halves_are_balanced_seeded_and_free_of_row_order(stars, tmp_path):
    made = stars.make("warp", tmp_path, particles=6)
    one = imported(made, tmp_path).particles
    counts = one.groupby("tomogram")["half"].value_counts().unstack()
    assert (counts[1] == counts[2]).all()
    made.table = made.table.sample(frac=1, random_state=3).reset_index(drop=True)
    two = imported(made, tmp_path).particles
    halves = [table.set_index("uid")["half"].sort_index() for table in (one, two)]
    pd.testing.assert_series_equal(*halves)
    other = imported(made, tmp_path, seed=1).particles.set_index("uid")["half"].sort_index()
    assert not other.equals(halves[0])


def test_halves_of_the_file_are_kept(stars, tmp_path):
    made = stars.make("relion5", tmp_path, particles=5)
    found = imported(made, tmp_path).particles
    wanted = made.table.set_index("rlnTomoParticleName")["rlnRandomSubset"].astype(int)
    assert found.set_index("uid")["half"].astype(int).to_dict() == wanted.to_dict()


def test_uneven_tilt_counts_are_kept(stars, tmp_path):
    made = stars.make("warp", tmp_path, particles=3, tilts=6)
    drop = made.table.index[[0, 1, 2, 9]]
    made.table = made.table.drop(index=drop).reset_index(drop=True)
    found = imported(made, tmp_path)
    assert sorted(found.particles["n_images"]) == [3, 5, 6, 6, 6, 6]


def test_few_images_are_enough(stars, tmp_path):
    found = imported(stars.make("warp", tmp_path, tomograms=1, particles=1, tilts=2), tmp_path)
    assert len(found) == 1 and len(found.images) == 2


def test_mirror_gives_the_mirrored_projection(stars, tmp_path):
    """Points seen by mirrored views are where the mirrored points were; views stay rotations."""
    made = stars.make("relion5", tmp_path)
    keep, other = imported(made, tmp_path), imported(made, tmp_path, hand="mirror")
    points = np.random.default_rng(0).normal(size=(20, 3))
    flat = points * [1, 1, -1]
    np.testing.assert_allclose(
        (other.views() @ flat.T)[:, :2], (keep.views() @ points.T)[:, :2], atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(other.views()), 1)
    same = [c for c in keep.images if not c.startswith(("view", "tilt"))]
    pd.testing.assert_frame_equal(keep.images[same], other.images[same])
    np.testing.assert_allclose(other.images["tilt_degrees"], -keep.images["tilt_degrees"])
