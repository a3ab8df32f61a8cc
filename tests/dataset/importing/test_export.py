"""The way back: same table value for value, subsets in the source's order, RELION-5 from all."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomopipe.config.importing import ExportSettings, ImportSettings
from tomopipe.dataset.export import export
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.particles import ParticleSet
from tomopipe.errors import StateError
from tomopipe.io.star import read_star

DIALECTS = ("warp", "cryosrpnt", "nextpyp", "relion31", "cistem", "single", "warptools", "relion5")
TOMO = ("warptools", "relion5")
few = settings(max_examples=3, deadline=None)
WITHOUT = ExportSettings(relion5=False)


def same_blocks(one: Path, two: Path) -> None:
    a, b = read_star(one), read_star(two)
    assert list(a.blocks) == list(b.blocks)
    for name in a.blocks:
        pd.testing.assert_frame_equal(a[name], b[name])
        assert a.blocks[name].loop == b.blocks[name].loop


@pytest.mark.parametrize("dialect", DIALECTS)
@given(seed=st.integers(0, 10**6))
@few
def test_round_trip_and_subset(stars, dialect, seed):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        made = stars.make(dialect, folder, seed=seed, tilts=3)
        table = made.table.sample(frac=1, random_state=seed).reset_index(drop=True)
        table["rlnLeadingZeros"] = [f"{k:03d}" for k in range(len(table))]
        table["rlnDigits"] = [f"{k}.500" for k in range(len(table))]
        table["rlnExponent"] = "1e-05"
        made.table = table[list(rng.permutation(table.columns))]
        dataset, out = Path(folder) / "data", Path(folder) / "Extract" / "out"
        import_star(made.write(), dataset)
        particles = ParticleSet.load(dataset)
        uids = particles.particles["uid"].tolist()
        some = list(rng.permutation(uids)[: max(1, len(uids) // 2)])
        export(dataset, out, {"all": uids, "some": some}, WITHOUT)
        same_blocks(made.particles, out / "all.star")
        rows = np.sort(particles.images[particles.images["uid"].isin(some)]["source_row"].unique())
        source = read_star(made.particles)[made.block]
        kept = read_star(out / "some.star")[made.block]
        pd.testing.assert_frame_equal(kept, source.iloc[rows].reset_index(drop=True))
        again = Path(folder) / "again"
        name = "some_optimisation_set.star" if dialect in TOMO else "some.star"
        import_star(out / name, again, ImportSettings(data_dir=Path(folder)))
        back, subset = ParticleSet.load(again), particles.subset(some)
        drop = ["source_row", "half"]
        pd.testing.assert_frame_equal(
            back.particles.drop(columns=drop), subset.particles.drop(columns=drop)
        )
        pd.testing.assert_frame_equal(
            back.images.drop(columns="source_row"), subset.images.drop(columns="source_row")
        )


def test_exporting_a_subset_of_a_subset_leads_back_to_the_first_source(stars, tmp_path):
    """Rows are found by uid in the source, so a filter after a filter keeps the way back."""
    made = stars.make("warp", tmp_path, particles=5)
    import_star(made.write(), tmp_path / "data")
    uids = ParticleSet.load(tmp_path / "data").particles["uid"].tolist()
    first = uids[3:]
    export(tmp_path / "data", tmp_path / "out", {"second": first[2:]}, WITHOUT)
    names = read_star(tmp_path / "out/second.star")[""]["rlnGroupName"].unique()
    assert list(names) == [uid.split("/")[1] for uid in uids[5:]]


def test_source_is_left_as_it_was(stars, tmp_path):
    made = stars.make("warptools", tmp_path)
    made.write()
    before = {path: path.read_bytes() for path in made.files}
    import_star(made.star, tmp_path / "data")
    uids = ParticleSet.load(tmp_path / "data").particles["uid"]
    export(tmp_path / "data", tmp_path / "out", {"kept": uids[:2]})
    assert {path: path.read_bytes() for path in made.files} == before


@pytest.mark.parametrize("dialect", DIALECTS)
def test_absolute_paths_resolve_from_anywhere(stars, dialect, tmp_path):
    made = stars.make(dialect, tmp_path / "project")
    if dialect == "cistem":
        made.table = made.table.assign(rlnImageName="unused")
    import_star(made.write(), tmp_path / "data")
    found = ParticleSet.load(tmp_path / "data")
    export(
        tmp_path / "data",
        tmp_path / "far/away",
        {"kept": found.particles["uid"][1:]},
        ExportSettings(paths="absolute", relion5=False),
    )
    name = "kept_optimisation_set.star" if dialect in TOMO else "kept.star"
    options = ImportSettings(data_dir=tmp_path / "project") if dialect == "cistem" else None
    import_star(tmp_path / "far/away" / name, tmp_path / "again", options)
    again = ParticleSet.load(tmp_path / "again")
    uids = list(again.particles["uid"])
    if dialect != "single":  # a single image is called by its stack's path
        assert uids == list(found.particles["uid"][1:])
    assert len(uids) == len(found) - 1


def test_comments_and_general_block_survive(stars, tmp_path):
    made = stars.make("relion5", tmp_path)
    import_star(made.write(), tmp_path / "data")
    uids = ParticleSet.load(tmp_path / "data").particles["uid"]
    export(tmp_path / "data", tmp_path / "out", {"kept": uids}, WITHOUT)
    text = (tmp_path / "out/kept.star").read_text()
    assert text.index("# version 50001") < text.index("data_general") < text.index("data_optics")
    names = read_star(tmp_path / "out/kept_optimisation_set.star")["optimisation_set"]
    assert all(Path(names[c][0]).is_file() for c in names)


def test_unknown_and_empty_groups_are_refused(stars, tmp_path):
    made = stars.make("warp", tmp_path)
    import_star(made.write(), tmp_path / "data")
    with pytest.raises(StateError, match="nobody"):
        export(tmp_path / "data", tmp_path / "out", {"kept": ["nobody"]})
    with pytest.raises(StateError, match="junk"):
        export(tmp_path / "data", tmp_path / "out", {"junk": []})
    with pytest.raises(StateError, match=r"import\.json|parquet"):
        export(tmp_path / "nothing", tmp_path / "out", {"kept": ["a"]})
    assert not (tmp_path / "out").exists()


def _rigid_series(stars, folder):
    """A Warp series whose poses come from one geometry per tomogram, as real ones do."""
    made = stars.make("warp", folder, particles=4, tilts=5)
    table, truth = made.table.copy(), {}
    rng = np.random.default_rng(5)
    for name, rows in table.groupby("rlnMicrographName").indices.items():
        del name
        tilts = [stars.turn("z", 3.0) @ stars.turn("y", t) for t in (-40.0, -20.0, 0.0, 20.0, 40.0)]
        dose = [5, 3, 1, 2, 4]
        for k, row in enumerate(rows):
            group, frame = table["rlnGroupName"][row], k % 5
            if frame == 0:
                truth[group] = (stars.euler(*rng.uniform(0, 170, 3)), rng.uniform(-4, 4, 3))
            pose, origin = truth[group]
            view = tilts[frame] @ pose
            rot = np.degrees(np.arctan2(view[2, 1], view[2, 0]))
            tilt = np.degrees(np.arccos(view[2, 2]))
            psi = np.degrees(np.arctan2(view[1, 2], -view[0, 2]))
            shift = (tilts[frame] @ origin)[:2] / 4.0
            for column, value in (
                ("rlnAngleRot", rot),
                ("rlnAngleTilt", tilt),
                ("rlnAnglePsi", psi),
                ("rlnOriginX", shift[0]),
                ("rlnOriginY", shift[1]),
                ("rlnCtfBfactor", -12.0 * dose[frame]),
                ("rlnDefocusU", 2e4 + 10 * frame),
                ("rlnDefocusV", 2e4),
                ("rlnDefocusAngle", 0.0),
                ("rlnCtfScalefactor", np.cos(np.radians((frame - 2) * 20.0))),
            ):
                table.loc[row, column] = f"{value:.9f}"
    made.table = table
    return made


def test_relion5_from_image_series(stars, tmp_path):
    """Matrices and poses are found from poses per image, and give the same images again."""
    made = _rigid_series(stars, tmp_path)
    made.table = made.table.drop(index=[2, 8]).reset_index(drop=True)  # uneven, and no whole stack
    import_star(made.write(), tmp_path / "data")
    found = ParticleSet.load(tmp_path / "data")
    export(tmp_path / "data", tmp_path / "out", {"kept": found.particles["uid"]})
    folder = tmp_path / "out/relion5"
    lost = json.loads((folder / "lost.json").read_text())["kept"]
    assert not any("Poses" in line or "origin" in line or "Defocus" in line for line in lost), lost
    assert any("stack" in line for line in lost) and any("coordinates" in line for line in lost)
    # give it one stack per particle, as an extraction in RELION-5 would
    star = read_star(folder / "kept.star")
    table = star["particles"].copy()
    table["rlnImageName"] = [f"new/{k}.mrcs" for k in range(len(table))]
    for name, visible in zip(table["rlnImageName"], table["rlnTomoVisibleFrames"], strict=True):
        stars.write_stack(folder / name, visible.count("1"))
    blocks = {name: block.table for name, block in star.blocks.items()}
    blocks["general"].attrs["single"] = True
    stars.write_blocks(folder / "kept.star", {**blocks, "particles": table})
    import_star(folder / "kept_optimisation_set.star", tmp_path / "again")
    again = ParticleSet.load(tmp_path / "again")
    assert again.particles["uid"].tolist() == [
        u.replace(".tomostar", ".tomostar") for u in found.particles["uid"]
    ]
    columns = ["uid", "dose_e_per_A2"]
    a = found.images.assign(view=list(found.views())).sort_values(columns)
    b = again.images.assign(view=list(again.views())).sort_values(columns)
    np.testing.assert_allclose(np.stack(a["view"]), np.stack(b["view"]), atol=1e-6)
    for column in (
        "shift_x_angstrom",
        "shift_y_angstrom",
        "dose_e_per_A2",
        "defocus_u_angstrom",
        "pixel_size_angstrom",
    ):
        np.testing.assert_allclose(a[column], b[column], atol=1e-3, err_msg=column)
    assert again.particles["half"].tolist() == found.particles["half"].tolist()


@pytest.mark.parametrize("dialect", TOMO)
def test_relion5_from_tomograms(stars, dialect, tmp_path):
    made = stars.make(dialect, tmp_path)
    import_star(made.write(), tmp_path / "data")
    found = ParticleSet.load(tmp_path / "data")
    export(tmp_path / "data", tmp_path / "out", {"kept": found.particles["uid"]})
    import_star(
        tmp_path / "out/relion5/kept_optimisation_set.star",
        tmp_path / "again",
        ImportSettings(data_dir=tmp_path),
    )
    again = ParticleSet.load(tmp_path / "again")
    pd.testing.assert_frame_equal(again.images, found.images)
    pd.testing.assert_frame_equal(again.particles, found.particles)


@pytest.mark.parametrize("inside", [True, False], ids=["in the project", "with data_dir"])
def test_a_relion5_set_is_read_from_anywhere(stars, inside, tmp_path):
    """Tilt-series STAR files too are named by absolute paths, found as the import found them."""
    project = tmp_path / "project"
    made = stars.make("relion5", project)
    star, options = made.write(), ImportSettings()
    if not inside:
        (tmp_path / "far").mkdir()
        star = made.star.rename(tmp_path / "far" / "set.star")
        options = ImportSettings(data_dir=project)
    import_star(star, tmp_path / "data", options)
    found = ParticleSet.load(tmp_path / "data")
    groups = {"kept": found.particles["uid"]}
    export(tmp_path / "data", tmp_path / "out", groups, ExportSettings(paths="absolute"))
    for folder in (tmp_path / "out", tmp_path / "out/relion5"):
        import_star(folder / "kept_optimisation_set.star", tmp_path / "again")
        again = ParticleSet.load(tmp_path / "again")
        pd.testing.assert_frame_equal(again.images, found.images)


def test_single_particles_have_no_tomograms_to_write(stars, tmp_path):
    made = stars.make("single", tmp_path)
    import_star(made.write(), tmp_path / "data")
    uids = ParticleSet.load(tmp_path / "data").particles["uid"]
    export(tmp_path / "data", tmp_path / "out", {"kept": uids})
    assert list((tmp_path / "out/relion5").iterdir()) == [tmp_path / "out/relion5/lost.json"]
