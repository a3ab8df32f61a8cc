"""`tomopipe init`: what it sees, what it writes, and that the numbers follow the data."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.dataset.importing import conftest as stars
from tests.extract.world import make_world, write_star
from tests.workflow.plan import planned
from tomopipe.cli.main import main
from tomopipe.config import Config, parse_config, read_config
from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.tilt_series.write import write_tilt_series
from tomopipe.reconstruct.falloff import MOST_IMAGES
from tomopipe.suggest.config import default_results
from tomopipe.suggest.cost import FALLOFF, FALLOFF_IMAGES, PREPARE, STORE_BYTES, Cost, estimate
from tomopipe.suggest.headers import QuickFinder
from tomopipe.suggest.seen import Seen, look_at_star
from tomopipe.suggest.series import Cut, look_at_series

WARPTOOLS = "warptools_ribosome_32/warptools_test_4-tomos_10-ptcls_box-32_angpix-12"


def looked(star: Path, **settings: object) -> Seen:
    return look_at_star(star, ImportSettings.model_validate(settings))


def init(star: Path, out: Path, *words: str) -> int:
    return main(["init", str(star), "--out", str(out), *words])


def uncommented(text: str) -> Config:
    """The config with all of its blocks in comments taken in."""
    return parse_config(yaml.safe_load(re.sub(r"^#(?=  |[a-z])", "", text, flags=re.MULTILINE)))


@pytest.mark.parametrize("dialect", stars.DIALECTS)
def test_every_dialect_gives_a_config(dialect, tmp_path, capsys) -> None:
    made = stars.make(dialect, tmp_path)
    assert init(made.write(), tmp_path / "my.yaml") == 0
    said = capsys.readouterr().out
    config = read_config(tmp_path / "my.yaml")
    assert config.ready == ("pilot", "clean")
    (dataset,) = config.datasets.values()
    assert dataset.particles == str(made.star)
    assert config.results == default_results(made.star)
    assert f"{made.truth['particle'].nunique():,} in " in said
    assert f"{len(made.truth):,}" in said
    assert main(["config", "check", str(tmp_path / "my.yaml")]) == 0
    both = uncommented((tmp_path / "my.yaml").read_text())
    scales = {"around"} if dialect in ("warptools", "relion5") else set()
    assert set(both.ready) == {"pilot", "clean", "neural"} | scales


@pytest.mark.parametrize(
    ("dialect", "place"), [("warptools", "WarpTools_project"), ("relion5", "tomograms.star")]
)
def test_surroundings_are_cut_from_what_can_be_cut(dialect, place, tmp_path) -> None:
    assert init(stars.make(dialect, tmp_path).write(), tmp_path / "my.yaml") == 0
    (source,) = uncommented((tmp_path / "my.yaml").read_text()).tilt_series.values()
    assert source.path == f"PATH/TO/{place}"


def test_what_is_seen_is_what_was_made(tmp_path) -> None:
    made = stars.make("warptools", tmp_path)
    seen = looked(made.write())
    counts = made.truth["particle"].value_counts()
    assert (seen.particles, seen.tomograms, seen.images) == (6, 2, len(made.truth))
    assert (seen.tilts[0], seen.tilts[2]) == (counts.min(), counts.max())
    assert (seen.box, seen.pixel_size) == (stars.BOX, (6.0, 6.0))
    assert seen.dose == pytest.approx((made.truth["dose"].min(), made.truth["dose"].max()))
    assert seen.premultiplied == 1.0 and seen.halves and seen.placed and seen.no_ctf == 0
    single = looked(stars.make("single", tmp_path / "single").write())
    assert single.dose is None and not single.placed and not single.halves


@pytest.mark.parametrize("dialect", ["warp", "warptools"])
def test_twice_the_particles_are_twice_the_coefficients(dialect, tmp_path) -> None:
    few = looked(stars.make(dialect, tmp_path / "few", particles=200, tilts=3).write())
    many = looked(stars.make(dialect, tmp_path / "many", particles=400, tilts=3).write())
    assert many.particles == 2 * few.particles
    assert many.coefficients == pytest.approx(2 * few.coefficients, rel=0.05)
    less, more = (by_stage(estimate(seen, 1))["prepare"] for seen in (few, many))
    slope = PREPARE[1] + FALLOFF[1]
    grown = slope * (many.coefficients - few.coefficients) / 1e6
    assert more.seconds - less.seconds == pytest.approx(grown)
    assert more.disk_gb == pytest.approx(STORE_BYTES * many.coefficients / 1e9)


def test_the_falloff_is_measured_in_as_many_images_as_its_cost_says(tmp_path) -> None:
    seen = looked(stars.make("warp", tmp_path).write())
    large, larger = (replace(seen, images=n, coefficients=100 * n) for n in (10**6, 2 * 10**6))
    less, more = (by_stage(estimate(one, 1))["prepare"].seconds for one in (large, larger))
    assert more - less == pytest.approx(PREPARE[1] * 100)
    assert MOST_IMAGES == FALLOFF_IMAGES


def by_stage(costs: list[Cost]) -> dict[str, Cost]:
    return {cost.stage: cost for cost in costs}


def test_a_scratch_file_takes_what_memory_does_not(tmp_path) -> None:
    seen = looked(stars.make("warptools", tmp_path).write())
    fits, packed, large = (
        by_stage(estimate(replace(seen, coefficients=int(n)), 4))["fit: linear model"]
        for n in (2e8, 4e8, 1e9)
    )
    assert fits.disk_gb == packed.disk_gb == 0 and large.disk_gb == pytest.approx(8)
    assert fits.memory_gb == pytest.approx(packed.memory_gb)
    assert large.seconds == pytest.approx(4 * large.cores_seconds, rel=0.1)


def test_nothing_is_written_over_without_force(tmp_path, capsys) -> None:
    star, out = stars.make("warp", tmp_path).write(), tmp_path / "my.yaml"
    out.write_text("mine")
    assert init(star, out) == 2
    assert capsys.readouterr().err.count("\n") == 1 and out.read_text() == "mine"
    assert init(star, out, "--force", "--results", "elsewhere") == 0
    assert read_config(out).results == "elsewhere"


def test_two_projects_have_two_folders_of_results(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_results(Path("one/ribosome_optimisation_set.star")) == "results/ribosome"
    # called like that everywhere
    found = [default_results(Path(f"{name}/particles.star")) for name in ("one", "two")]
    assert found == ["results/one_particles", "results/two_particles"]
    (tmp_path / "results/ribosome").mkdir(parents=True)
    assert default_results(Path("two/ribosome.star")) == "results/two_ribosome"


def test_flags_go_into_the_config(tmp_path, capsys) -> None:
    made = stars.make("relion31", tmp_path)
    star, out = made.write(), tmp_path / "my.yaml"
    assert init(star, out) == 0  # two pixel sizes: said, and what to do
    assert "pixel sizes from 4 to 5.5 Å" in capsys.readouterr().out
    (tmp_path / "stacks").rename(tmp_path / "moved")
    assert init(star, out, "--force") == 2
    error = capsys.readouterr().err
    assert "data_dir" in error and error.count("\n") == 1
    data = tmp_path / "elsewhere"
    data.mkdir()
    (tmp_path / "moved").rename(data / "stacks")
    assert init(star, out, "--force", "--data-dir", str(data), "--pixel-size-angstrom", "5") == 0
    assert "pixel sizes from" not in capsys.readouterr().out
    imports = read_config(out).datasets[f"box{stars.BOX}"].import_
    assert (imports.data_dir, imports.pixel_size_angstrom) == (data, 5.0)


def test_a_missing_ctf_and_few_particles_are_said(tmp_path, capsys) -> None:
    made = stars.make("relion31", tmp_path)
    ctf = ["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnCtfBfactor", "rlnPhaseShift"]
    made.table = made.table.drop(columns=ctf)
    assert init(made.write(), tmp_path / "my.yaml") == 0
    said = capsys.readouterr().out
    assert "no CTF for all images" in said and "no dose" in said and "only 6 particles" in said
    assert "# Problem: no CTF" in (tmp_path / "my.yaml").read_text()


def test_headers_are_read_quickly_and_are_the_same(tmp_path) -> None:
    made = stars.make("warp", tmp_path, tomograms=3, particles=80, tilts=2)
    finder = QuickFinder(made.star)
    for name in made.table["rlnImageName"].str.split("@").str[1].unique():
        header = finder.header(name, "a row")
        assert (header.sections, header.nx, header.ny) == (2, stars.BOX, stars.BOX)


@pytest.fixture
def cells(tmp_path) -> SimpleNamespace:
    """Particles without images, and their aligned tilt series."""
    world = make_world("TS_1", 0, hand=-1)
    world.write_images(tmp_path)
    star = write_star(tmp_path / "picks.star", world.rows())
    write_tilt_series(tmp_path / "aligned", [world.series(tmp_path)], "relion5")
    return SimpleNamespace(star=star, series=tmp_path / "aligned", world=world)


def test_picks_are_cut_out_of_tilt_series(cells, tmp_path, capsys) -> None:
    out = tmp_path / "my.yaml"
    assert init(cells.star, out) == 2
    assert "--tilt-series" in capsys.readouterr().err
    assert init(cells.star, out, "--tilt-series", str(cells.series)) == 0
    said = capsys.readouterr().out
    assert "suggested" in said and "extract" in said
    config = read_config(out)
    (dataset,) = config.datasets.values()
    assert dataset.extract is not None and dataset.extract.box % 2 == 0
    assert dataset.extract.pixel_size_angstrom >= cells.world.series(tmp_path).pixel_size
    assert set(uncommented(out.read_text()).ready) == {"pilot", "clean", "neural", "around"}
    assert sum(planned(tmp_path, out).values()) > 10


def test_settings_of_reading_reach_the_config(cells, tmp_path, capsys) -> None:
    out = tmp_path / "my.yaml"
    words = ["--tilt-series", str(cells.series), "--read"]
    assert init(cells.star, out, *words, '{"dose_per_tilt": 2.5, "hand": 1}') == 0
    (source,) = read_config(out).tilt_series.values()
    assert (source.read.dose_per_tilt, source.read.hand) == (2.5, 1)
    for wrong, named in (('{"hnd": 1}', "hand"), ("{", "not valid JSON"), ("[1]", "--read")):
        assert init(cells.star, out, *words, wrong, "--force") == 2
        error = capsys.readouterr().err
        assert named in error and error.count("\n") == 1


def test_the_box_follows_the_diameter(cells) -> None:
    pixel = 8.0
    seen = [look_at_series(cells.star, Cut(cells.series, pixel, d)) for d in (300.0, 600.0)]
    assert [one.box for one in seen] == [58, 114]
    assert seen[0].pixel_size == (pixel, pixel)
    assert seen[1].coefficients > seen[0].coefficients


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--diameter-angstrom", "300"], "--tilt-series"),
        (["--read", "{}"], "--tilt-series"),
        (["--tilt-series", "x", "--data-dir", "y"], "--data-dir"),
        (["--tilt-series", "nowhere"], "nowhere"),
    ],
)
def test_flags_that_do_not_fit_are_refused(cells, tmp_path, capsys, words, named) -> None:
    assert init(cells.star, tmp_path / "my.yaml", *words) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert not (tmp_path / "my.yaml").exists()


def test_no_file_is_one_sentence(tmp_path, capsys) -> None:
    assert init(tmp_path / "none.star", tmp_path / "my.yaml") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_shared_warptools_set_is_planned(shared_data, tmp_path, capsys) -> None:
    star = shared_data / f"{WARPTOOLS}_optimisation_set.star"
    if not star.is_file():
        pytest.skip("the WarpTools set is not in ../shared/data")
    assert init(star, tmp_path / "my.yaml") == 0
    said = capsys.readouterr().out
    assert "WarpTools" in said and "40 in 4 tomograms" in said and "1,430" in said
    assert "only 40 particles" in said
    jobs = planned(tmp_path, tmp_path / "my.yaml")
    assert sum(jobs.values()) > 10


def test_the_shared_simulated_set_is_seen(shared_data, tmp_path, capsys) -> None:
    star = shared_data / "sim_ribosome_32" / "10076_both_32_sim.star"
    if not star.is_file():
        pytest.skip("the simulated set is not in ../shared/data")
    seen = looked(star)
    assert (seen.program, seen.particles, seen.images) == ("cryosrpnt", 144, 1296)
    assert seen.tilts[::2] == (8, 10) and seen.pixel_size == (13.1, 13.1)
    assert init(star, tmp_path / "my.yaml") == 0
    assert read_config(tmp_path / "my.yaml").ready == ("pilot", "clean")
