"""Tomograms: blobs appear where they are, whatever the geometry of the series."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.dataset.tilt_series.series import tilt_series
from tomopipe.cli.main import main
from tomopipe.config.reconstruct import TomogramSettings
from tomopipe.dataset.tilt_series.geometry import TiltImage
from tomopipe.dataset.tilt_series.write import image_paths, write_tilt_series
from tomopipe.errors import InputError
from tomopipe.io.atomic import read_json
from tomopipe.io.mrc import read_volume, write_stack
from tomopipe.reconstruct.tomogram import (
    across_axis,
    tomogram_shape,
    weighted_back_projection,
)
from tomopipe.reconstruct.write_tomograms import tilt_images

PIXEL = 8.0
SIZE = (132, 120)  # image, x and y
VOLUME = np.array([960.0, 880.0, 400.0])
# Å, (x, y, z) from the tomogram's centre
PLACES = np.array([[0.0, 0, 0], [300, -220, 90], [-250, 130, -120], [120, 260, 60]])


def _series(x_tilt=0.0, z_rot=0.0, shifts=False, step=4.0):
    tilts = np.arange(-60, 60.1, step)
    rng = np.random.default_rng(0)
    shift = rng.uniform(-40, 40, (len(tilts), 2)) if shifts else np.zeros((len(tilts), 2))
    rows = [(x_tilt, t, z_rot, sx, sy) for t, (sx, sy) in zip(tilts, shift, strict=True)]
    return tilt_series(rows, pixel_size=PIXEL, image_size=SIZE, volume_angstrom=VOLUME)


def _images(series, width=20.0):
    """Dark Gaussian blobs of `width` Å, projected."""
    x, y = (np.arange(n) for n in SIZE)
    for f in range(len(series)):
        image = np.zeros((SIZE[1], SIZE[0]))
        for px, py in series.project(PLACES)[:, f]:
            d2 = (x[None] - px) ** 2 + (y[:, None] - py) ** 2
            image -= np.exp(-d2 * PIXEL**2 / (2 * width**2))
        yield image


def _found(volume, place, pixel):
    """Centre of mass of the darkest spot near `place`, in Å from the tomogram's centre."""
    centre = np.array(volume.shape)[::-1] // 2
    guess = np.round(place / pixel).astype(int) + centre
    reach = round(48 / pixel)
    lo = guess - reach
    cut = -volume[tuple(slice(a, a + 2 * reach + 1) for a in lo[::-1])]
    mass = np.clip(cut - 0.5 * cut.max(), 0, None)
    at = np.array(ndimage.center_of_mass(mass))[::-1]
    return (lo + at - centre) * pixel


@pytest.mark.parametrize(
    ("given", "pixel"),
    [
        ({}, 8.0),
        ({"z_rot": 85.0}, 8.0),
        ({"z_rot": -30.0, "shifts": True}, 12.0),
        ({"x_tilt": 8.0, "z_rot": 175.0, "shifts": True}, 10.0),
    ],
    ids=["plain", "turned", "shifted", "pretilted"],
)
def test_blobs_lie_where_they_are(given, pixel):
    series = _series(**given)
    volume = weighted_back_projection(series, _images(series), pixel).numpy()
    assert volume.shape == tuple(2 * round(n / pixel / 2) for n in VOLUME[::-1])
    for place in PLACES:
        assert np.abs(_found(volume, place, pixel) - place).max() < 0.5 * pixel
    nearest = np.round(PLACES / pixel).astype(int) + np.array(volume.shape)[::-1] // 2
    assert (volume[tuple(nearest.T[::-1])] < -8 * volume.std()).all()


def test_slabs_do_not_show():
    series = _series(z_rot=20.0, step=12.0)
    images = list(_images(series))
    whole = weighted_back_projection(series, images, 16.0)
    few = TomogramSettings(slab_gb=1e-6)
    assert torch.allclose(
        weighted_back_projection(series, images, 16.0, settings=few), whole, atol=1e-6
    )


