"""Parsers and geometry hold for any numbers."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.tilt_series.series import placed, tilt_series, write_stack
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.ctf_files import read_defoci, write_ctffind, write_defocus
from tomopipe.dataset.tilt_series.exposure import section_doses
from tomopipe.dataset.tilt_series.mdoc import read_mdoc, write_mdoc
from tomopipe.dataset.tilt_series.parts import only, relion_angles
from tomopipe.dataset.tilt_series.read import read_tilt_series
from tomopipe.dataset.tilt_series.tables import number_rows
from tomopipe.errors import InputError

few = settings(max_examples=25, deadline=None)
angle = st.floats(-180, 180)
finite = st.floats(-1e6, 1e6)


@few
@given(
    turn=angle,
    tilt=st.floats(-70, 70),
    shift=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
    size=st.tuples(st.integers(50, 400), st.integers(50, 400)),
)
def test_imods_aligned_image_shows_the_tilted_tomogram(
    turn: float, tilt: float, shift: tuple[float, float], size: tuple[int, int]
) -> None:
    """A point's place in the raw image, put through the .xf file, is its place about the axis."""
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    matrix = np.array([[c, -s], [s, c]])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_stack(folder / "t.st", size, 1, 2.0)
        (folder / "t.xf").write_text(f"{c} {-s} {s} {c} {shift[0]} {shift[1]}\n")
        (folder / "t.tlt").write_text(f"{tilt}\n")
        (folder / "t.defocus").write_text("1 1 0 0 3000 2\n")
        series = read_tilt_series(folder, TiltSeriesSettings(voltage_kv=300.0))["t"]
    points = np.random.default_rng(0).uniform(-90, 90, (10, 3))
    raw = series.project(2.0 * points)[:, 0]
    centre = (np.array(size) - 1) / 2
    aligned = (raw - centre) @ matrix.T + shift
    b = np.radians(tilt)
    expected = np.stack([np.cos(b) * points[:, 0] + np.sin(b) * points[:, 2], points[:, 1]], axis=1)
    np.testing.assert_allclose(aligned, expected, atol=1e-6)


@few
@given(
    st.lists(
        st.tuples(st.floats(1e3, 1e5), st.floats(1e3, 1e5), st.floats(-90, 180), st.floats(0, 170)),
        min_size=1,
        max_size=6,
    )
)
def test_defoci_are_what_was_written(rows: list[tuple[float, ...]]) -> None:
    u, v, turn, phase = np.array(rows).T
    series = replace(
        tilt_series([(0.0, 0.0, 0.0, 0.0, 0.0)] * len(rows)),
        defocus_u_angstrom=u,
        defocus_v_angstrom=v,
        astigmatism_degrees=turn,
        phase_shift_degrees=phase,
    )
    with tempfile.TemporaryDirectory() as name:
        for path, write in (
            (Path(name) / "t.defocus", write_defocus),
            (Path(name) / "t_CTF.txt", write_ctffind),
        ):
            write(path, series)
            read = read_defoci(path).at(np.arange(len(rows)) + 1)
            for field, values in read.items():
                np.testing.assert_allclose(values, getattr(series, field), atol=1e-2)


@few
@given(
    rows=st.lists(st.lists(finite, min_size=3, max_size=3), min_size=1, max_size=8),
    comma=st.booleans(),
    heading=st.booleans(),
)
def test_numbers_in_columns(rows: list[list[float]], comma: bool, heading: bool) -> None:
    text = "".join(("," if comma else "  ").join(map(repr, row)) + "  # said\n\n" for row in rows)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "t.txt"
        path.write_text("a b c\n" * heading + text)
        np.testing.assert_array_equal(number_rows(path, least=2), rows)


@few
@given(
    order=st.permutations(range(7)),
    file_order=st.permutations(range(7)),
    offset=st.floats(-15, 15),
    noise=st.integers(0, 1000),
)
def test_doses_follow_the_exposure_and_never_the_order_of_rows(
    order: list[int], file_order: list[int], offset: float, noise: int
) -> None:
    nominal = 3.0 * np.arange(7) - 9
    dose = 2.0 * (np.array(order) + 1)
    aligned = nominal + offset + np.random.default_rng(noise).uniform(-0.5, 0.5, 7)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "t.mdoc"
        path.write_text(
            "Voltage = 300\n"
            + "".join(
                f"[ZValue = {z}]\nTiltAngle = {nominal[i]}\nExposureDose = 2\n"
                f"PriorRecordDose = {dose[i] - 2}\n"
                for z, i in enumerate(file_order)
            )
        )
        found, step = section_doses("t", aligned, read_mdoc(path), TiltSeriesSettings())
        given_step = TiltSeriesSettings(dose_per_tilt=5.0)
        other, other_step = section_doses("t", aligned, read_mdoc(path), given_step)
    np.testing.assert_allclose(found, dose)
    np.testing.assert_allclose(other, 2.5 * dose)
    assert (step, other_step) == (2.0, 5.0)


def test_images_thrown_away_before_stacking_keep_their_dose(tmp_path: Path) -> None:
    path = tmp_path / "t.mdoc"
    path.write_text(
        "".join(
            f"[ZValue = {z}]\nTiltAngle = {tilt}\nExposureDose = 3\nDateTime = {day}\n"
            for z, (tilt, day) in enumerate(
                [
                    (0, "01-Nov-2024  10:00:00"),
                    (3, "01-Nov-2024  10:01:00"),
                    (3.01, "01-Nov-2024  10:02:00"),
                    (-3, "01-Nov-24  09:59:00"),
                ]
            )
        )
    )
    doses, _ = section_doses("t", np.array([3.0, -3.0]), read_mdoc(path), TiltSeriesSettings())
    assert doses.tolist() == [9, 3]


