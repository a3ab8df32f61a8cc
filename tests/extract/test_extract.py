"""What extraction writes, what it leaves out and why, and how jobs are joined."""

from __future__ import annotations

from dataclasses import replace

import mrcfile
import numpy as np
import pandas as pd
import pytest

from tests.dataset.tilt_series.series import assert_same_geometry, assert_same_optics
from tests.extract.conftest import correlation, images_of, imported
from tests.extract.world import PIXEL, make_world, write_star
from tomopipe.cli.main import main
from tomopipe.config.extract import ExtractSettings
from tomopipe.config.importing import ImportSettings
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.geometry import TiltImage
from tomopipe.dataset.tilt_series.read import read_tilt_series
from tomopipe.dataset.tilt_series.write import write_tilt_series
from tomopipe.errors import ConfigError, InputError, StateError
from tomopipe.extract.extract import extract, join
from tomopipe.extract.particles import read_particles
from tomopipe.io.atomic import read_json, write_parquet
from tomopipe.io.star import read_star


def test_data_sets_of_the_same_particles_share_uids_and_order(data, tmp_path):
    small = imported(data.extract(tmp_path / "a", box=32, pixel_size_angstrom=9.3))
    large = imported(data.extract(tmp_path / "b", box=64, pixel_size_angstrom=4.1))
    given = read_star(data.star)["particles"]["rlnTomoParticleName"].tolist()
    assert small.particles["uid"].tolist() == large.particles["uid"].tolist() == given
    columns = ["uid", "tomogram", "x_angstrom", "y_angstrom", "z_angstrom", "half"]
    assert small.particles[columns].equals(large.particles[columns])
    assert (small.info["box"], large.info["box"]) == (32, 64)


def test_files_are_those_of_relion(data, tmp_path):
    out = data.extract(tmp_path / "out", ctf_premultiply=True, dose_weight=True)
    star = read_star(out / "particles.star")
    assert star["general"]["rlnTomoSubTomosAre2DStacks"].tolist() == ["1"]
    (optics,) = star["optics"].to_dict("records")
    assert float(optics["rlnTomoSubtomogramBinning"]) == pytest.approx(6.5 / PIXEL)
    assert (optics["rlnImagePixelSize"], optics["rlnImageSize"]) == ("6.5", "48")
    assert optics["rlnCtfDataAreCtfPremultiplied"] == optics["tomopipeDataAreDoseWeighted"] == "1"
    rows, source = star["particles"], read_star(data.star)["particles"]
    kept = [f"rlnAngle{a}" for a in ("Rot", "Tilt", "Psi")] + ["rlnRandomSubset", "rlnClassNumber"]
    assert rows[kept].equals(source[kept])  # to the letter
    assert (rows[[f"rlnOrigin{a}Angst" for a in "XYZ"]].astype(float) == 0).all(axis=None)
    path = rows["rlnImageName"][0]
    assert path == str(out / "stacks" / "TS_1" / "1_stack2d.mrcs")
    with mrcfile.open(path) as mrc:
        assert (mrc.data.shape, mrc.data.dtype) == ((5, 48, 48), np.float16)
        assert mrc.voxel_size.x == pytest.approx(6.5)
        assert mrc.is_image_stack()
    for name, before in data.series().items():
        again = read_tilt_series(out / "tomograms.star", TiltSeriesSettings())[name]
        assert_same_geometry(before, again)
        assert_same_optics(before, again)
        assert [(i.path, i.section) for i in again.images] == [
            (i.path.resolve(), i.section) for i in before.images
        ]
    assert {p.name for p in out.iterdir()} == {
        "stacks",
        "tilt_series",
        "particles.star",
        "tomograms.star",
        "optimisation_set.star",
        "dropped.parquet",
        "extract.json",
    }
    record = read_json(out / "extract.json")
    assert (record["n_particles"], record["n_images"], record["n_dropped"]) == (8, 40, 0)
    assert record["settings"]["box"] == 48


def test_relative_paths_can_be_moved(data, tmp_path):
    out = data.extract(tmp_path / "first", paths="relative")
    out.rename(tmp_path / "second")
    assert len(imported(tmp_path / "second").images) == 40


@pytest.fixture(scope="module")
def rim(tmp_path_factory):
    """A tomogram whose last particle lies where two tilt images end, and one that none hold."""
    folder = tmp_path_factory.mktemp("rim")
    world = make_world("TS_1", 3)
    # tilts turn x into y of the image: this one leaves it upwards at high tilt
    world.position[3] = (590, 20, 0)
    world.position[2] = (20, -590, 0)
    world.shift[:] = [(0, 0), (0, 0), (0, 0), (0, -60), (0, 60)]
    world.write_images(folder)
    return folder, world, write_star(folder / "particles.star", world.rows())


