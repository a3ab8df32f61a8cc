"""Two tilt series of one name are refused; a header's 1 Å is no pixel size."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.dataset.tilt_series.series import placed, tilt_series, write_stack
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.read import list_tilt_series, read_tilt_series
from tomopipe.errors import InputError

TILTS = [(0.0, angle, 84.0, 30.0, -20.0) for angle in (-30.0, 0.0, 30.0)]


def refused(path: Path, *words: str) -> None:
    for ask in (read_tilt_series, list_tilt_series):
        with pytest.raises(InputError) as error:
            ask(path, TiltSeriesSettings())
        assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("form", ["aretomo", "imod"])
@pytest.mark.parametrize("bad", ["v2_bad", "a_bad"])
def test_two_alignments_of_one_name(form: str, bad: str, tmp_path: Path) -> None:
    """Whichever comes first by name."""
    series = placed(tmp_path / "made", tilt_series(TILTS), form)
    home = tmp_path / "made" / "tomo_1" if form == "imod" else tmp_path / "made"
    for version in ("v1", bad):
        shutil.copytree(home, tmp_path / "aln" / version)
    end = ".xf" if form == "imod" else ".aln"
    names = [f"{version}/tomo_1{end}" for version in ("v1", bad)]
    refused(tmp_path / "aln", *names, "both of a tilt series tomo_1", "give the folder")
    one = read_tilt_series(tmp_path / "aln" / "v1", TiltSeriesSettings())["tomo_1"]
    assert one.shift_angstrom == pytest.approx(series.shift_angstrom, abs=0.01)


def test_versions_of_aretomo_side_by_side(tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "aretomo")
    shutil.copy(tmp_path / "tomo_1.aln", tmp_path / "tomo_1.st.aln")
    refused(tmp_path, "tomo_1.aln", "tomo_1.st.aln")


def test_a_folder_with_half_of_an_alignment_is_none(tmp_path: Path) -> None:
    """As folders of raw tilt angles are, even where they come first."""
    placed(tmp_path, tilt_series(TILTS), "imod")
    (tmp_path / "angles").mkdir()
    for name in ("tomo_1", "other"):
        (tmp_path / "angles" / f"{name}.tlt").write_text("1\n2\n3\n")
    assert list_tilt_series(tmp_path, TiltSeriesSettings()) == ["tomo_1", "other"]
    assert read_tilt_series(tmp_path, TiltSeriesSettings(), ["tomo_1"])["tomo_1"].pixel_size == 4


def test_two_of_warp(tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS), "warptools")
    shutil.copytree(tmp_path / "warp_tiltseries", tmp_path / "warp_tiltseries_bin8")
    with pytest.raises(InputError, match=r"warp_tiltseries/.*_bin8/tomo_1\.xml both align"):
        read_tilt_series(tmp_path, TiltSeriesSettings())
    chosen = read_tilt_series(tmp_path / "warp_tiltseries_bin8", TiltSeriesSettings())
    assert list(chosen) == ["tomo_1"]
    shutil.copytree(tmp_path / "tomostar", tmp_path / "tomostar_old")
    refused(tmp_path, "tomostar/tomo_1.tomostar", "tomostar_old/tomo_1.tomostar")
    for folder in ("tomostar", "tomostar_old"):
        shutil.rmtree(tmp_path / folder)
    refused(tmp_path, "warp_tiltseries/tomo_1.xml", "warp_tiltseries_bin8/tomo_1.xml")


def stated(folder: Path, form: str, header: float) -> Path:
    """A tilt series of 4 Å whose images state `header`; gives its .mdoc."""
    placed(folder, tilt_series(TILTS), form)
    for stack in (path for path in folder.rglob("*.mrc")):
        write_stack(stack, (960, 928), 3 if form != "warptools" else 1, header)
    return next(folder.rglob("*.mdoc"), folder / "none.mdoc")


@pytest.mark.parametrize("header", [0.0, 1.0])
@pytest.mark.parametrize("form", ["imod", "aretomo"])
def test_a_header_that_knows_none_leaves_it_to_the_mdoc(
    form: str, header: float, tmp_path: Path
) -> None:
    mdoc = stated(tmp_path, form, header)
    text = mdoc.read_text()
    assert read_tilt_series(tmp_path, TiltSeriesSettings())["tomo_1"].pixel_size == 4
    for other in (text.replace("PixelSpacing = 4\n", ""), text.replace("960 928", "1920 1856")):
        mdoc.write_text(other)
        refused_to_read(tmp_path)
        given = TiltSeriesSettings(pixel_size_angstrom=5)
        assert read_tilt_series(tmp_path, given)["tomo_1"].pixel_size == 5
    mdoc.write_text(text)  # a setting counts, whatever the .mdoc says
    assert read_tilt_series(tmp_path, given)["tomo_1"].pixel_size == 5


def refused_to_read(path: Path) -> None:
    with pytest.raises(InputError, match=r"\.mrc has no pixel size: give pixel_size_angstrom"):
        read_tilt_series(path, TiltSeriesSettings())


def test_warp_has_the_header_alone(tmp_path: Path) -> None:
    stated(tmp_path, "warptools", 1.0)
    refused_to_read(tmp_path)


def test_a_star_file_that_says_1_angstrom_means_it(tmp_path: Path) -> None:
    placed(tmp_path, tilt_series(TILTS, pixel_size=1.0), "relion5")
    assert read_tilt_series(tmp_path, TiltSeriesSettings())["tomo_1"].pixel_size == 1
    with pytest.raises(InputError, match="pixel size of 1 Å"):
        read_tilt_series(tmp_path, TiltSeriesSettings(pixel_size_angstrom=4))
