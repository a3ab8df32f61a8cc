"""Conventions of IMOD, AreTomo, Warp and RELION 4, from files with numbers written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.dataset.tilt_series.series import write_stack
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.dataset.tilt_series.read import read_tilt_series
from tomopipe.errors import InputError
from tomopipe.extract.particles import read_particles

DATA = Path(__file__).parents[4] / "shared" / "data" / "warptools_ribosome_32"
CTF = "1 20000 18000 30 0.5 0 0\n"
KV = {"voltage_kv": 300.0}


def one(path: Path, name: str = "t", **given: object) -> TiltSeries:
    return read_tilt_series(path, TiltSeriesSettings.model_validate(KV | given))[name]


def at(series: TiltSeries, *point: float) -> list[float]:
    """Pixels (x, y) of the first tilt at a point in pixels from the tomogram's centre."""
    return series.project(np.array([point]) * series.pixel_size)[0, 0].tolist()


def imod(folder: Path, xf: str, tlt: str, size: tuple[int, int] = (100, 80)) -> Path:
    rows = tlt.count("\n")
    write_stack(folder / "t.st", size, rows, 2.0)
    (folder / "t.xf").write_text(xf)
    (folder / "t.tlt").write_text(tlt)
    (folder / "t_CTF.txt").write_text("".join(f"{i + 1}{CTF[1:]}" for i in range(rows)))
    return folder


def test_imods_centre_lies_between_pixels_of_an_even_image(tmp_path: Path) -> None:
    # newstack with the unit transform: the centre of 100 x 81 pixels is pixel (49.5, 40)
    series = one(imod(tmp_path, "1 0 0 1 0 0\n", "0\n", (100, 81)))
    assert at(series, 0, 0, 0) == pytest.approx([49.5, 40.0])
    assert at(series, 3, -7, 5) == pytest.approx([52.5, 33.0])


def test_imods_transform_goes_from_raw_to_aligned(tmp_path: Path) -> None:
    # x' = A (x - c) + c + d. A turns x to -y, y to x: raw (49.5 + a, 39.5 + b) comes to
    # (49.5 + b + 10, 39.5 - a - 4); the aligned centre is where b = -10, a = -4
    series = one(imod(tmp_path, "0 1 -1 0 10 -4\n", "0\n"))
    assert at(series, 0, 0, 0) == pytest.approx([45.5, 29.5])
    # 5 to the right in the aligned image: b = -5; 5 upwards: a = -9
    assert at(series, 5, 0, 0) == pytest.approx([45.5, 34.5])
    assert at(series, 0, 5, 0) == pytest.approx([40.5, 29.5])
    np.testing.assert_allclose(series.rotation[0] @ [0, 1, 0], [-1, 0, 0], atol=1e-6)


def test_imods_tilt_and_x_tilt_are_those_of_a_tomogram_turned_about_x(tmp_path: Path) -> None:
    imod(tmp_path, "1 0 0 1 0 0\n", "30\n")
    (tmp_path / "t.xtilt").write_text("4\n")
    (tmp_path / "tilt.com").write_text("$tilt -StandardInput\nOFFSET 1.5\nXAXISTILT -1\n")
    series = one(tmp_path)
    # tilt.f, where rows of slices are -z:
    # x cos b + y sin a sin b - row cos a sin b, y cos a + row sin a
    a, b = np.radians(3.0), np.radians(31.5)
    x, y, z = 7.0, -5.0, 11.0
    expected_x = x * np.cos(b) + y * np.sin(a) * np.sin(b) + z * np.cos(a) * np.sin(b)
    expected_y = y * np.cos(a) - z * np.sin(a)
    assert at(series, x, y, z) == pytest.approx([49.5 + expected_x, 39.5 + expected_y])


def test_views_that_tilt_com_excludes_take_all_their_values_along(tmp_path: Path) -> None:
    imod(tmp_path, "".join(f"1 0 0 1 {-i} 0\n" for i in range(5)), "-2\n-1\n0\n1\n2\n")
    (tmp_path / "tilt.com").write_text("FULLIMAGE 100 80\nTHICKNESS 40\nEXCLUDELIST2 1,3-4\n")
    (tmp_path / "t.defocus").write_text(
        "".join(f"{v} {v} 0 0 {1000 * v}{' 2' * (v == 1)}\n" for v in range(1, 6))
    )
    series = one(tmp_path, exposure_order="sections", dose_per_tilt=3.0)
    assert [image.section for image in series.images] == [1, 4]
    assert series.shift_angstrom[:, 0].tolist() == pytest.approx([2 * 0.5, 2 * 3.5])
    assert series.defocus_u_angstrom.tolist() == [20000, 50000]
    assert series.dose_e_per_A2.tolist() == [6, 15]
    assert series.tilt_degrees.tolist() == pytest.approx([-1, 2])
    assert series.volume_angstrom.tolist() == [200, 160, 80]


