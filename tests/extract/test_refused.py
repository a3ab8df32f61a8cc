"""Input that cannot be used ends with one sentence that names it and says what to do."""

from __future__ import annotations

from dataclasses import replace

import mrcfile
import numpy as np
import pytest

from tests.extract.world import write_star
from tomopipe.config.extract import ExtractSettings
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.errors import InputError, TomopipeError
from tomopipe.extract.particles import read_particles
from tomopipe.extract.series import series_of


def series_with(**given):
    return lambda data: data.series(**given)


def no_alignment(data):
    series = data.series()
    rotation = series["TS_2"].rotation.copy()
    rotation[3] = np.nan
    return series | {"TS_2": replace(series["TS_2"], rotation=rotation)}


def no_defocus(data):
    return data.series(defocus_u_angstrom=np.array([1e4, 1e4, np.nan, 1e4, 1e4]))


@pytest.mark.parametrize(
    ("series", "settings", "words"),
    [
        (series_with(hand=0.0), {}, "TS_1 has the hand 0: rlnTomoHand must be 1 or -1"),
        (no_alignment, {}, "TS_2 has no alignment of tilt 4: align it"),
        (no_defocus, {}, "TS_1 has no defocus of tilt 3: estimate the CTF"),
        (
            series_with(volume_angstrom=np.array([300.0, 1200, 700])),
            {},
            r"puts particle TS_1/1 at \(.*\) Å from the centre of tomogram TS_1, outside its 300 x",
        ),
        (series_with(pixel_size=3.5), {}, r"has pixels of 3\.1 Å in its header, but .* says 3\.5"),
        (series_with(image_size=(450, 480)), {}, "has 480 x 450 pixels, but .* says 450 x 480"),
        (series_with(), {"pixel_size_angstrom": 2.0}, r"has pixels of 3\.1 Å, which hold nothing"),
        (series_with(), {"box": 256}, "leaves no particle: 8 are dropped because of 'fewer than 3"),
        (
            series_with(dose_e_per_A2=np.full(5, np.nan)),
            {"dose_weight": True},
            "TS_1 has no dose: give the dose",
        ),
        (series_with(), {"coordinates_pixel_size_angstrom": 3.0}, "which is in Å: leave it out"),
    ],
)
def test_series_and_settings(data, tmp_path, series, settings, words):
    with pytest.raises(TomopipeError, match=words) as error:
        data.extract(tmp_path / "out", series=series(data), **settings)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "particles.star").exists()


def test_a_header_that_is_wrong_can_be_overruled(data, tmp_path):
    series = data.series(pixel_size=3.5, volume_angstrom=np.full(3, np.nan))
    data.extract(tmp_path / "out", series=series, check_pixel_size=False)


def test_outside_particles_can_be_dropped(data, tmp_path):
    series = data.series(volume_angstrom=np.array([2000.0, 1200, 2 * 40.0]))
    inside = sum(
        abs(world.position[p, 2]) <= 40 for world in data.worlds.values() for p in range(4)
    )
    assert 0 < inside < 8
    out = data.extract(tmp_path / "out", series=series, outside="drop")
    assert len(list(out.rglob("*_stack2d.mrcs"))) == inside


def test_blank_images_and_images_that_are_not_numbers(data, tmp_path):
    blank = "is blank around a particle"
    for value, words in ((5.0, blank), (1000.3, blank), (np.nan, "are not finite numbers")):
        world = data.worlds["TS_1"]
        with mrcfile.new(tmp_path / "TS_1.st", overwrite=True) as mrc:
            mrc.set_data(np.full((5, 450, 480), value, dtype=np.float32))
        series = data.series() | {"TS_1": world.series(tmp_path)}
        with pytest.raises(InputError, match=words):
            data.extract(tmp_path / "out", series=series, normalize=True)


def test_values_that_float16_cannot_hold(data, tmp_path):
    with mrcfile.open(data.folder / "TS_1.st") as mrc:
        large = np.asarray(mrc.data) * 1e8
    with mrcfile.new(tmp_path / "TS_1.st") as mrc:
        mrc.set_data(large)
    series = data.series() | {"TS_1": data.worlds["TS_1"].series(tmp_path)}
    with pytest.raises(InputError, match="gives values that float16 cannot hold: set dtype"):
        data.extract(tmp_path / "out", series=series, normalize=False)


def rows_of(data):
    return list(data.worlds["TS_1"].rows())


def test_particle_tables(data, tmp_path):
    rows = rows_of(data)

    def refused(words, given, optics=None):
        with pytest.raises(TomopipeError, match=words):
            read_particles(write_star(tmp_path / "p.star", given, optics))

    refused("is the particle TS_1/1 for the second time", [*rows, rows[0]])
    without = [{k: v for k, v in r.items() if "Coordinate" not in k} for r in rows]
    refused("has no block with rlnTomoName .* give particles with 3D coordinates", without)
    images = [r | {"rlnImageName": f"{k + 1}@a.mrcs"} for k, r in enumerate(rows)]
    refused("rlnImageName names single images", images)
    bad = [rows[0] | {"rlnCenteredCoordinateXAngst": "x"}, *rows[1:]]
    refused("row 1 is 'x', which is not a finite number", bad)
    corner = [r | {f"rlnCoordinate{a}": 10.0 for a in "XYZ"} for r in without]
    refused("coordinates_pixel_size_angstrom is not set", corner, {"rlnOpticsGroup": 1})
    star = write_star(tmp_path / "p.star", corner)
    with pytest.raises(InputError, match="whose size is not known: set the size"):
        data.extract(
            tmp_path / "out", star=star, series=data.series(volume_angstrom=np.full(3, np.nan))
        )
    with pytest.raises(InputError, match="lacks 1 of the selected particles, as TS_9/1"):
        read_particles(data.star).select(["TS_9/1"])


def test_three_particles_of_one_file_name(data, tmp_path):
    names = [f"{prefix}/7" for prefix in ("A", "B", "C")]
    rows = [
        row | {"rlnTomoParticleName": name} for row, name in zip(rows_of(data), names, strict=False)
    ]
    star = write_star(tmp_path / "p.star", rows)
    words = r"p\.star has the particles A/7 and B/7, whose stacks would both be 7_stack2d\.mrcs"
    with pytest.raises(InputError, match=words):
        data.extract(tmp_path / "out", star=star)


def test_tilt_series_that_are_not_there(data, plain):
    with pytest.raises(InputError, match="has no tilt series TS_7, which particles name, but TS_1"):
        series_of(plain / "tomograms.star", ["TS_7"], TiltSeriesSettings())


@pytest.mark.parametrize("given", [{"box": 33}, {"box": 8}, {"contrast": "grey"}, {"boxes": 3}])
def test_settings_have_bounds(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        ExtractSettings(**({"box": 48, "pixel_size_angstrom": 6.5} | given))
