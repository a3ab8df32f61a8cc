"""Bad input is one sentence that names file, block, column and row, and leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.importer import import_star
from tomopipe.errors import InputError

DIALECTS = ("warp", "nextpyp", "relion31", "cistem", "single", "warptools", "relion5")


def refused(star, folder, *words, **options) -> str:
    """The sentence of the refusal; it must have all `words`, and nothing may have been written."""
    before = sorted(Path(folder).rglob("*"))
    with pytest.raises(InputError) as caught:
        import_star(star, Path(folder) / "out", ImportSettings(**options))
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 1500
    for word in words:
        assert str(word) in sentence, sentence
    assert sorted(Path(folder).rglob("*")) == before, "partial output"
    return sentence


def changed(stars, tmp_path, dialect, row, column, value):
    made = stars.make(dialect, tmp_path)
    made.table.loc[row, column] = value
    return made.write()


@pytest.mark.parametrize(
    ("dialect", "column", "value"),
    [
        ("warp", "rlnAngleTilt", "nan"),
        ("warp", "rlnAngleRot", "abc"),
        ("warp", "rlnAnglePsi", "inf"),
        ("warp", "rlnDetectorPixelSize", "0"),
        ("warp", "rlnDetectorPixelSize", "-3"),
        ("warp", "rlnDefocusU", "x"),
        ("warp", "rlnOriginX", "nan"),
        ("warp", "rlnCtfBfactor", "12.5"),
        ("warp", "rlnCtfScalefactor", "1.7"),
        ("warp", "rlnImageName", "99@stacks/000_000000.mrcs"),
        ("warp", "rlnImageName", "0@stacks/000_000000.mrcs"),
        ("warp", "rlnImageName", "stacks/000_000000.mrcs"),
        ("relion31", "rlnOpticsGroup", "7"),
        ("single", "rlnImageName", "4@Extract/mic0.mrcs"),
        ("cistem", "cisTEMAnglePhi", "nan"),
        ("cistem", "cisTEMPositionInStack", "1.5"),
        ("relion5", "rlnTomoVisibleFrames", "[1,0]"),
        ("relion5", "rlnTomoVisibleFrames", "none"),
        ("relion5", "rlnTomoVisibleFrames", "[0,0,0,0,0]"),
        ("relion5", "rlnCenteredCoordinateXAngst", "?"),
        ("warptools", "rlnAngleTilt", "nan"),
    ],
)
def test_bad_value(stars, tmp_path, dialect, column, value):
    star = changed(stars, tmp_path, dialect, 2, column, value)
    shown = {"cisTEMAnglePhi": "rlnAngleRot", "cisTEMPositionInStack": column}.get(column, column)
    refused(star, tmp_path, ".star", "block data_", f"column {shown}", "row 3")


@pytest.mark.parametrize(
    ("dialect", "column"),
    [
        ("warp", "rlnAngleRot"),
        ("warp", "rlnDefocusV"),
        ("warp", "rlnVoltage"),
        ("relion31", "rlnAnglePsi"),
        ("single", "rlnAngleTilt"),
        ("cistem", "cisTEMAngleTheta"),
        ("cistem", "cisTEMPositionInStack"),
        ("relion5", "rlnAngleRot"),
        ("warp", "rlnGroupName"),
    ],
)
def test_missing_column(stars, tmp_path, dialect, column):
    made = stars.make(dialect, tmp_path)
    made.table = made.table.drop(columns=column)
    if column == "rlnGroupName":
        refused(made.write(), tmp_path, "has no column rlnGroupName", dialect="warp")
    else:
        refused(made.write(), tmp_path, ".star block data_", f"has no column {column}")


@pytest.mark.parametrize("column", ["rlnDefocusU", "rlnTomoYTilt", "rlnTomoZRot"])
def test_missing_column_of_a_tilt_series(stars, tmp_path, column):
    made = stars.make("relion5", tmp_path)
    path = tmp_path / "Tomograms/job1/tilt_series/TS_1.star"
    made.files[path]["TS_1"] = made.files[path]["TS_1"].drop(columns=column)
    refused(made.write(), tmp_path, path, "data_TS_1", column)


def test_missing_pixel_size(stars, tmp_path):
    made = stars.make("warp", tmp_path)
    made.table = made.table.drop(columns="rlnDetectorPixelSize")
    refused(made.write(), tmp_path, "pixel_size_angstrom")
    import_star(made.star, tmp_path / "out", ImportSettings(pixel_size_angstrom=4.0))


def test_unknown_dialect(tmp_path):
    star = tmp_path / "a.star"
    star.write_text("data_x\n\nloop_\n_foo #1\n_bar #2\n1 2\n")
    refused(star, tmp_path, star, "foo", "no known dialect")


def test_tomograms_star_given_as_particles(stars, tmp_path):
    made = stars.make("relion5", tmp_path)
    made.write()
    refused(tmp_path / "Tomograms/job1/tomograms.star", tmp_path, "tomograms STAR file")


def test_forced_dialect_of_another_kind(stars, tmp_path):
    refused(stars.make("warp", tmp_path).write(), tmp_path, "relion5", dialect="relion5")


def test_duplicate_image(stars, tmp_path):
    made = stars.make("single", tmp_path)
    made.table.loc[4, "rlnImageName"] = made.table.loc[3, "rlnImageName"]
    refused(made.write(), tmp_path, "row 5", "row 4", "duplicate")
    made = stars.make("relion31", tmp_path)
    made.table.loc[7, "rlnImageName"] = made.table.loc[1, "rlnImageName"]
    made.table.loc[7, "rlnCtfBfactor"] = "-400"
    refused(made.write(), tmp_path, "row 8", "row 2", "000_000000.mrcs")


def test_duplicate_particle(stars, tmp_path):
    made = stars.make("relion5", tmp_path)
    made.table.loc[2, "rlnTomoParticleName"] = "TS_0/1"
    refused(made.write(), tmp_path, "row 3", "TS_0/1", "row 1")


def test_two_particles_of_one_name_after_merging(stars, tmp_path):
    """Two Warp projects merged: the same group name would silently make one particle of two."""
    made = stars.make("cryosrpnt", tmp_path, tomograms=1, particles=2)
    made.table["rlnGroupName"] = "000_000000"
    refused(made.write(), tmp_path, "000_000000", "share one name")


def test_missing_stack_tells_what_was_tried(stars, tmp_path):
    made = stars.make("warp", tmp_path)
    (tmp_path / "stacks/001_000001.mrcs").unlink()
    sentence = refused(made.write(), tmp_path, "stacks/001_000001.mrcs", "row 21", "data_dir")
    assert str(tmp_path / "stacks/001_000001.mrcs") in sentence


def test_stacks_elsewhere_are_found_with_data_dir(stars, tmp_path):
    made = stars.make("warp", tmp_path)
    (tmp_path / "stacks").rename(tmp_path / "elsewhere")
    refused(made.write(), tmp_path, "data_dir")
    import_star(made.star, tmp_path / "out", ImportSettings(data_dir=tmp_path / "elsewhere"))


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "header"])
@pytest.mark.parametrize("dialect", ["warp", "relion5"])
def test_unreadable_stack(stars, tmp_path, dialect, damage):
    made = stars.make(dialect, tmp_path)
    stack = sorted(tmp_path.rglob("*.mrcs"))[-1]
    content = stack.read_bytes()
    stack.write_bytes(
        {
            "truncated": content[:-10],
            "empty": b"",
            "text": b"hello " * 300,
            "header": content[:500],
        }[damage]
    )
    refused(made.write(), tmp_path, stack, "row")


def test_box(stars, tmp_path):
    made = stars.make("warp", tmp_path)
    stars.write_stack(tmp_path / "stacks/000_000001.mrcs", 5, box=12)
    refused(made.write(), tmp_path, "row 6", "12", "8", "box")
    made = stars.make("relion31", tmp_path)
    stars.write_stack(tmp_path / "stacks/000_000001.mrcs", 5, box=12)
    refused(made.write(), tmp_path, "row 6", "12 x 12", "rlnImageSize")


@pytest.mark.parametrize("box", [9, 2])
def test_a_box_without_a_half_plane(stars, tmp_path, box):
    made = stars.make("warp", tmp_path, tomograms=1, particles=2)
    for stack in sorted((tmp_path / "stacks").iterdir()):
        stars.write_stack(stack, 5, box=box)
    refused(made.write(), tmp_path, "row 1", stack.parent, f"{box} pixels", "even", "crop or pad")


def test_sections_that_fit_neither_frames_nor_visible_ones(stars, tmp_path):
    made = stars.make("warptools", tmp_path)
    stars.write_stack(tmp_path / made.table["rlnImageName"][1], 7)
    refused(made.write(), tmp_path, "row 2", "7 images", "5 tilts")


def test_subtomogram_volumes_are_refused(stars, tmp_path):
    star = changed(stars, tmp_path, "relion5", 0, "rlnImageName", "a/1_data.mrc")
    refused(star, tmp_path, "row 1", "3D subtomogram")


def test_tomogram_that_is_not_listed(stars, tmp_path):
    star = changed(stars, tmp_path, "relion5", 1, "rlnTomoName", "TS_9")
    refused(star, tmp_path, "tomograms.star", "TS_9")


def test_matrix_that_is_no_rotation(stars, tmp_path):
    made = stars.make("warptools", tmp_path)
    path = tmp_path / "Tomograms/job1/tomograms.star"
    made.files[path]["TS_0.tomostar"].loc[3, "rlnTomoProjX"] = "[1,1,0,0]"
    refused(made.write(), tmp_path, path, "data_TS_0.tomostar", "rlnTomoProjX", "row 4")


@pytest.mark.parametrize("dialect", ["relion5", "warptools"])
def test_a_tomogram_without_tilts(stars, tmp_path, dialect):
    made = stars.make(dialect, tmp_path)
    name = "TS_1" if dialect == "relion5" else "TS_1.tomostar"
    path = next(path for path, blocks in made.files.items() if name in blocks)
    made.files[path][name] = made.files[path][name].iloc[:0]
    refused(made.write(), tmp_path, path, f"data_{name} has no rows", "export the tomogram")


def test_missing_files_of_a_set(stars, tmp_path):
    made = stars.make("relion5", tmp_path)
    made.write()
    (tmp_path / "Tomograms/job1/tilt_series/TS_1.star").unlink()
    refused(made.star, tmp_path, "TS_1.star", "row 2")
    made.particles.unlink()
    refused(made.star, tmp_path, "particles.star", "rlnTomoParticlesFile")
    refused(tmp_path / "no.star", tmp_path, "no.star does not exist")


def test_phase_flipped_images_are_refused(stars, tmp_path):
    made = stars.make("single", tmp_path)
    optics = made.files[made.star]["optics"]
    optics["rlnCtfDataArePhaseFlipped"] = "1"
    refused(made.write(), tmp_path, "phase-flipped")


def test_an_error_leaves_an_earlier_import_alone(stars, tmp_path):
    made = stars.make("warp", tmp_path)
    import_star(made.write(), tmp_path / "out")
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    made.table.loc[0, "rlnAngleRot"] = "nan"
    refused(made.write(), tmp_path)
    after = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert after == before


@pytest.mark.parametrize("dialect", DIALECTS)
@given(
    cut=st.floats(0, 1),
    noise=st.lists(st.tuples(st.floats(0, 1), st.integers(32, 126)), max_size=3),
)
@settings(max_examples=12, deadline=None)
def test_truncated_and_garbled_files_never_give_a_traceback(stars, dialect, cut, noise):
    """A damaged STAR file is either still a table, or refused in one sentence without output."""
    with tempfile.TemporaryDirectory() as folder:
        made = stars.make(dialect, folder, tomograms=1, particles=2, tilts=2)
        made.write()
        victims = list(made.files)
        path = victims[int(cut * 997) % len(victims)]
        content = bytearray(path.read_bytes())
        for place, byte in noise:
            content[int(place * (len(content) - 1))] = byte
        path.write_bytes(content[: int(np.ceil(cut * len(content)))])
        out = Path(folder) / "out"
        try:
            import_star(made.star, out)
        except InputError as error:
            assert "\n" not in str(error)
            assert not out.exists()
            assert not [p for p in Path(folder).iterdir() if p.name.startswith(".")]
