"""Simulated tilt images, against image formation written out in full without patches."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from tests.dataset.tilt_series.series import assert_same_geometry, tilt_series
from tomopipe.cli.main import main
from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.read import read_tilt_series
from tomopipe.errors import InputError
from tomopipe.io.mrc import open_stack, write_volume
from tomopipe.io.star import read_star
from tomopipe.simulate.aligned import aligned_series
from tomopipe.simulate.grain import grain_of
from tomopipe.simulate.micrograph import clean_micrograph
from tomopipe.simulate.phantom import Blobs, complex_in_state
from tomopipe.simulate.scene import ANGLES, POSITION, Grid, Scene, draw_scene, state_grid
from tomopipe.simulate.tilt_series import SimulatedSeries, simulate_tilt_series

TILTS = [
    (2.0, -50.0, 85.0, 31.0, -17.0),
    (2.0, 0.0, 85.0, -12.0, 8.0),
    (2.0, 38.0, 85.0, 4.0, 22.0),
]
SIZE = (208, 192)


def scene_of(blobs: list[Blobs], points: np.ndarray, angles: np.ndarray | None = None) -> Scene:
    angles = np.zeros((len(points), 3)) if angles is None else angles
    truth = pd.DataFrame(np.hstack([points, angles]), columns=[*POSITION, *ANGLES])
    return Scene(truth, blobs, [])


def series_of(**given):
    return tilt_series(TILTS, image_size=SIZE, pixel_size=5.0, **given)


def by_hand(series, tilt, blobs, point, pose) -> np.ndarray:
    """The whole tilt image of one particle: blobs at their places, one transform, one CTF."""
    nx, ny = series.image_size
    pixel = series.pixel_size
    rotation = series.rotation[tilt]
    centres = (rotation @ (point[:, None] + pose @ blobs.centres.T)).T
    x = np.arange(nx) * pixel - nx // 2 * pixel - series.shift_angstrom[tilt, 0]
    y = np.arange(ny) * pixel - ny // 2 * pixel - series.shift_angstrom[tilt, 1]
    width = blobs.width
    gx = np.exp(-((x - centres[:, :1]) ** 2) / (2 * width**2))
    gy = np.exp(-((y - centres[:, 1:2]) ** 2) / (2 * width**2))
    image = np.einsum("n,ny,nx->yx", blobs.weights, gy, gx) * pixel**2 / (2 * np.pi * width**2)
    kx, ky = np.meshgrid(np.fft.fftfreq(nx, pixel), np.fft.fftfreq(ny, pixel))
    s2, angle = kx**2 + ky**2, np.arctan2(ky, kx)
    height = rotation[2] @ point
    u = series.defocus_u_angstrom[tilt] + series.hand * height
    v = series.defocus_v_angstrom[tilt] + series.hand * height
    turn = np.radians(series.astigmatism_degrees[tilt])
    defocus = (u + v) / 2 + (u - v) / 2 * np.cos(2 * (angle - turn))
    volts = series.voltage_kv * 1e3
    wave = 12.2639 / np.sqrt(volts + 0.97845e-6 * volts**2)
    phase = np.pi * defocus * wave * s2 - np.pi / 2 * series.cs_mm * 1e7 * wave**3 * s2**2
    ctf = -np.sin(phase + np.arcsin(series.amplitude_contrast))
    critical = 0.24499 * np.maximum(np.sqrt(s2), 1e-6) ** -1.6649 + 2.8141
    damage = np.exp(-0.5 * series.dose_e_per_A2[tilt] / critical)
    return np.fft.ifft2(np.fft.fft2(image) * ctf * damage).real


@pytest.fixture(scope="module")
def lump() -> Blobs:
    """Forty blobs in no symmetric arrangement."""
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(40, 3)) * [40, 25, 15]
    return Blobs(centres, rng.uniform(0.5, 1.5, 40), 9.0)


def test_image_of_a_particle_is_that_of_the_whole_micrograph(lump):
    series = series_of()
    grid = Grid(box=40, pixel_size=5.0, radius=110.0, mass=1.0)
    point, angles = np.array([61.0, -47.0, 230.0]), np.array([33.0, 71.0, -140.0])
    pose = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    for tilt in range(3):
        ours = clean_micrograph(scene_of([lump], point[None], angles[None]), series, tilt, grid)
        exact = by_hand(series, tilt, lump, point, pose)
        assert np.corrcoef(ours.ravel(), exact.ravel())[0, 1] > 0.999
        assert np.abs(ours - exact).max() < 0.02 * np.abs(exact).max()


def test_protein_is_dark(lump):
    grid = Grid(box=40, pixel_size=5.0, radius=110.0, mass=1.0)
    image = clean_micrograph(scene_of([lump], np.zeros((1, 3))), series_of(), 1, grid)
    x, y = np.rint(series_of().project(np.zeros((1, 3)))[0, 1]).astype(int)
    assert image[y - 4 : y + 5, x - 4 : x + 5].mean() < 0


def test_a_round_particle_lies_where_the_geometry_says():
    series = series_of()
    ball = Blobs(np.zeros((1, 3)), np.ones(1), 14.0)
    grid = Grid(box=40, pixel_size=5.0, radius=60.0, mass=1.0)
    points = np.random.default_rng(4).uniform(-110, 110, size=(4, 3))
    axes = np.arange(SIZE[0]), np.arange(SIZE[1])
    for point in points:
        expected = series.project(point[None])[0]
        for tilt in range(3):
            power = clean_micrograph(scene_of([ball], point[None]), series, tilt, grid) ** 2.0
            # symmetric about its centre, and so is its power: the centroid is the peak
            found = [(power.sum(i) * axis).sum() / power.sum() for i, axis in enumerate(axes)]
            np.testing.assert_allclose(found, expected[tilt], atol=0.02)


@pytest.mark.parametrize("hand", [-1.0, 1.0])
def test_defocus_of_a_particle_follows_its_height(lump, hand):
    series = series_of(hand=hand)
    grid = Grid(box=40, pixel_size=5.0, radius=110.0, mass=1.0)
    high = np.array([[50.0, 30.0, 250.0]])
    for tilt in range(3):
        axis = series.rotation[tilt, 2]
        # the same place in the image, 2500 Å lower along the beam
        low = high - 2500.0 * axis
        images = [clean_micrograph(scene_of([lump], p), series, tilt, grid) for p in (high, low)]
        moved = replace(
            series,
            defocus_u_angstrom=series.defocus_u_angstrom - hand * 2500.0,
            defocus_v_angstrom=series.defocus_v_angstrom - hand * 2500.0,
        )
        same = clean_micrograph(scene_of([lump], high), moved, tilt, grid)
        np.testing.assert_allclose(images[1], same, atol=2e-3 * np.abs(same).max())
        assert np.abs(images[0] - images[1]).max() > 0.02 * np.abs(same).max()


def test_what_is_no_particle_is_drawn_with_the_same_image_formation(lump):
    series = series_of()
    grid = Grid(box=40, pixel_size=5.0, radius=110.0, mass=1.0)
    near = replace(lump, centres=lump.centres + np.array([20.0, 5.0, 0.0]))
    for tilt in (0, 1):
        empty = replace(scene_of([], np.zeros((0, 3))), others=[near])
        ours = clean_micrograph(empty, series, tilt, grid)
        exact = by_hand(series, tilt, near, np.zeros(3), np.eye(3))
        assert np.corrcoef(ours.ravel(), exact.ravel())[0, 1] > 0.995


def small(**given) -> TiltSeriesSimulation:
    common = {
        "tomograms": 1,
        "particles": 5,
        "volume_angstrom": (1000, 1000, 400),
        "image_pixels": (160, 144),
        "pixel_size_angstrom": 8.0,
        "tilts": 5,
        "tilt_step_degrees": 10.0,
        "states": {"whole": 1.0},
        "separation_angstrom": 200.0,
        "disomes": 1,
        "beads": 1,
    }
    return TiltSeriesSimulation(**(common | given))


def digests(folder: Path) -> dict[str, str]:
    """Of every file but for headers and paths that name the time or the folder."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".mrc":
            with open_stack(path) as stack:
                content = stack.read(range(stack.shape[0])).tobytes()
        else:
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("series")
    simulate_tilt_series(small(tomograms=2, membrane="sheet", membrane_bound=1), root / "a")
    return root / "a"


