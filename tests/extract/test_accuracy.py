"""Extracted images are those that a simulation in their own boxes gives."""

from __future__ import annotations

import numpy as np
import pytest

from tests.extract.conftest import correlation, images_of, imported
from tests.extract.world import PIXEL, euler, write_star
from tomopipe.dataset.tilt_series.geometry import TiltSeries


def misplaced(made, true, pixel):
    """Distance in pixels by which `made` lies off `true`: the peak of their correlation."""
    n = len(made)
    product = np.fft.fft2(made - made.mean()) * np.conj(np.fft.fft2(true - true.mean()))
    k = np.fft.fftfreq(n)
    steps = np.arange(-0.3, 0.301, 0.01)
    wave = np.exp(2j * np.pi * np.outer(steps, k))
    peak = (wave @ product @ np.exp(2j * np.pi * np.outer(k, steps))).real
    y, x = np.unravel_index(peak.argmax(), peak.shape)
    return np.hypot(steps[x], steps[y])


@pytest.mark.parametrize(("box", "pixel"), [(96, 3.1), (64, 4.7), (48, 6.5), (32, 9.3)])
def test_images_are_the_simulated_ones(data, tmp_path, box, pixel):
    data.extract(tmp_path, box=box, pixel_size_angstrom=pixel, dtype="float32")
    scale, errors, likeness = [], [], []
    for world, p, f, image, _ in images_of(data, imported(tmp_path)):
        true = world.direct(p, f, box, pixel)
        likeness.append(correlation(image, true))
        errors.append(misplaced(image, true, pixel))
        scale.append((image * (true - true.mean())).sum() / ((true - true.mean()) ** 2).sum())
    assert len(scale) == 40
    assert min(likeness) > 0.999
    assert max(errors) <= 0.02  # pixels
    np.testing.assert_allclose(scale, 1, atol=2e-3)


def test_import_finds_views_defocus_dose_tilt_and_no_shift(data, plain):
    made = imported(plain)
    assert made.info["contrast"] == "bright"
    assert set(made.particles["uid"]) == {f"{t}/{p}" for t in data.worlds for p in range(1, 5)}
    views = dict(zip(made.images.index, made.views(), strict=True))
    for world, p, f, _, row in images_of(data, made):
        np.testing.assert_allclose(views[row.Index], world.view(p, f), atol=1e-6)
        np.testing.assert_allclose(row.defocus_u_angstrom, world.defocus(p, f) + 500, atol=1e-3)
        np.testing.assert_allclose(row.defocus_v_angstrom, world.defocus(p, f) - 500, atol=1e-3)
        assert row.astigmatism_degrees == 30
        assert row.dose_e_per_A2 == pytest.approx(world.dose[f])
        x, y, _z = world.angles[f]
        stage = np.degrees(np.arccos(np.cos(np.radians(x)) * np.cos(np.radians(y))))
        assert row.tilt_degrees == pytest.approx(stage * (1 if y >= 0 else -1), abs=1e-6) or y == 0
        assert (row.shift_x_angstrom, row.shift_y_angstrom) == (0, 0)
        assert row.pixel_size_angstrom == 6.5
        assert (row.premultiplied, row.dose_weighted) == (False, False)
    first = made.particles.set_index("uid").loc["TS_2/3"]
    place = first[["x_angstrom", "y_angstrom", "z_angstrom"]].to_numpy(float)
    np.testing.assert_allclose(place, data.worlds["TS_2"].position[2], atol=1e-5)
    assert first["half"] == 1