def test_images_that_do_not_hold_the_box_are_left_out(rim, tmp_path):
    folder, world, path = rim
    series = {"TS_1": world.series(folder)}
    settings = ExtractSettings(
        box=48, pixel_size_angstrom=6.5, normalize=False, dtype="float32", min_tilts=2
    )
    record = extract(series, read_particles(path), tmp_path / "out", settings)
    half, size = 24 * 6.5 / PIXEL, np.array(series["TS_1"].image_size)
    inside = []
    for p in range(4):
        pixels = np.stack([world.place(p, f) / PIXEL + size // 2 for f in range(5)])
        inside.append(((pixels >= half) & (pixels + half <= size - 1)).all(axis=1))
    counts = np.array([i.sum() for i in inside])
    assert (counts >= 2).sum() == 3 and counts.min() < 2 and (counts < 5).sum() == 2
    rows = read_star(tmp_path / "out" / "particles.star")["particles"]
    seen = [i.astype(int).tolist() for i, n in zip(inside, counts, strict=True) if n >= 2]
    assert rows["rlnTomoVisibleFrames"].tolist() == [str(s).replace(" ", "") for s in seen]
    made = imported(tmp_path / "out")
    for w, p, f, image, row in _images(world, made):
        assert inside[p][f]
        assert row.dose_e_per_A2 == pytest.approx(w.dose[f])
        assert correlation(image, w.direct(p, f, 48, 6.5)) > 0.98  # others reach into the box
    assert (record["n_particles"], record["n_images"]) == (3, sum(map(sum, seen)))
    dropped = pd.read_parquet(tmp_path / "out" / "dropped.parquet")
    assert dropped["reason"].tolist() == ["fewer than 2 tilts hold its box"]
    assert dropped["uid"].tolist() == [f"TS_1/{counts.argmin() + 1}"]
    assert record["dropped"] == {"fewer than 2 tilts hold its box": 1}


def _images(world, made):
    class Only:
        worlds = {world.name: world}  # noqa: RUF012

    return images_of(Only, made)


def test_tilts_beyond_the_dose_are_left_out(data, tmp_path):
    made = imported(data.extract(tmp_path, max_dose_e_per_A2=10))
    assert made.images["dose_e_per_A2"].max() == 9
    assert (made.particles["n_images"] == 3).all()


def test_parts_joined_are_the_whole(data, tmp_path):
    whole = data.extract(tmp_path / "whole", paths="relative")
    settings = ExtractSettings(box=48, pixel_size_angstrom=6.5, normalize=False, paths="relative")
    out, particles = tmp_path / "out", read_particles(data.star)
    extract(data.series(), particles, out, settings, part=(1, 3))
    with pytest.raises(StateError, match=r"lacks the part 0/3"):
        join(out)
    assert not (out / "particles.star").exists()
    only_first = {"TS_1": data.series()["TS_1"]}  # a job needs its own tilt series alone
    extract(only_first, particles, out, settings, part=(0, 3))
    extract({}, particles, out, settings, part=(2, 3))  # more jobs than tomograms
    record = join(out)
    assert record == read_json(whole / "extract.json")
    for name in ("particles.star", "tomograms.star", "optimisation_set.star"):
        assert (out / name).read_text() == (whole / name).read_text()
    for stack in (whole / "stacks").rglob("*.mrcs"):
        other = out / stack.relative_to(whole)
        assert stack.read_bytes()[1024:] == other.read_bytes()[1024:]
    extract(data.series(), particles, out, replace_box(settings, 32), part=(2, 3))
    with pytest.raises(StateError, match="other settings"):
        join(out)


@pytest.mark.parametrize("part", [(0, 2), None], ids=["a job", "a whole run"])
def test_parts_of_an_earlier_run_are_not_joined(data, tmp_path, part):
    """A second run, of another alignment, is killed: its stacks and the old ones are no set."""
    settings = ExtractSettings(box=48, pixel_size_angstrom=6.5, normalize=False)
    out, particles = tmp_path / "out", read_particles(data.star)
    for k in (0, 1):
        extract(data.series(), particles, out, settings, part=(k, 2))
    missing = TiltImage(data.folder / "gone.mrc")
    series = data.series()
    broken = replace(series["TS_1"], images=(*series["TS_1"].images[:-1], missing))
    with pytest.raises(InputError, match=r"gone\.mrc does not exist"):
        extract(series | {"TS_1": broken}, particles, out, settings, part=part)
    with pytest.raises(StateError, match=r"lacks the part 0/2|has no parts"):
        join(out)
    # what is left of its tomogram are no stacks of the earlier run
    assert [p.name for p in (out / "stacks").iterdir()] == ["TS_2"]


def test_stacks_of_particles_that_are_gone_are_gone(data, tmp_path):
    data.extract(tmp_path / "out")
    data.extract(tmp_path / "out", select=["TS_1/2", "TS_2/1"])
    names = {p.parent.name + "/" + p.name for p in (tmp_path / "out").rglob("*.mrcs")}
    assert names == {"TS_1/2_stack2d.mrcs", "TS_2/1_stack2d.mrcs"}


@pytest.mark.parametrize(
    "column", ["rlnTomoSubtomogramRot", "rlnAngleTilt", "rlnRandomSubset", "rlnOriginYAngst"]
)
def test_parts_of_other_particles_are_not_joined(data, tmp_path, column):
    settings = ExtractSettings(box=48, pixel_size_angstrom=6.5, normalize=False)
    rows = [row for world in data.worlds.values() for row in world.rows()]
    other = [row | {column: 2.5} for row in rows]
    for k, given in enumerate((rows, other)):
        particles = read_particles(write_star(tmp_path / "particles.star", given))
        extract(data.series(), particles, tmp_path / "out", settings, part=(k, 2))
    with pytest.raises(StateError, match="other settings, particles or alignments"):
        join(tmp_path / "out")


def test_parts_of_two_alignments_are_not_joined(data, tmp_path):
    settings = ExtractSettings(box=48, pixel_size_angstrom=6.5, normalize=False)
    rows = [row for world in data.worlds.values() for row in world.rows()]
    particles = read_particles(write_star(tmp_path / "particles.star", rows))
    for k, source in enumerate(("first.star", "second.star")):
        extract(data.series(), particles, tmp_path / "out", settings, part=(k, 2), source=source)
    with pytest.raises(StateError, match="or alignments"):
        join(tmp_path / "out")


def test_the_command_line_knows_alignments_apart(data, tmp_path, capsys):
    for name in ("first", "second"):
        write_tilt_series(tmp_path / name, list(data.series().values()), "relion5")
    for part, name in enumerate(("first", "second")):
        words = ["extract", str(tmp_path / name), "--particles", str(data.star), "--box", "48"]
        words += ["--pixel-size-angstrom", "6.5", "--no-normalize", "--out", str(tmp_path / "out")]
        assert main([*words, "--part", f"{part}/2"]) == 0
    assert main(["extract", "--out", str(tmp_path / "out"), "--join"]) == 2
    assert "or alignments" in capsys.readouterr().err


def test_parts_of_another_number_of_jobs_go(data, tmp_path):
    particles = read_particles(data.star)
    settings = ExtractSettings(box=48, pixel_size_angstrom=6.5, normalize=False)
    out = tmp_path / "out"
    for part in ((0, 1), (0, 2), (1, 2)):
        extract(data.series(), particles, out, settings, part=part)
    join(out, 2)
    assert sorted(path.name for path in (out / "parts").iterdir()) == ["0_of_2", "1_of_2"]


def test_tomograms_of_one_file_name_are_refused(data, tmp_path):
    rows = [dict(row) for world in data.worlds.values() for row in world.rows()]
    for row in rows:
        row["rlnTomoName"] = "a/b" if row["rlnTomoName"] == "TS_1" else "a_b"
    particles = read_particles(write_star(tmp_path / "particles.star", rows))
    settings = ExtractSettings(box=48, pixel_size_angstrom=6.5)
    with pytest.raises(InputError, match="a/b and a_b would share one folder"):
        extract({}, particles, tmp_path / "out", settings)


def replace_box(settings, box):
    return settings.model_copy(update={"box": box})


def test_a_run_that_fails_leaves_no_stacks(data, tmp_path):
    """The second tilt series lacks its last image: neither its stacks nor STAR files are there."""
    series = data.series()
    missing = TiltImage(data.folder / "gone.mrc")
    broken = replace(series["TS_2"], images=(*series["TS_2"].images[:-1], missing))
    with pytest.raises(InputError, match=r"gone\.mrc does not exist"):
        data.extract(tmp_path / "out", series=series | {"TS_2": broken})
    assert [p.name for p in (tmp_path / "out").iterdir()] in (
        ["stacks", "tilt_series"],
        ["tilt_series", "stacks"],
    )
    assert [p.name for p in (tmp_path / "out" / "stacks").iterdir()] == ["TS_1"]
    # nor do STAR files of an earlier run name stacks that have changed since
    data.extract(tmp_path / "out")
    with pytest.raises(InputError, match=r"gone\.mrc does not exist"):
        data.extract(tmp_path / "out", contrast="bright", series=series | {"TS_2": broken})
    assert not list((tmp_path / "out").glob("*.star"))


def test_the_command_line_from_beginning_to_end(data, tmp_path, capsys):
    series = list(data.series().values())
    write_tilt_series(tmp_path / "aligned", series, "relion5")
    table = pd.DataFrame({"uid": ["TS_1/1", "TS_2/3", "TS_2/4"], "kept": [True, True, False]})
    write_parquet(tmp_path / "selected.parquet", table)
    words = ["extract", str(tmp_path / "aligned"), "--particles", str(data.star), "--box", "48"]
    words += [
        "--no-normalize",
        "--pixel-size-angstrom",
        "6.5",
        "--select",
        str(tmp_path / "selected.parquet"),
    ]
    words += ["--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert capsys.readouterr().out == "2 particles with 10 images\n"
    assert main([*words, "--part", "0/2"]) == main([*words, "--part", "1/2"]) == 0
    assert main(["extract", "--out", str(tmp_path / "out"), "--join"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 particles with 10 images"
    made = imported(tmp_path / "out")
    assert made.particles["uid"].tolist() == ["TS_1/1", "TS_2/3"]
    # the imported data set names the same particles
    words[3] = str(tmp_path / "out" / "dataset")
    words[-1] = str(tmp_path / "again")
    assert main(words) == 0
    columns = made.images.columns.difference(["stack"])
    assert imported(tmp_path / "again").images[columns].equals(made.images[columns])
    assert main(["extract", "--out", str(tmp_path / "out")]) == 2
    assert "SERIES is missing" in capsys.readouterr().err


def test_warptools_counts_coordinates_in_pixels_of_its_images(data, plain, tmp_path):
    size = data.series()["TS_1"].volume_angstrom
    rows = []
    for number, row in enumerate(data.worlds["TS_1"].rows()):
        row = {k: v for k, v in row.items() if "Centered" not in k}
        row |= {"rlnTomoName": "TS_1.tomostar", "rlnTomoParticleId": number + 1}
        pixels = (data.worlds["TS_1"].coordinate(number) + size / 2) / 10
        rows.append(row | {f"rlnCoordinate{a}": pixels[k] for k, a in enumerate("XYZ")})
    optics = {"rlnOpticsGroup": 1, "rlnTomoTiltSeriesPixelSize": PIXEL, "rlnImagePixelSize": 10.0}
    star = write_star(tmp_path / "warp.star", rows, optics)
    series = {"TS_1.tomostar": data.series()["TS_1"]}
    out = data.extract(tmp_path / "out", star=star, series=series, dtype="float32")
    made = imported(out, settings=ImportSettings()).images.set_index(["uid", "source_frame"])
    true = imported(plain).images.set_index(["uid", "source_frame"])
    for key, row in made.iterrows():
        np.testing.assert_allclose(
            row["defocus_u_angstrom"], true.loc[key, "defocus_u_angstrom"], atol=1e-3
        )
    # a table of picks names the .tomostar and no particles; its pixel size must be said
    picks = [
        {"rlnMicrographName": "TS_1.tomostar"}
        | {k: v for k, v in row.items() if k.startswith("rlnCoord") or k.startswith("rlnOrigin")}
        for row in rows
    ]
    star = write_star(tmp_path / "picks.star", picks)
    with pytest.raises(ConfigError, match="coordinates_pixel_size_angstrom is not set"):
        read_particles(star)
    found = read_particles(star, 10.0)
    assert found.uid.tolist() == [f"TS_1/{k}" for k in range(1, 5)]
    np.testing.assert_allclose(found.coordinate - size / 2, read_world(data).coordinate, atol=1e-6)
    # Warp's template matching writes shares of the tomogram's size
    for row in picks:
        for axis, length in zip("XYZ", size, strict=True):
            row[f"rlnCoordinate{axis}"] = row[f"rlnCoordinate{axis}"] * 10.0 / length
    found = read_particles(write_star(tmp_path / "matching.star", picks))
    centred = found.from_centre(data.series()["TS_1"])
    np.testing.assert_allclose(centred, read_world(data).coordinate, atol=1e-3)
    with pytest.raises(ConfigError, match="from 0 to 1, shares of the tomogram's size"):
        read_particles(tmp_path / "matching.star", 10.0)


def read_world(data):
    particles = read_particles(data.star).select([f"TS_1/{k}" for k in range(1, 5)])
    return particles.take(np.argsort(particles.uid))