@pytest.mark.parametrize("first", [0, 1])
def test_images_missing_in_a_list_were_exposed_as_well(tmp_path: Path, first: int) -> None:
    rows = [(0, 0.0), (1, 3.0), (3, -6.0), (4, 6.0)]
    path = tmp_path / "t.csv"
    path.write_text("".join(f"{order + first},{tilt}\n" for order, tilt in rows))
    settings = TiltSeriesSettings(dose_per_tilt=3.0, exposure_list=path)
    doses, _ = section_doses("t", np.array([-6.0, 0.0, 3.0, 6.0]), None, settings)
    assert doses.tolist() == [12, 3, 6, 15]


@pytest.mark.parametrize("order", ["1.5", "-1"])
def test_a_place_in_the_order_is_a_whole_number(tmp_path: Path, order: str) -> None:
    (tmp_path / "t.csv").write_text(f"1,0\n{order},3\n")
    settings = TiltSeriesSettings(dose_per_tilt=3.0, exposure_list=tmp_path)
    with pytest.raises(InputError, match=rf"t\.csv gives an image the place {order} in the order"):
        section_doses("t", np.array([0.0, 3.0]), None, settings)


def test_equal_doses_before_all_images_are_no_order(tmp_path: Path) -> None:
    path = tmp_path / "t.mdoc"
    tilt = "[ZValue = {}]\nTiltAngle = {}\nExposureDose = 3\nPriorRecordDose = 0\n"
    path.write_text(tilt.format(0, 0) + tilt.format(1, 3))
    settings = TiltSeriesSettings(dose_per_tilt=3.0)
    doses, _ = section_doses("t", np.array([0.0, 3.0]), read_mdoc(path), settings)
    assert np.isnan(doses).all()
    (tmp_path / "t.csv").write_text("1,0\n1,3\n")
    twice = TiltSeriesSettings(dose_per_tilt=3.0, exposure_list=tmp_path)
    with pytest.raises(InputError, match="one place in the order to two images"):
        section_doses("t", np.array([0.0, 3.0]), None, twice)


@few
@given(st.lists(st.tuples(st.floats(-89, 89), st.floats(-89, 89), angle), min_size=1, max_size=5))
def test_angles_of_a_rotation(tilts: list[tuple[float, float, float]]) -> None:
    series = tilt_series([(*tilt, 0.0, 0.0) for tilt in tilts])
    found = np.stack(relion_angles(series.rotation), axis=1)
    back = tilt_series([(*tilt, 0.0, 0.0) for tilt in found.tolist()])
    np.testing.assert_allclose(back.rotation, series.rotation, atol=1e-9)


@few
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True))
def test_tilts_are_chosen_with_all_their_values(places: list[int]) -> None:
    series = tilt_series([(0.0, 10.0 * i, 84.0, i, -i) for i in range(5)])
    series = replace(series, defocus_u_angstrom=np.arange(5.0))
    chosen = only(series, np.array(places))
    assert len(chosen) == len(places)
    assert [image.section for image in chosen.images] == places
    for field in ("rotation", "shift_angstrom", "defocus_u_angstrom", "dose_e_per_A2"):
        np.testing.assert_array_equal(getattr(chosen, field), getattr(series, field)[places])
    np.testing.assert_array_equal(chosen.volume_angstrom, series.volume_angstrom)


def test_an_mdoc_is_what_was_written(tmp_path: Path) -> None:
    series = tilt_series([(0.0, t, 84.0, 0.0, 0.0) for t in (3.0, -3.0)])
    write_mdoc(tmp_path / "t.mdoc", series, "t.mrc")
    mdoc = read_mdoc(tmp_path / "t.mdoc")
    assert mdoc.floats("TiltAngle").tolist() == [3, -3]
    assert (mdoc.floats("PriorRecordDose") + 3).tolist() == series.dose_e_per_A2.tolist()
    assert (mdoc.number("Voltage"), mdoc.number("PixelSpacing")) == (300, 4)
    assert np.isnan(mdoc.number("Nothing"))


def test_local_warps_are_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = placed(
        tmp_path, tilt_series([(0.0, t, 84.0, 0.0, 0.0) for t in (3.0, -3.0)]), "warptools"
    )
    path = tmp_path / "warp_tiltseries" / "tomo_1.xml"
    nodes = "".join(
        f'<Node X="{x}" Y="0" Z="{z}" Value="{4 * z + 2 * x}" />' for z in (0, 1) for x in (0, 1)
    )
    warp = '<Node X="0" Y="0" Z="0" W="0" Value="5" />'
    path.write_text(
        path.read_text().replace(
            "</TiltSeries>",
            f'<GridMovementX Width="2" Height="1" Depth="2">{nodes}</GridMovementX>'
            f'<GridVolumeWarpX Width="1" Height="1" Depth="1" Duration="1">{warp}</GridVolumeWarpX>'
            "</TiltSeries>",
        )
    )
    read = read_tilt_series(tmp_path, TiltSeriesSettings())["tomo_1"]
    moved = series.shift_angstrom - read.shift_angstrom
    np.testing.assert_allclose(moved, [[1, 0], [5, 0]], atol=1e-6)
    said = capsys.readouterr().err
    assert "local image movements" in said
    assert "volume warps" in said