def test_a_tilt_com_of_another_tilt_series_says_nothing(tmp_path: Path) -> None:
    imod(tmp_path, "1 0 0 1 0 0\n", "30\n")
    for file, stack, offset in [("tilt", "t.ali", 1), ("tilt", "o.ali", 0), ("tiltt", "t.ali", 1)]:
        (tmp_path / f"{file}.com").write_text(f"InputProjections {stack}\nOFFSET 1\n")
        assert one(tmp_path).tilt_degrees[0] == pytest.approx(30 + offset)


def test_imods_files_of_defoci(tmp_path: Path) -> None:
    imod(tmp_path, "1 0 0 1 0 0\n" * 3, "-3\n0\n3\n")
    # version 3, flags: astigmatism in radians (1 + 2), phase in degrees (4); view 2 lies between
    (tmp_path / "t.defocus").write_text(
        "7 0 0. 0. 0 3\n1 1 -3 -3 3000 2900 0.5 90\n3 3 3 3 4000 3700 1.0 80\n"
    )
    series = one(tmp_path)
    np.testing.assert_allclose(series.defocus_u_angstrom, [30000, 35000, 40000])
    np.testing.assert_allclose(series.defocus_v_angstrom, [29000, 33000, 37000])
    np.testing.assert_allclose(series.astigmatism_degrees[[0, 2]], np.degrees([0.5, 1.0]))
    np.testing.assert_allclose(series.phase_shift_degrees, [90, 85, 80])


ALN = """Hello
# AreTomo Alignment / Priims bprmMn
# RawSize = 100 80 {count}
# NumPatches = 4
{dark}# AlphaOffset =     2.00
# BetaOffset =     0.00
# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT
{rows}# Local Alignment
   0   0 -1537.16  -1363.14     -6.93    -36.22   1.0
"""


def aretomo(
    folder: Path, rows: list[tuple[float, ...]], dark: list[tuple[float, ...]], stack: int
) -> Path:
    """Rows of (section, rot, tx, ty, tilt), dark frames of (section, tilt)."""
    write_stack(folder / "t.mrc", (100, 80), stack, 2.0)
    text = ALN.format(
        count=len(rows) + len(dark),
        dark="".join(f"# DarkFrame =  {int(s):4d} {int(s):4d} {t:8.2f}\n" for s, t in dark),
        rows="".join(
            f"{int(s):5d} {rot} 1.00000 {tx} {ty} 1.00 1.00 1.00 0.00 {t}\n"
            for s, rot, tx, ty, t in rows
        ),
    )
    (folder / "t.aln").write_text(text)
    (folder / "t_CTF.txt").write_text(
        "# Columns\n" + "".join(f"{i + 1} {1000 * (i + 1)} 900 0 0 0 0\n" for i in range(stack))
    )
    return folder


def test_aretomos_shift_and_axis_are_in_the_raw_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = one(aretomo(tmp_path, [(0, 90.0, 10.0, -4.0, 0.0)], [], 1))
    assert at(series, 0, 0, 0) == pytest.approx([59.5, 35.5])
    # the tilt axis, y of the tomogram, lies at ROT from the image's y: along -x
    assert at(series, 0, 5, 0) == pytest.approx([54.5, 35.5])
    assert "local alignments, which are not used" in capsys.readouterr().err


def test_aretomo_agrees_with_the_files_it_writes_for_imod(tmp_path: Path) -> None:
    rot, tx, ty = np.radians(84.4445), 13.382, 21.802
    series = one(aretomo(tmp_path / "a", [(0, 84.4445, tx, ty, -27.71)], [], 1))
    # CSaveXF.cpp: a11 = cos(-rot), a12 = -sin(-rot), a21 = sin(-rot), d = -A (tx, ty)
    a = np.array([[np.cos(-rot), -np.sin(-rot)], [np.sin(-rot), np.cos(-rot)]])
    row = " ".join(f"{v:.6f}" for v in [*a.ravel(), *(-a @ [tx, ty])])
    other = one(imod(tmp_path / "i", f"{row}\n", "-27.71\n"))
    points = np.random.default_rng(0).uniform(-80, 80, (20, 3))
    np.testing.assert_allclose(series.project(points), other.project(points), atol=1e-3)


