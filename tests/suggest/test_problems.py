"""What `tomopipe init` tells the user to do can be done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tomopipe.suggest.problems import problems
from tomopipe.suggest.seen import Seen

PLENTY = Seen(
    star=Path("picks.star"),
    program="imod",
    rows=1000,
    particles=1000,
    tomograms=9,
    images=41000,
    tilts=(30, 41.0, 41),
    box=64,
    pixel_size=(6.0, 6.0),
    dose=(3.0, 120.0),
    defocus=(2e4, 4e4),
    no_ctf=0,
    premultiplied=0.0,
    dose_weighted=0.0,
    halves=True,
    placed=True,
    coefficients=10**8,
    series_pixel=3.0,
)


def only(seen: Seen) -> str:
    (text,) = problems(seen)
    return text


@pytest.mark.parametrize(
    ("program", "fix"),
    [
        ("imod", ".mdoc"),
        ("aretomo", "exposure_order: sections"),
        ("relion5", "rlnMicrographPreExposure"),
        ("warptools", "--tilt_exposure"),
    ],
)
def test_a_dose_is_asked_for_where_the_program_has_it(program: str, fix: str) -> None:
    assert not problems(replace(PLENTY, program=program))
    assert fix in only(replace(PLENTY, program=program, dose=None))
    images = replace(PLENTY, program="relion5", dose=None, series_pixel=None)
    assert "import: {dose_per_tilt: …}" in only(images)


def test_few_tilts_of_cut_images_are_not_the_star_files() -> None:
    few = replace(PLENTY, tilts=(3, 3.0, 5))
    assert "alignment" in only(few) and "STAR" not in only(few)
    assert "STAR file names all tilts" in only(replace(few, series_pixel=None))


def test_many_dropped_particles_are_a_problem_and_a_few_are_not() -> None:
    assert not problems(replace(PLENTY, particles=950, dropped=50))
    assert "200 of 1,000 particles" in only(replace(PLENTY, particles=800, dropped=200))
