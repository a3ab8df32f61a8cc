"""Wrong input ends in one sentence that names the file, the value and the fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.dataset.tilt_series.series import placed, tilt_series, write_stack
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.geometry import TiltImage
from tomopipe.dataset.tilt_series.read import list_tilt_series, read_tilt_series
from tomopipe.dataset.tilt_series.write import write_tilt_series
from tomopipe.errors import InputError

TILTS = [(0.0, angle, 84.0, 30.0, -20.0) for angle in (-30.0, 0.0, 30.0)]


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def cut(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-1])


def drop(path: Path) -> None:
    path.unlink()


def refused(path: Path, *words: str, **settings: object) -> None:
    with pytest.raises(InputError) as error:
        read_tilt_series(path, TiltSeriesSettings.model_validate(settings))
    sentence = str(error.value)
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: drop(d / "tomo_1.xf"), ["tomo_1.xf does not exist", "align"]),
        (lambda d: drop(d / "tomo_1.tlt"), ["tomo_1.tlt does not exist", "align"]),
        (lambda d: drop(d / "tomo_1.mrc"), ["tomo_1.st or tomo_1.mrc", "set data_dir"]),
        (lambda d: drop(d / "tomo_1.defocus"), ["no CTF", "set ctf"]),
        (lambda d: drop(d / "tomo_1.mdoc"), ["no acceleration voltage", "voltage_kv"]),
        (lambda d: edit(d / "tomo_1.xf", cut), ["tomo_1.xf has 2 rows", "tomo_1.mrc 3 images"]),
        (lambda d: edit(d / "tomo_1.tlt", cut), ["tomo_1.tlt has 2 rows", "3 images"]),
        (lambda d: edit(d / "tomo_1.tlt", lambda t: t + "x\n"), ["line 4", "'x'", "numbers"]),
        (lambda d: (d / "tomo_1.tlt").write_text(""), ["tomo_1.tlt holds no numbers"]),
        (
            lambda d: (d / "tomo_1.xf").write_text("1 0 0 1 0 0\n1 0 0 -1 0 0\n1 0 0 1 0 0\n"),
            ["row 2", "1 0 0 -1", "no rotation"],
        ),
        (lambda d: (d / "tilt.com").write_text("EXCLUDELIST 2,9\n"), ["view 9 of 3"]),
        (lambda d: (d / "tilt.com").write_text("EXCLUDELIST 1-3\n"), ["all 3 views"]),
        (lambda d: (d / "tilt.com").write_text("EXCLUDE one\n"), ["'one'", "1,3-5"]),
        (lambda d: (d / "tilt.com").write_text("OFFSET x\n"), ["OFFSET x", "numbers"]),
        (
            lambda d: edit(d / "tomo_1.defocus", lambda t: t.replace("0 3\n", "0 4\n", 1)),
            ["version 2 or 3", "ctfplotter"],
        ),
        (
            lambda d: (d / "tomo_1.defocus").write_text("5 0 0 0 0 3\n1 1 0 0 3000\n"),
            ["fewer than the 8 numbers"],
        ),
        (
            lambda d: edit(
                d / "tomo_1.mdoc", lambda t: t.replace("TiltAngle = 0", "TiltAngle = 9")
            ),
            ["lists no image at the tilt of", "this tilt series"],
        ),
        (
            lambda d: edit(d / "tomo_1.mdoc", lambda t: t[: t.rindex("[ZValue")]),
            ["lists 2 images", "has 3"],
        ),
        (lambda d: (d / "tomo_1.mdoc").write_text("T = 1\n"), ["no [ZValue = n]"]),
    ],
)
def test_imod(change: Callable[[Path], object], words: list[str], tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "imod")
    change(tmp_path / "tomo_1")
    refused(tmp_path, *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("# RawSize = 960 928 3\n", ""), ["RawSize"]),
        (lambda t: t.replace("960 928 3", "928 960 3"), ["928 x 960 pixels", "960 x 928"]),
        (lambda t: t.replace("960 928 3", "960 928 4"), ["3 aligned and 0 dark images of 4"]),
        (cut, ["2 aligned", "of 3"]),
        (lambda t: t.replace("    2  ", "    1  ", 1), ["column SEC"]),
        (lambda t: t + "x y z\n", ["'x y z'"]),
        (lambda t: t.rsplit(" ", 1)[0] + "\n", ["10 numbers"]),
    ],
)
def test_aretomo(change: Callable[[str], str], words: list[str], tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "aretomo")
    edit(tmp_path / "tomo_1.aln", change)
    refused(tmp_path, "tomo_1.aln", *words)


def test_a_file_of_defoci_without_a_tilt(tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "aretomo")
    edit(tmp_path / "tomo_1_CTF.txt", cut)
    refused(tmp_path, "tomo_1_CTF.txt has no row of image 3")
    (tmp_path / "tomo_1_CTF.txt").unlink()
    refused(tmp_path, "tomo_1.aln has no CTF", "set ctf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("<GridCTF ", "<No ").replace("/GridCTF>", "/No>"), ["no CTF"]),
        (lambda t: t.replace("<Angles>", "<Angles>a"), ["words in <Angles>"]),
        (lambda t: t.replace("<Dose>", "<Dose>0\n"), ["4 values in <Dose>", "3 in <Angles>"]),
        (lambda t: t.replace("True\nTrue", "True"), ["2 of 2 tilts in <UseTilt>", "has 3"]),
        (lambda t: t.replace("True", "False"), ["0 of 3 tilts in <UseTilt>"]),
        (lambda t: t.replace("<MoviePath>", "<MoviePath>more.mrc\n"), ["4 movies", "3"]),
        (lambda t: t.replace("TiltSeries", "Movie"), ["beside it", "folder that holds both"]),
        (lambda t: t.replace('Voltage" Value="', 'Voltage" Value="kV'), ["Voltage = 'kV300'"]),
        (lambda t: t.replace('Name="Voltage"', 'Name="Volts"'), ["no acceleration voltage"]),
        (lambda t: t[:-20], ["cannot be read as XML"]),
        (lambda t: t.replace('Depth="3"', 'Depth="2"'), ["damaged grid"]),
    ],
)
def test_warptools(change: Callable[[str], str], words: list[str], tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "warptools")
    edit(tmp_path / "warp_tiltseries" / "tomo_1.xml", change)
    refused(tmp_path, "tomo_1", *words)


def test_warptools_without_images(tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "warptools")
    (tmp_path / "warp_frameseries" / "average" / "tomo_1_002.mrc").unlink()
    refused(tmp_path, "tomo_1_002.mrc, which does not exist", "data_dir")
    write_stack(tmp_path / "warp_frameseries" / "average" / "tomo_1_002.mrc", (8, 8), 1, 4.0)
    refused(tmp_path, "960 x 928 pixels", "8 x 8", "same size")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("rlnTomoYTilt", "rlnNo"), ["rlnTomoProjX/Y/Z", "rlnTomoYTilt"]),
        (lambda t: t.replace("rlnDefocusU", "rlnNo"), ["no column rlnDefocusU"]),
        (lambda t: t.replace("000003@", "000004@"), ["image 4 of", "holds 3"]),
        (lambda t: t.replace("000003@", "x@"), ["section@stack"]),
        (lambda t: t.replace("tomo_1.mrc", "other.mrc"), ["does not exist", "data_dir"]),
    ],
)
def test_relion5(change: Callable[[str], str], words: list[str], tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "relion5")
    edit(tmp_path / "tilt_series" / "tomo_1.star", change)
    refused(tmp_path, "tomo_1.star", *words)


def test_relion5_names_and_pixel_size(tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "relion5")
    refused(
        tmp_path, "tomograms.star", "4 Å", "is 4.1", "pixel_size_angstrom", pixel_size_angstrom=4.1
    )
    with pytest.raises(InputError, match="holds no tilt series other, only tomo_1: check the name"):
        read_tilt_series(tmp_path, TiltSeriesSettings(), ["other"])
    edit(tmp_path / "tomograms.star", lambda t: t + t.splitlines()[-1] + "\n")
    edit(tmp_path / "tomograms.star", lambda t: t.rstrip() + "\n" + t.rstrip().splitlines()[-1])
    refused(tmp_path, "row 2", "a second time")


@pytest.mark.parametrize("form", ["imod", "aretomo", "warptools"])
def test_pixel_sizes_that_disagree(form: str, tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), form)
    refused(tmp_path, "pixel size of 4 Å", "is 3.9", pixel_size_angstrom=3.9)
    read = read_tilt_series(tmp_path, TiltSeriesSettings(pixel_size_angstrom=4.05))["tomo_1"]
    assert read.pixel_size == 4.05


def test_what_is_no_tilt_series(tmp_path: Path) -> None:
    refused(tmp_path, "holds no tomograms.star, .tomostar, .aln, .xf or .tlt")
    refused(tmp_path / "no", "does not exist")
    (tmp_path / "a.txt").write_text("")
    refused(tmp_path / "a.txt", "no alignment that is known")
    (tmp_path / "a.xf").write_text("")
    (tmp_path / "a.aln").write_text("")
    refused(tmp_path, "*.aln and *.xf", "set format to one of aretomo, imod")
    assert list_tilt_series(tmp_path, TiltSeriesSettings(format="imod")) == ["a"]


def test_doses_need_more_than_an_order(tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "aretomo")
    refused(tmp_path, "order of exposure but no dose", "dose_per_tilt", exposure_order="sections")
    (tmp_path / "order.csv").write_text("ImageNumber,TiltAngle\n2,30\n1,0.1\n3,-30\n")
    settings = TiltSeriesSettings(exposure_list=tmp_path / "order.csv", dose_per_tilt=2.0)
    assert read_tilt_series(tmp_path, settings)["tomo_1"].dose_e_per_A2.tolist() == [6, 2, 4]
    refused(tmp_path, "no.csv does not exist", exposure_list=str(tmp_path / "no.csv"))


def test_without_order_doses_stay_unknown(tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "aretomo")
    edit(tmp_path / "tomo_1.mdoc", lambda t: t.replace("PriorRecordDose", "Other"))
    assert np.isnan(read_tilt_series(tmp_path, TiltSeriesSettings())["tomo_1"].dose_e_per_A2).all()


def test_formats_that_cannot_state_a_series(tmp_path: Path) -> None:
    series = tilt_series(TILTS)
    for form in ("imod", "aretomo"):
        other = replace(series, images=tuple(TiltImage(Path(f"{i}.mrc")) for i in range(3)))
        with pytest.raises(InputError, match="one stack of all its tilts"):
            write_tilt_series(tmp_path, [other], form)
        with pytest.raises(InputError, match=r"name it x\.st"):
            write_tilt_series(tmp_path, [replace(series, name="x")], form)
    with pytest.raises(InputError, match="file per tilt"):
        write_tilt_series(tmp_path, [series], "warptools")
    tilted = tilt_series([(3.0, 0.0, 84.0, 0.0, 0.0)])
    with pytest.raises(InputError, match=r"3\.000° about x"):
        write_tilt_series(tmp_path, [tilted], "aretomo")
    single = replace(tilted, images=(TiltImage(Path("a.mrc")),), hand=0.5)
    with pytest.raises(InputError, match=r"hand 0\.5"):
        write_tilt_series(tmp_path, [single], "warptools")


def test_a_hand_is_a_sign() -> None:
    with pytest.raises(ValidationError, match="must be 1 or -1"):
        TiltSeriesSettings(hand=0)
