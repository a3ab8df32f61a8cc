"""Where particles of a simulated tomogram are, against what the settings say of distances."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.errors import ConfigError
from tomopipe.simulate.membrane import Sheet, Vesicle, draw_membrane, head_groups, standing_on
from tomopipe.simulate.scene import ANGLES, POSITION, Grid, draw_scene, with_errors

GRID = Grid(box=24, pixel_size=10.0, radius=100.0, mass=1.0)


def crowded(**given) -> TiltSeriesSimulation:
    common = {
        "volume_angstrom": (3000, 2600, 1100),
        "particles": 60,
        "junk_fraction": 0.1,
        "disomes": 4,
        "polysomes": 2,
        "polysome_length": 4,
        "chain_angstrom": 190.0,
        "membrane": "sheet",
        "membrane_bound": 6,
        "membrane_angstrom": 130.0,
        "seed": 5,
    }
    return TiltSeriesSimulation(**(common | given))


@pytest.fixture(scope="module")
def scene():
    return draw_scene(crowded(), GRID, 0)


def test_no_two_particles_overlap_and_all_are_in_the_volume(scene):
    truth, points = scene.truth, scene.positions
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    chain = truth["chain"].to_numpy()
    same = (chain[:, None] == chain) & (chain[:, None] >= 0)
    other = apart[~same & ~np.eye(len(points), dtype=bool)]
    assert other.min() >= 2 * GRID.radius
    assert apart[same & ~np.eye(len(points), dtype=bool)].min() >= 0.9 * 190
    assert (np.abs(points) <= np.array([1500, 1300, 550]) - GRID.radius).all()


def test_counts_are_those_of_the_settings(scene):
    truth = scene.truth
    assert truth["neighbours"].value_counts().to_dict() == {
        "single": 44,
        "disome": 8,
        "polysome": 8,
    }
    assert truth["membrane_bound"].sum() == 6
    assert truth["junk"].sum() == 6
    assert not truth.loc[truth["junk"], "membrane_bound"].any()
    assert list(truth["uid"]) == [f"tomo_001/{i}" for i in range(1, 61)]
    good = truth[~truth["junk"]]
    assert good["state"].value_counts().to_dict() == {"whole": 27, "no_lobe": 16, "no_cap": 11}
    assert truth["coordinate"].notna().equals(truth["state"] == "whole")


def test_particles_of_a_chain_are_one_shift_and_turn_apart(scene):
    settings = crowded()
    direction = np.array(settings.chain_direction)
    shift = 190.0 * direction / np.linalg.norm(direction)
    # RELION's matrix of the angles, as scipy has it
    turn = Rotation.from_euler("ZYZ", settings.chain_degrees, degrees=True).inv().as_matrix()
    chained = scene.truth[scene.truth["chain"] >= 0]
    for _, members in chained.groupby("chain"):
        ordered = members.sort_values("chain_position")
        assert list(ordered["chain_position"]) == list(range(1, len(ordered) + 1))
        points = ordered[POSITION].to_numpy()
        angles = ordered[ANGLES].to_numpy()
        poses = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
        for i in range(len(points) - 1):
            # the next particle, in the frame of this one
            np.testing.assert_allclose(poses[i].T @ (points[i + 1] - points[i]), shift, atol=1e-6)
            np.testing.assert_allclose(poses[i].T @ poses[i + 1], turn, atol=1e-9)


@pytest.mark.parametrize("kind", ["sheet", "vesicle"])
def test_bound_particles_stand_on_the_membrane_and_others_keep_clear(kind):
    settings = crowded(membrane=kind, membrane_degrees=(10, 35, 0), membrane_state="no_cap")
    scene = draw_scene(settings, GRID, 0)
    membrane = draw_membrane(settings, np.random.default_rng([5, 0, 1]))
    bound = scene.truth["membrane_bound"].to_numpy()
    assert set(scene.truth.loc[bound, "state"]) == {"no_cap"}
    far = scene.truth["membrane_angstrom"].to_numpy()
    np.testing.assert_allclose(far, membrane.distance(scene.positions), atol=1e-9)
    np.testing.assert_allclose(far[bound], 130.0, atol=1e-6)
    assert np.abs(far[~bound]).min() >= GRID.radius + 20
    # the angle of the particle's z axis to the normal is that of the settings
    normal = membrane.outward(scene.positions[bound])
    axis = scene.poses[bound][:, :, 2]
    np.testing.assert_allclose((normal * axis).sum(1), np.cos(np.deg2rad(35)), atol=1e-9)
    assert np.ptp(scene.truth.loc[bound, "rot_degrees"]) > 10


def test_membrane_is_two_leaflets():
    rng = np.random.default_rng(0)
    sheet = Sheet(np.zeros(3), np.array([0.6, 0.8, 0.0]))
    vesicle = Vesicle(np.array([100.0, 0, 0]), 500.0)
    for membrane in (sheet, vesicle):
        groups = head_groups(membrane, np.array([800.0, 800, 500]), rng)
        away = np.abs(membrane.distance(groups))
        assert away.mean() == pytest.approx(20, abs=0.5)
        assert away.std() < 5
    area = len(head_groups(sheet, np.array([800.0, 800, 500]), rng)) / 2 * 15**2
    assert area == pytest.approx(800 / 0.8 * 500, rel=0.05)


def test_a_particle_stands_upright_on_any_normal():
    for normal in Rotation.random(5, rng=np.random.default_rng(1)).as_matrix()[:, 0]:
        pose = standing_on(normal, np.eye(3), 1.0)
        np.testing.assert_allclose(pose @ [0, 0, 1], normal, atol=1e-12)
        assert np.linalg.det(pose) == pytest.approx(1)


def test_what_does_not_fit_is_refused():
    alone = {"membrane": "none", "membrane_bound": 0, "disomes": 0, "polysomes": 0}
    with pytest.raises(ConfigError, match=r"no room for more than \d+ of 300"):
        draw_scene(crowded(particles=300, volume_angstrom=(900, 900, 400), **alone), GRID, 0)
    with pytest.raises(ConfigError, match="runs into itself"):
        draw_scene(crowded(chain_degrees=(0, 120, 0), chain_direction=(1, 0, 0)), GRID, 0)
    for wrong in (
        {"particles": 10},
        {"membrane": "none"},
        {"membrane_state": "other"},
        {"x_tilt_degrees": 2.0},
    ):
        with pytest.raises(ValidationError):
            crowded(**wrong)


def test_errors_of_what_is_written():
    settings = crowded(
        perturb_degrees=2.0, perturb_angstrom=5.0, junk_fraction=0.2, junk_kinds=["misaligned"]
    )
    truth = draw_scene(settings, GRID, 0).truth
    written = with_errors(truth, settings, 0)
    moved = (written[POSITION] - truth[POSITION]).to_numpy()
    assert np.abs(moved).mean() == pytest.approx(5.0, abs=0.8)
    assert np.abs(moved).max() <= 10.0
    turned = [Rotation.from_euler("ZYZ", table[ANGLES], degrees=True) for table in (truth, written)]
    angle = np.degrees((turned[0] * turned[1].inv()).magnitude())
    good = ~truth["junk"].to_numpy()
    assert angle[good].mean() == pytest.approx(2.3, abs=0.6)
    assert np.median(angle[~good]) > 60
    right = with_errors(truth, crowded(junk_kinds=["noise"]), 0)
    np.testing.assert_allclose(right.loc[good, ANGLES], truth.loc[good, ANGLES], atol=1e-9)
