"""Where points of a tomogram fall, against RELION's 4 x 4 matrices written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.dataset.tilt_series.series import tilt_series


def turn(axis: str, degrees: float) -> np.ndarray:
    """A right-handed 4 x 4 rotation about a coordinate axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    out = np.eye(4)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return out


def move(x: float, y: float, z: float = 0) -> np.ndarray:
    out = np.eye(4)
    out[:3, 3] = x, y, z
    return out


def test_points_fall_where_relions_matrices_put_them() -> None:
    x_tilt, y_tilt, z_rot, shift = 1.5, -33.0, 84.0, (120.0, -45.0)
    series = tilt_series([(x_tilt, y_tilt, z_rot, *shift)], pixel_size=4.0, image_size=(960, 928))
    # RELION: pixels of the tilt series from the corner of the tomogram to pixels of the image
    size = series.volume_angstrom / 4.0
    matrix = (
        move(960 / 2, 928 / 2)
        @ move(shift[0] / 4, shift[1] / 4)
        @ turn("z", z_rot)
        @ turn("y", y_tilt)
        @ turn("x", x_tilt)
        @ move(*(-size / 2))
    )
    point = np.array([310.0, -520.0, 240.0])
    corner = point / 4.0 + size / 2
    expected = (matrix @ np.append(corner, 1))[:2]
    np.testing.assert_allclose(series.project(point[None])[0, 0], expected, atol=1e-9)


def test_the_axis_stays_and_the_rest_moves_with_the_tilt() -> None:
    angles = [(0.0, t, 0.0, 0.0, 0.0) for t in (-60.0, 0.0, 60.0)]
    series = tilt_series(angles, pixel_size=2.0, image_size=(512, 512))
    on_axis = np.array([[0.0, 100.0, 0.0]])
    np.testing.assert_allclose(series.project(on_axis)[0], [[256, 306]] * 3, atol=1e-9)
    above = series.project(np.array([[0.0, 0.0, 100.0]]))[0, :, 0] - 256
    # Ry moves +z towards +x for positive angles
    np.testing.assert_allclose(above, 50 * np.sin(np.radians([-60, 0, 60])), atol=1e-9)
    np.testing.assert_allclose(series.tilt_degrees, [-60, 0, 60], atol=1e-9)


def test_defocus_changes_by_the_height_along_the_beam() -> None:
    series = tilt_series([(0.0, 30.0, 85.0, 0.0, 0.0)], hand=-1.0)
    point = np.array([[200.0, 50.0, 80.0]])
    # height of Ry(30) on (x, z), which Rz leaves as it is
    height = -np.sin(np.radians(30)) * 200 + np.cos(np.radians(30)) * 80
    assert series.defocus_change(point)[0, 0] == pytest.approx(-height)


def test_a_box_is_seen_only_if_it_lies_inside() -> None:
    series = tilt_series([(0.0, 0.0, 0.0, 0.0, 0.0)], pixel_size=1.0, image_size=(100, 80))
    points = np.array([[0.0, 0, 0], [40.0, 0, 0], [41.0, 0, 0], [0.0, 31.0, 0]])
    assert series.sees(points, 9.0)[:, 0].tolist() == [True, True, False, False]
