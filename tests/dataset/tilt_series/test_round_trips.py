"""What is written is read again, in every format, and all formats agree."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.tilt_series.series import (
    assert_same_geometry,
    assert_same_optics,
    placed,
    tilt_series,
)
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.dataset.tilt_series.read import detect_format, list_tilt_series, read_tilt_series
from tomopipe.dataset.tilt_series.write import write_tilt_series

FORMATS = ("relion5", "warptools", "imod", "aretomo")


@st.composite
def any_series(draw: st.DrawFn, form: str) -> TiltSeries:
    """A series that `form` can state: AreTomo has no x tilt, Warp one for all tilts."""
    # Warp knows the dose of one tilt by the difference of two
    n = draw(st.integers(2 if form == "warptools" else 1, 5))
    seed = draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    x_tilt = {"aretomo": np.zeros(n), "warptools": np.full(n, rng.uniform(-9, 9))}.get(
        form, rng.uniform(-9, 9, n)
    )
    tilts = np.stack(
        [
            x_tilt,
            rng.uniform(-70, 70, n),
            rng.uniform(-180, 180, n),
            *rng.uniform(-900, 900, (2, n)),
        ]
    )
    return tilt_series(
        list(map(tuple, tilts.T)),
        image_size=(draw(st.integers(200, 1000)), draw(st.integers(200, 1000))),
        pixel_size=draw(st.floats(0.8, 12.0)),
        defocus_u_angstrom=rng.uniform(5e3, 8e4, n),
        defocus_v_angstrom=rng.uniform(5e3, 8e4, n),
        astigmatism_degrees=rng.uniform(-90, 180, n),
        phase_shift_degrees=rng.uniform(0, 150, n),
        dose_e_per_A2=2.5 * (rng.permutation(n) + 1),
        dose_per_tilt=2.5,
        hand=draw(st.sampled_from([1.0, -1.0])),
        voltage_kv=draw(st.sampled_from([200.0, 300.0])),
        cs_mm=1.4,
        amplitude_contrast=0.1,
    )


def lacking(form: str, series: TiltSeries) -> dict[str, Any]:
    """Settings for what `form` has no place for."""
    if form in ("imod", "aretomo"):
        return {"hand": int(series.hand), "cs_mm": 1.4, "amplitude_contrast": 0.1}
    return {}


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read(form: str, data: st.DataObject) -> None:
    series = data.draw(any_series(form))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = placed(folder, series, form)
        given_settings = TiltSeriesSettings(**lacking(form, series))
        assert detect_format(folder, given_settings) == form
        assert list_tilt_series(folder, given_settings) == ["tomo_1"]
        read = read_tilt_series(folder, given_settings)["tomo_1"]
        assert_same_geometry(read, written)
        assert_same_optics(read, written)
        assert [(i.path, i.section) for i in read.images] == [
            (i.path.resolve(), i.section) for i in written.images
        ]


def test_all_formats_agree(tmp_path: Path) -> None:
    tilts = [(0.0, angle, 84.0, 30.0 - angle, 2 * angle) for angle in (-60.0, -3.0, 0.0, 42.0)]
    dose = np.array([12.0, 6.0, 3.0, 9.0])
    series = tilt_series(tilts, image_size=(961, 928), dose_e_per_A2=dose)
    for form in FORMATS:
        placed(tmp_path / form, series, form)
        read = read_tilt_series(tmp_path / form, TiltSeriesSettings())["tomo_1"]
        assert_same_geometry(read, series)
        assert_same_optics(read, series)


@pytest.mark.parametrize("form", ["relion5", "warptools", "imod"])
def test_the_size_of_the_tomogram_is_kept(form: str, tmp_path: Path) -> None:
    series = tilt_series([(0.0, 10.0, 84.0, 0.0, 0.0)])
    placed(tmp_path, series, form)
    read = read_tilt_series(tmp_path, TiltSeriesSettings())["tomo_1"]
    np.testing.assert_allclose(read.volume_angstrom, series.volume_angstrom)


@pytest.mark.parametrize("form", FORMATS)
def test_the_order_of_the_tilts_does_not_matter(form: str, tmp_path: Path) -> None:
    tilts = [(0.0, angle, 84.0, 5.0 * angle, 0.0) for angle in (20.0, -40.0, 0.0)]
    series = placed(tmp_path, tilt_series(tilts), form)
    turned = replace(
        series,
        images=series.images[::-1],
        rotation=series.rotation[::-1],
        shift_angstrom=series.shift_angstrom[::-1],
        dose_e_per_A2=series.dose_e_per_A2[::-1],
    )
    write_tilt_series(tmp_path, [turned], form)
    read = read_tilt_series(tmp_path, TiltSeriesSettings())["tomo_1"]
    by_image = {image: tilt for tilt, image in enumerate(read.images)}
    for tilt, image in enumerate(series.images):
        found = by_image[replace(image, path=image.path.resolve())]
        np.testing.assert_allclose(read.rotation[found], series.rotation[tilt], atol=1e-6)
        assert read.dose_e_per_A2[found] == pytest.approx(series.dose_e_per_A2[tilt])


def test_inverted_tilts_mirror_the_tomogram_and_turn_the_hand(tmp_path: Path) -> None:
    series = placed(tmp_path, tilt_series([(2.0, 33.0, 84.0, 70.0, -9.0)]), "relion5")
    read = read_tilt_series(tmp_path, TiltSeriesSettings(invert_tilt=True))["tomo_1"]
    points = np.random.default_rng(1).uniform(-900, 900, (20, 3))
    mirrored = points * [1, 1, -1]
    np.testing.assert_allclose(read.project(points), series.project(mirrored), atol=0.01)
    np.testing.assert_allclose(
        read.defocus_change(points), series.defocus_change(mirrored), atol=0.02
    )
    np.testing.assert_allclose(read.tilt_degrees, -series.tilt_degrees, atol=1e-5)


def test_only_the_names_asked_for_are_read(tmp_path: Path) -> None:
    one = tilt_series([(0.0, 0.0, 84.0, 0.0, 0.0)])
    both = [placed(tmp_path, replace(one, name=name), "relion5") for name in ("b", "a")]
    write_tilt_series(tmp_path, both, "relion5")
    assert list_tilt_series(tmp_path, TiltSeriesSettings()) == ["b", "a"]
    assert list(read_tilt_series(tmp_path, TiltSeriesSettings())) == ["b", "a"]
    assert list(read_tilt_series(tmp_path, TiltSeriesSettings(), ["a"])) == ["a"]