@pytest.mark.parametrize("size", [(40, 40), (43, 43), (45, 45), (47, 44), (44, 47)])
@pytest.mark.parametrize("header", [1.0, 1 + 5e-7], ids=["exact", "rounded up"])
def test_odd_images_give_the_same_spot(size, header):
    """The images' own pixel size, which a header may have a hair larger: nothing to crop."""
    pixel = 10.0
    tilts = [(0.0, t, 0.0, 0.0, 0.0) for t in np.linspace(-40, 40, 5)]
    box = np.array([*size, 40]) * pixel
    given = {"pixel_size": pixel * header, "image_size": size, "volume_angstrom": box}
    y, x = np.ogrid[: size[1], : size[0]]
    image = np.exp(-((x - size[0] // 2) ** 2 + (y - size[1] // 2) ** 2) / 18)
    volume = weighted_back_projection(tilt_series(tilts, **given), [image] * 5, pixel).numpy()
    assert np.unravel_index(volume.argmax(), volume.shape) == tuple(n // 2 for n in volume.shape)
    assert volume.max() == pytest.approx(0.065, abs=0.003)


def test_contrast_and_thickness_follow_the_settings():
    series = _series(step=12.0)
    images = list(_images(series))
    plain = weighted_back_projection(series, images, 16.0)
    turned = weighted_back_projection(
        series, images, 16.0, settings=TomogramSettings(invert=True, thickness_angstrom=640)
    )
    assert turned.shape == (40, *plain.shape[1:])
    middle = slice(20 - len(plain) // 2, 20 + len(plain) // 2)
    assert torch.allclose(turned[middle], -plain, atol=1e-6)


def test_the_ramp_runs_across_the_axis():
    across = across_axis(_series(z_rot=0.0).rotation)
    assert np.allclose(np.abs(across), [1.0, 0.0], atol=1e-6)
    turned = across_axis(_series(z_rot=90.0).rotation)
    assert np.allclose(np.abs(turned), [0.0, 1.0], atol=1e-6)


@pytest.mark.parametrize("turn", [0.0, 85.0, -95.0, 180.0])
def test_a_tomogram_of_unknown_size_holds_what_the_images_show(turn):
    series = replace(_series(z_rot=turn), volume_angstrom=np.full(3, np.nan), image_size=(200, 100))
    z, y, x = tomogram_shape(series, PIXEL, TomogramSettings(thickness_angstrom=400.0))
    assert (x, y) == ((200, 100) if turn in (0.0, 180.0) else (100, 200))
    assert z == 50


def test_wrong_images_are_one_sentence():
    series = _series(step=30.0)
    with pytest.raises(InputError, match="finer than that there is nothing"):
        weighted_back_projection(series, _images(series), 4.0)
    with pytest.raises(InputError, match="3 x 5 pixels, its tilt series says 132 x 120"):
        weighted_back_projection(series, [np.zeros((5, 3))], 16.0)
    with pytest.raises(InputError, match="1 images came for 5 tilts"):
        weighted_back_projection(series, list(_images(series))[:1], 16.0)


def test_a_series_on_disk_becomes_a_tomogram(tmp_path, capsys):
    series = _series(z_rot=85.0, step=10.0)
    places = image_paths(tmp_path / "s", "TS_1", len(series), "relion5")
    named = replace(series, name="TS_1", images=tuple(TiltImage(*place) for place in places))
    write_stack(places[0][0], np.stack(list(_images(series))).astype(np.float32), PIXEL)
    star = write_tilt_series(tmp_path / "s", [named], "relion5")
    words = ["tomogram", str(star), "--out", str(tmp_path / "out"), "--pixel-size-angstrom", "10"]
    assert main([*words, "--tomogram", "TS_1", "--invert"]) == 0
    assert capsys.readouterr().out.strip().endswith("TS_1.mrc")
    volume, pixel = read_volume(tmp_path / "out" / "TS_1.mrc")
    assert pixel == pytest.approx(10.0)
    for place in PLACES:
        assert np.abs(_found(-volume, place, pixel) - place).max() < 0.5 * pixel
    assert read_json(tmp_path / "out" / "TS_1.json")["tilts"] == len(series)


def test_an_image_that_is_no_number_is_one_sentence(tmp_path):
    images = np.zeros((2, 8, 8), np.float32)
    images[1, 3, 3] = np.nan
    write_stack(tmp_path / "a.mrc", images, PIXEL)
    series = tilt_series([(0, 0, 0, 0, 0), (0, 4, 0, 0, 0)], pixel_size=PIXEL, image_size=(8, 8))
    series = replace(series, images=tuple(TiltImage(tmp_path / "a.mrc", k) for k in range(2)))
    with pytest.raises(InputError, match=r"a\.mrc image 2 has values that are not finite"):
        list(tilt_images(series))


def test_a_short_stack_is_one_sentence(tmp_path):
    series = _series(step=30.0)
    write_stack(tmp_path / "s.mrc", np.zeros((2, *SIZE[::-1]), np.float32), PIXEL)
    images = tuple(TiltImage(tmp_path / "s.mrc", i) for i in range(len(series)))
    with pytest.raises(InputError, match="tilt 3 of tomo_1 is image 3"):
        list(tilt_images(replace(series, images=images)))