def test_the_same_seed_gives_the_same_files(made, tmp_path):
    again = small(membrane="sheet", membrane_bound=1, formats=("imod", "aretomo"))
    simulate_tilt_series(again, tmp_path / "b")
    first, second = digests(made), digests(tmp_path / "b")
    # of a tomogram, however many others there are
    same = [name for name in second if "tomo_001" in name or name == "truth/whole.mrc"]
    assert "tilt_series/tomo_001.mrc" in same
    assert {name: first[name] for name in same} == {name: second[name] for name in same}
    assert first["tilt_series/tomo_001.mrc"] != first["tilt_series/tomo_002.mrc"]
    truth = [pd.read_parquet(folder / "truth.parquet") for folder in (made, tmp_path / "b")]
    pd.testing.assert_frame_equal(truth[0].query("tomogram == 'tomo_001'"), truth[1])


@pytest.mark.parametrize("place", ["", "warptools", "imod", "aretomo"])
def test_every_program_s_files_say_the_same(made, place):
    simulated = SimulatedSeries.load(made)
    settings = TiltSeriesSettings(volume_angstrom=simulated.settings.volume_angstrom)
    read = read_tilt_series(made / place, settings)
    assert list(read) == ["tomo_001", "tomo_002"]
    for name, series in read.items():
        wanted = simulated.series[name]
        assert_same_geometry(series, wanted)
        for image, truth in zip(series.images, wanted.images, strict=True):
            with open_stack(image.path) as ours, open_stack(truth.path) as theirs:
                assert np.array_equal(ours.read([image.section]), theirs.read([truth.section]))