@pytest.mark.parametrize("renumbered", [False, True])
@pytest.mark.parametrize("removed", [False, True])
def test_dark_frames_drop_out(tmp_path: Path, renumbered: bool, removed: bool) -> None:
    kept = [1, 2, 4]
    rows = [(k if renumbered else s, 84.0, float(s), 0.0, 3.0 * s) for k, s in enumerate(kept)]
    folder = aretomo(tmp_path, rows, [(0, -2.0), (3, 7.0)], 3 if removed else 5)
    (folder / "t.mdoc").write_text(
        "PixelSpacing = 2\nVoltage = 300\n"
        + "".join(
            f"[ZValue = {z}]\nTiltAngle = {3.0 * s - 2}\nExposureDose = 3\n"
            f"DateTime = 25-Mar-21  17:{30 - s}:00\n"
            for z, s in enumerate([3, 0, 4, 1, 2])
        )
    )
    series = one(folder, voltage_kv=None)
    where = [0, 1, 2] if removed else kept
    assert [image.section for image in series.images] == where
    assert (series.shift_angstrom[:, 0] / 2 + 0.5).tolist() == kept
    assert series.defocus_u_angstrom.tolist() == [1000 * (s + 1) for s in where]
    # section 4 was exposed first, section 0 last
    assert series.dose_e_per_A2.tolist() == [12, 9, 3]


def test_warps_angles_turn_the_other_way_than_relions(tmp_path: Path) -> None:
    write_stack(tmp_path / "average" / "m1.mrc", (100, 81), 1, 2.0)
    write_stack(tmp_path / "average" / "m2.mrc", (100, 81), 1, 2.0)
    (tmp_path / "t.xml").write_text(
        """<?xml version="1.0" encoding="utf-16"?>
<TiltSeries DataDirectory="tomostar" AreAnglesInverted="{}" LevelAngleX="3" LevelAngleY="-1.5">
  <Angles>31.5
0</Angles><Dose>3
0</Dose><UseTilt>True
False</UseTilt><AxisAngle>0
0</AxisAngle><AxisOffsetX>4
0</AxisOffsetX><AxisOffsetY>-6
0</AxisOffsetY><MoviePath>m1.tif
m2.tif</MoviePath>
  <CTF><Param Name="Voltage" Value="200" /><Param Name="Cs" Value="1.4" />
    <Param Name="Amplitude" Value="0.08" /></CTF>
  <GridCTF Width="1" Height="1" Depth="2"><Node X="0" Y="0" Z="1" Value="9" />
    <Node X="0" Y="0" Z="0" Value="3.5" /></GridCTF>
  <GridCTFDefocusDelta Width="1" Height="1" Depth="1"><Node X="0" Y="0" Z="0" Value="0.2" />
  </GridCTFDefocusDelta>
  <GridCTFPhase Width="1" Height="1" Depth="2"><Node Z="0" Value="0.25" /><Node Z="1" Value="0" />
  </GridCTFPhase>
  <GridMovementX Width="1" Height="1" Depth="2"><Node Z="0" Value="2" /><Node Z="1" Value="0" />
  </GridMovementX>
</TiltSeries>""".replace("utf-16", "utf-8").format("False")
    )
    series = one(tmp_path, voltage_kv=None)
    # Euler(0, 30, 0) RotateX(3): x = cos 30 x - sin 30 z', z = sin 30 x + cos 30 z'
    a, b = np.radians(3.0), np.radians(30.0)
    x, y, z = 7.0, -5.0, 11.0
    y1, z1 = np.cos(a) * y - np.sin(a) * z, np.sin(a) * y + np.cos(a) * z
    # centre 50, 40.5; offset (4 - 2, -6) / 2 px
    expected = [50 + np.cos(b) * x - np.sin(b) * z1 + 1, 40.5 + y1 - 3]
    assert at(series, x, y, z) == pytest.approx(expected)
    height = 2 * (np.sin(b) * x + np.cos(b) * z1)
    # defocus = grid + height
    point = 2 * np.array([[x, y, z]])
    assert series.defocus_change(point)[0, 0] == pytest.approx(height)
    assert series.defocus_u_angstrom.tolist() == pytest.approx([36000])
    assert series.defocus_v_angstrom.tolist() == pytest.approx([34000])
    assert series.phase_shift_degrees.tolist() == [45]
    assert series.dose_e_per_A2.tolist() == [6]
    assert (series.voltage_kv, series.cs_mm, series.amplitude_contrast) == (200, 1.4, 0.08)
    text = (tmp_path / "t.xml").read_text().replace('Inverted="False"', 'Inverted="True"')
    (tmp_path / "t.xml").write_text(text)
    inverted = one(tmp_path, voltage_kv=None)
    # Euler(0, -30, 0) on (x, y, -z) has the opposite height
    assert inverted.defocus_change(point)[0, 0] == pytest.approx(-height)