def test_the_hand_turns_the_change_of_defocus_and_nothing_else(data, plain, tmp_path):
    turned = {
        name: world.series(data.folder, hand=-float(world.hand))
        for name, world in data.worlds.items()
    }
    data.extract(tmp_path, series=turned, dtype="float32")
    one, other = imported(plain).images, imported(tmp_path).images
    for world, p, f, _, row in images_of(data, imported(tmp_path)):
        depth = world.hand * (world.rotation[f] @ world.position[p])[2]
        assert row.defocus_u_angstrom == pytest.approx(world.defocus(p, f) + 500 - 2 * depth)
    same = one.columns.difference(["stack", "defocus_u_angstrom", "defocus_v_angstrom"])
    assert one[same].equals(other[same])
    for (*_, a, _), (*_, b, _) in zip(
        images_of(data, imported(plain)), images_of(data, imported(tmp_path)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("pixel", "hand"), [(6.5, 1), (5.2, 1), (6.5, -1)])
def test_premultiplied_images_are_those_of_the_squared_ctf(data, tmp_path, pixel, hand):
    """With the wrong hand the defocus at depth is wrong, and the images are further off."""
    series = {
        name: world.series(data.folder, hand=float(hand * world.hand))
        for name, world in data.worlds.items()
    }
    data.extract(
        tmp_path,
        series=series,
        ctf_premultiply=True,
        pixel_size_angstrom=pixel,
        dtype="float32",
    )
    made = imported(tmp_path)
    assert made.images["premultiplied"].all() and not made.images["dose_weighted"].any()
    assert made.info["contrast"] == "bright"
    error = []
    for world, p, f, image, _ in images_of(data, made):
        true = world.direct(p, f, 48, pixel, premultiplied=True)
        error.append(1 - correlation(image, true))
    assert (max(error) < 5e-6) == (hand == 1)


def test_dose_weights_are_those_of_grant_and_grigorieff(data, plain, tmp_path):
    data.extract(tmp_path, dose_weight=True, dtype="float32")
    made = imported(tmp_path)
    assert made.images["dose_weighted"].all() and not made.images["premultiplied"].any()
    s = np.hypot(*np.meshgrid(np.fft.fftfreq(48, 6.5), np.fft.fftfreq(48, 6.5)))
    critical = 0.24499 * np.maximum(s, 1e-6) ** -1.6649 + 2.8141
    pairs = zip(images_of(data, imported(plain)), images_of(data, made), strict=True)
    for (*_, before, _), (*_, after, row) in pairs:
        weight = np.exp(-row.dose_e_per_A2 / (2 * critical))
        true = np.fft.ifft2(np.fft.fft2(before) * weight).real
        assert correlation(after[6:-6, 6:-6], true[6:-6, 6:-6]) > 0.999


def test_without_recentring_the_origin_stays(data, tmp_path):
    data.extract(tmp_path, recenter=False, dtype="float32")
    for world, p, f, image, row in images_of(data, imported(tmp_path)):
        shift = (world.rotation[f] @ euler(*world.sub[p]) @ world.origin[p])[:2]
        found = (row.shift_x_angstrom, row.shift_y_angstrom)
        np.testing.assert_allclose(found, shift, atol=1e-6)
        np.testing.assert_allclose(row.defocus_u_angstrom, world.defocus(p, f) + 500, atol=1e-3)
        assert correlation(image, world.direct(p, f, 48, 6.5, offset=-shift)) > 0.99


def test_corner_coordinates_and_pixel_origins_give_the_same_images(data, plain, tmp_path):
    """RELION 4: pixels of the tilt series from the tomogram's corner, a pixel size stated."""
    size = data.series()["TS_1"].volume_angstrom
    rows = []
    for world in data.worlds.values():
        for row in world.rows():
            for k, axis in enumerate("XYZ"):
                centred = row.pop(f"rlnCenteredCoordinate{axis}Angst")
                row[f"rlnCoordinate{axis}"] = (centred + size[k] / 2) / PIXEL
            rows.append(row)
    star = write_star(tmp_path / "corner.star", rows)
    out = data.extract(tmp_path / "out", star=star, dtype="float32")
    made, true = imported(out), imported(plain)
    of_uid = {(r.uid, r.source_frame): image for *_, image, r in images_of(data, true)}
    for *_, image, row in images_of(data, made):
        np.testing.assert_allclose(image, of_uid[row.uid, row.source_frame], atol=1e-4)


def test_normalised_background_and_bright_protein(data, tmp_path):
    for world in data.worlds.values():
        world.write_images(tmp_path / "noisy", noise=1.0)
    series = {name: world.series(tmp_path / "noisy") for name, world in data.worlds.items()}
    data.extract(tmp_path / "out", series=series, normalize=True, background_diameter=0.7)
    y, x = np.mgrid[:48, :48] - 24
    outside = np.hypot(x, y) > 0.35 * 48
    for *_, image, row in images_of(data, imported(tmp_path / "out")):
        assert abs(image[outside].mean()) < 2e-3
        assert abs(image[outside].std() - 1) < 2e-3
        assert row.stack.endswith("_stack2d.mrcs")
    bright = data.extract(tmp_path / "bright", contrast="bright")
    dark = data.extract(tmp_path / "dark")
    for (*_, a, _), (*_, b, _) in zip(
        images_of(data, imported(bright)), images_of(data, imported(dark)), strict=True
    ):
        np.testing.assert_array_equal(a, -b)


def test_the_depth_moves_particles_as_the_geometry_says(data):
    """Places of the extraction are those that the images were made with."""
    for name, series in data.series().items():
        assert isinstance(series, TiltSeries)
        world = data.worlds[name]
        pixels = series.project(world.position)
        for p in range(4):
            for f in range(5):
                true = world.place(p, f) / PIXEL + np.array(series.image_size) // 2
                np.testing.assert_allclose(pixels[p, f], true, atol=1e-9)