def test_particles_are_those_of_the_truth(made):
    truth = pd.read_parquet(made / "truth.parquet")
    particles = read_star(made / "particles.star")["particles"]
    assert list(particles["rlnTomoParticleName"]) == list(truth["uid"])
    written = particles[[f"rlnCenteredCoordinate{a}Angst" for a in "XYZ"]].astype(float)
    np.testing.assert_allclose(written, truth[POSITION], atol=1e-6)
    angles = particles[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].astype(float)
    np.testing.assert_allclose(angles, truth[ANGLES], atol=1e-6)
    named = read_star(made / "optimisation_set.star")["optimisation_set"]
    assert all((made / str(path)).is_file() for path in named.iloc[0])


def test_images_of_a_particle_alone_are_those_in_the_micrograph(tmp_path):
    settings = small(
        snr=None,
        particles=1,
        disomes=0,
        beads=0,
        junk_fraction=0,
        formats=(),
        pixel_size_angstrom=5,
    )
    simulate_tilt_series(settings, tmp_path / "a")
    simulated = SimulatedSeries.load(tmp_path / "a")
    series = simulated.series["tomo_001"]
    uid = str(simulated.truth["uid"][0])
    place = series.project(simulated.truth[POSITION].to_numpy())[0]
    nearest = np.rint(place).astype(int)
    images = simulated.images(uid, 40, 5.0, shift_angstrom=(place - nearest) * 5.0).numpy()
    # in a far wider field nothing comes back from the other side
    wide = simulated.images(uid, 200, 5.0, shift_angstrom=(place - nearest) * 5.0).numpy()
    with open_stack(tmp_path / "a" / "tilt_series" / "tomo_001.mrc") as stack:
        micrographs = stack.read(range(5))
    for tilt, (x, y) in enumerate(nearest):
        rows, columns = slice(y - 20, y + 20), slice(x - 20, x + 20)
        cut = -micrographs[tilt, rows, columns]
        np.testing.assert_allclose(images[tilt], cut, atol=1e-4 * cut.max())
        np.testing.assert_allclose(wide[tilt, 80:120, 80:120], cut, atol=5e-3 * cut.max())
    # a coarser box shows the same: means over pixels
    coarse = simulated.images(uid, 20, 10.0).numpy()
    fine = simulated.images(uid, 40, 5.0).numpy()
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(fine, axes=(1, 2))), axes=(1, 2))
    cropped = np.fft.ifftshift(spectrum[:, 10:30, 10:30], axes=(1, 2))
    binned = np.fft.fftshift(np.fft.ifft2(cropped).real, axes=(1, 2)) / 4
    for ours, other in zip(coarse, binned, strict=True):
        assert np.corrcoef(ours.ravel(), other.ravel())[0, 1] > 0.99
        assert ours.std() == pytest.approx(other.std(), rel=0.05)
    with pytest.raises(InputError, match="tomo_001/9 is no particle"):
        simulated.images("tomo_001/9", 20, 10.0)


def test_noise_has_the_ratio_asked_for_and_grows_with_the_tilt():
    settings = small(snr=0.05, tilts=11, axis_degrees=0.0)
    grid = state_grid(settings)
    grain, series = grain_of(settings, grid), aligned_series(settings, 0, Path())
    empty = np.zeros((300, 300), np.float32)
    spread = [grain.add(empty, series, tilt, (0, 0)).std() for tilt in range(11)]
    thicker = 1 / np.cos(np.deg2rad(series.tilt_degrees)) - 1
    np.testing.assert_allclose(spread / spread[5], np.exp(400 / 3100 / 2 * thicker), rtol=0.015)
    # the ratio is that of pixels of 10 Å, here of 8 Å: noise of counts goes with the edge
    box = 2 * round(grid.radius / 10)
    signal = float(complex_in_state("whole", 30.0).volume(box, 10.0).sum(0).std())
    assert spread[5] == pytest.approx(signal / 0.05**0.5 * 0.8, rel=0.08)