def test_relion_4_matrices_from_the_corner(tmp_path: Path) -> None:
    write_stack(tmp_path / "s.mrc", (100, 80), 2, 2.0)
    tilt = np.radians(40.0)
    c, s = np.cos(tilt), np.sin(tilt)
    # x = c (X - 60) + s (Z - 20) + 53, y = Y - 50 + 38
    rows = (
        f"[{c},0,{s},{-60 * c - 20 * s + 53}] [0,1,0,-12] [{-s},0,{c},0] [0,0,0,1] 2 1 0 0\n"
        "[1,0,0,-10] [0,1,0,-10] [0,0,1,0] [0,0,0,1] 2 1 0 3\n"
    )
    (tmp_path / "tomograms.star").write_text(
        "data_global\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesName\n_rlnTomoSizeX\n_rlnTomoSizeY\n"
        "_rlnTomoSizeZ\n_rlnTomoHand\n_rlnTomoTiltSeriesPixelSize\n_rlnVoltage\n"
        "_rlnSphericalAberration\n_rlnAmplitudeContrast\nt s.mrc 120 100 40 1 2 300 2.7 0.1\n\n"
        "data_t\nloop_\n_rlnTomoProjX\n_rlnTomoProjY\n_rlnTomoProjZ\n_rlnTomoProjW\n_rlnDefocusU\n"
        f"_rlnDefocusV\n_rlnDefocusAngle\n_rlnMicrographPreExposure\n{rows}"
    )
    series = one(tmp_path)
    corner = np.array([71.0, 43.0, 31.0])
    expected = [c * 11 + s * 11 + 53, 43 - 12]
    assert at(series, *(corner - [60, 50, 20])) == pytest.approx(expected)
    assert series.hand == 1
    assert series.dose_e_per_A2.tolist() == [3, 6]
    assert [image.section for image in series.images] == [0, 1]


def test_matrices_of_an_odd_tomogram_put_corner_coordinates_where_they_say(tmp_path: Path) -> None:
    write_stack(tmp_path / "s.mrc", (100, 80), 1, 2.0)
    c, s = np.cos(np.radians(40.0)), np.sin(np.radians(40.0))
    (tmp_path / "tomograms.star").write_text(
        "data_global\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesName\n_rlnTomoSizeX\n_rlnTomoSizeY\n"
        "_rlnTomoSizeZ\n_rlnTomoTiltSeriesPixelSize\n_rlnVoltage\n_rlnSphericalAberration\n"
        "_rlnAmplitudeContrast\nt s.mrc 121 100 41 2 300 2.7 0.1\n\n"
        "data_t\nloop_\n_rlnTomoProjX\n_rlnTomoProjY\n_rlnTomoProjZ\n_rlnTomoProjW\n_rlnDefocusU\n"
        "_rlnDefocusV\n_rlnDefocusAngle\n"
        f"[{c},0,{s},-7] [0,1,0,-12] [{-s},0,{c},0] [0,0,0,1] 2 1 0\n"
    )
    particles = tmp_path / "particles.star"
    particles.write_text(
        "data_particles\nloop_\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
        "t 71 43 31\n"
    )
    series = one(tmp_path)
    place = read_particles(particles, 2.0).from_centre(series)
    expected = [c * 71 + s * 31 - 7, 43 - 12]
    np.testing.assert_allclose(series.project(place)[0, 0], expected)


@pytest.mark.parametrize(
    ("sections", "dark"),
    [([1, 2, 3, 4], 5), ([1, 2, 4, 5], 3), ([2, 3, 4, 5], 1), ([1, 2, 3, 4], 3)],
    ids=["last", "middle", "first", "without dark ones"],
)
def test_aretomo_may_count_from_one(tmp_path: Path, sections: list[int], dark: int) -> None:
    kept = [s for s in range(5) if s != dark - 1]
    rows = [(n, 84.0, float(s), 0.0, 3.0 * s) for n, s in zip(sections, kept, strict=True)]
    series = one(aretomo(tmp_path, rows, [(dark, 3.0 * (dark - 1))], 5))
    assert [image.section for image in series.images] == kept
    assert (series.shift_angstrom[:, 0] / 2 + 0.5).tolist() == kept


def test_a_transform_alone_is_no_tilt_series(tmp_path: Path) -> None:
    """Etomo leaves rotation.xf and others beside the alignment."""
    imod(tmp_path, "1 0 0 1 0 0\n", "30\n")
    (tmp_path / "rotation.xf").write_text("0 1 -1 0 0 0\n")
    (tmp_path / "other.tlt").write_text("3\n")
    assert list(read_tilt_series(tmp_path, TiltSeriesSettings.model_validate(KV))) == ["t"]


@pytest.mark.skipif(not DATA.is_dir(), reason="test data of WarpTools is absent")
def test_warptools_export_of_particles_is_no_tilt_series(tmp_path: Path) -> None:
    """It has no shifts, and names images that are not there."""
    star = next(DATA.glob("*_tomograms.star"))
    with pytest.raises(InputError, match=r"Unt_083.*without translation.*give the folder of Warp"):
        read_tilt_series(star, TiltSeriesSettings(data_dir=tmp_path))
