"""What `tomopipe init` sees of particles to be cut is what `tomopipe extract` cuts, or refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.extract.world import make_world, write_star
from tomopipe.cli.main import main
from tomopipe.config.extract import ExtractSettings
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.geometry import TiltImage
from tomopipe.dataset.tilt_series.write import write_tilt_series
from tomopipe.errors import InputError
from tomopipe.extract.extract import extract
from tomopipe.extract.particles import read_particles
from tomopipe.extract.series import series_of
from tomopipe.suggest.series import Cut, look_at_series
from tomopipe.suggest.words import report

VOLUME = (1300.0, 1200.0, 700.0)


def from_corner(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows with rlnCoordinateX/Y/Z in Å from the corner."""
    for row in rows:
        for axis, size in zip("XYZ", VOLUME, strict=True):
            centred = row.pop(f"rlnCenteredCoordinate{axis}Angst")
            row[f"rlnCoordinate{axis}"] = centred + size / 2
        yield row


@pytest.fixture
def cells(tmp_path: Path) -> SimpleNamespace:
    """Four particles: the box of one lies in three of five tilts, that of another in fewer."""
    world = make_world("TS_1", 0, hand=-1)
    world.write_images(tmp_path, noise=0.5)
    world.position[0, :2] = 580, -520
    world.position[1, :2] = 630, 590
    write_tilt_series(tmp_path / "aligned", [world.series(tmp_path)], "relion5")
    star = write_star(tmp_path / "picks.star", world.rows())
    corner = from_corner(world.rows())
    picks = write_star(tmp_path / "corner.star", corner, {"rlnOpticsGroup": 1})
    return SimpleNamespace(star=star, corner=picks, series=tmp_path / "aligned", world=world)


def test_images_are_those_that_extract_cuts(cells: SimpleNamespace, tmp_path: Path) -> None:
    seen = look_at_series(cells.star, Cut(cells.series, 6.2, 200.0))
    particles = read_particles(cells.star)
    series = series_of(cells.series, ["TS_1"], TiltSeriesSettings())
    settings = ExtractSettings(box=seen.box, pixel_size_angstrom=6.2)
    cut = extract(series, particles, tmp_path / "out", settings)
    assert (seen.particles, seen.dropped) == (cut["n_particles"], cut["n_dropped"]) == (3, 1)
    assert seen.images == cut["n_images"] == 13
    assert seen.rows == 4 and seen.tilts[::2] == (3, 5)
    said = report(seen, [], 1, gpu=False)
    assert "3 in 1 tomogram; 1 more" in said and "1 of 4 particles will be dropped" in said


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"coordinates_pixel_size": 100.0}, "pixel size of the coordinates"),
        ({"coordinates_pixel_size": 1.0, "pixel_size": 2.0}, "set it to 3.1 or more"),
        ({"coordinates_pixel_size": 1.0, "diameter": 3000.0}, "smaller --diameter-angstrom"),
    ],
)
def test_what_extract_refuses_is_refused(
    cells: SimpleNamespace, given: dict[str, Any], named: str
) -> None:
    assert look_at_series(cells.corner, Cut(cells.series, coordinates_pixel_size=1.0))
    with pytest.raises(InputError, match=named):
        look_at_series(cells.corner, Cut(cells.series, **given))


def test_corners_of_tomograms_of_unknown_size_are_refused(
    cells: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imod = tmp_path / "imod" / "TS_1"
    imod.mkdir(parents=True)
    stack = (tmp_path / "TS_1.st").rename(imod / "TS_1.st")
    series = cells.world.series(tmp_path, volume_angstrom=np.full(3, np.nan))
    series = replace(series, images=tuple(TiltImage(stack, k) for k in range(len(series))))
    write_tilt_series(imod.parent, [series], "imod")  # no tilt.com
    words = ["init", str(cells.corner), "--out", str(tmp_path / "my.yaml")]
    words += ["--tilt-series", str(imod.parent), "--coordinates-pixel-size-angstrom", "1"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "whose size is not known: set the size" in error and error.count("\n") == 1
    assert not (tmp_path / "my.yaml").exists()
    assert main([*words, "--read", f'{{"volume_angstrom": {list(VOLUME)}}}']) == 0