def test_structural_noise_is_what_the_ctf_passes():
    settings = small(snr=None, structural_snr=0.5)
    grain = grain_of(settings, state_grid(settings))
    series = aligned_series(settings, 0, Path())
    image = grain.add(np.zeros((256, 256), np.float32), series, 2, (0, 0))
    assert 0.3 * grain.structural < image.std() < 0.8 * grain.structural
    power = np.abs(np.fft.fft2(image)) ** 2
    # the CTF begins with the amplitude contrast
    assert power[:3, :3].mean() < 0.05 * power.mean()


def test_int16_has_grey_values_that_keep_the_noise(tmp_path):
    settings = small(format="int16", formats=(), tilts=1, states={"no_cap": 1.0})
    simulate_tilt_series(settings, tmp_path / "a")
    with open_stack(tmp_path / "a" / "tilt_series" / "tomo_001.mrc") as stack:
        image = stack.read([0])
    assert np.array_equal(image, np.rint(image))
    assert image.mean() == pytest.approx(1000, abs=5)
    assert image.std() == pytest.approx(100, rel=0.1)


def test_states_of_maps_give_the_images_of_what_they_were_made_from(tmp_path):
    blobs = complex_in_state("whole")
    write_volume(tmp_path / "a.mrc", 7 * blobs.volume(144, 2.5).numpy(), 2.5)
    common = {
        "snr": None,
        "motion_degrees": 0,
        "disomes": 0,
        "beads": 0,
        "junk_fraction": 0,
        "pixel_size_angstrom": 5.0,
    }
    phantom = small(**common, states={"whole": 1.0})
    mapped = {"whole": {"population": 1.0, "maps": [str(tmp_path / "a.mrc")]}}
    images = []
    for settings in (phantom, small(**common, states=mapped)):
        grid, series = state_grid(settings), aligned_series(settings, 0, tmp_path)
        scene = draw_scene(settings, grid, 0)
        images.append(clean_micrograph(scene, series, 2, grid))
        # noise keeps its ratio to a signal of any units
        ratio = grain_of(small(**common | {"snr": 0.1}, states=settings.states), grid).white
        images.append(images[-1] / ratio)
    assert np.corrcoef(images[0].ravel(), images[2].ravel())[0, 1] > 0.999
    assert images[1].std() == pytest.approx(images[3].std(), rel=0.03)


@pytest.mark.parametrize("box", [96, 120, 144])
def test_the_level_of_noise_does_not_depend_on_what_lies_around_a_map(tmp_path, box):
    """Maps whose solvent is not 0, as those without a mask: their sums say nothing.

    Both are held against the square of the first: an offset makes a map look larger.
    """
    volume = complex_in_state("whole").volume(box, 2.5).numpy()
    common = {"pixel_size_angstrom": 5.0, "snr": 0.1, "motion_degrees": 0, "junk_fraction": 0}
    common |= {"membrane": "none", "membrane_bound": 0}
    levels, grid = [], None
    for name, share in (("a", 0.0), ("b", 0.7)):
        path = tmp_path / f"{name}.mrc"
        write_volume(path, volume - share * volume.mean(), 2.5)
        mapped = {"whole": {"population": 1.0, "maps": [str(path)]}}
        settings = small(**common, states=mapped)
        grid = grid or state_grid(settings)
        levels.append(grain_of(settings, grid).white)
    assert levels[1] == pytest.approx(levels[0], rel=0.15)


def test_the_command_line_makes_tilt_series_and_says_what_does_not_fit(tmp_path, capsys):
    words = ["simulate", "tilt-series", "--out", str(tmp_path / "a"), "--tomograms", "1"]
    size = ["--volume-angstrom", "[600, 600, 400]", "--image-pixels", "[64, 64]"]
    coarse = ["--pixel-size-angstrom", "12", "--tilts", "3", "--hand", "1", "--snr", "null"]
    more = ["--junk-fraction", "0", "--formats", "[]", "--states", '{"no_arm": 1}']
    assert main([*words, *size, *coarse, *more, "--particles", "500", "--threads", "1"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("tomopipe: particles: no room for more than")
    tomograms = ["--tomogram-pixel-size-angstrom", "40"]
    assert main([*words, *size, *coarse, *more, *tomograms, "--particles", "2"]) == 0
    assert list((tmp_path / "a" / "tomograms").glob("*.mrc"))
    simulated = SimulatedSeries.load(tmp_path / "a")
    assert simulated.settings.hand == 1
    assert len(simulated.truth) == 2
    assert not (tmp_path / "a" / "imod").exists()
    assert main([*words, *size, *coarse, *more, "--particles", "2"]) == 0
    assert not (tmp_path / "a" / "tomograms").exists()  # of the simulation before
