"""Defocus of particles in tomograms: where their coordinates count from, and with which sign."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.dataset.importing.test_dialects import assert_true, imported

SERIES, SIZE = 1.5, (400, 300, 200)  # Å a pixel, and pixels, of the tilt series; images have 6 Å


@pytest.fixture
def made(stars, tmp_path):
    return stars.make("relion5", tmp_path, particles=4)


def tomograms(made) -> pd.DataFrame:
    """The global table, which may be changed in place."""
    return next(blocks["global"] for blocks in made.files.values() if "global" in blocks)


def in_height(made, found, hand: float) -> tuple[np.ndarray, np.ndarray]:
    """U and V of every image beyond those of its tilt, and the height (Å) of its particle there.

    `hand` is the one that the set was made with.
    """
    tables = {name: t for blocks in made.files.values() for name, t in blocks.items()}
    images = found.images.merge(made.truth, on=["stack", "slot"], validate="1:1")
    assert len(images) == len(made.truth)
    place = list(zip(images["uid"].str.split("/").str[0], images["source_frame"], strict=True))
    beyond, height = [], []
    for axis in "uv":
        tilt = np.array([float(tables[t][f"rlnDefocus{axis.upper()}"].iloc[f]) for t, f in place])
        beyond.append(images[f"defocus_{axis}_angstrom"].to_numpy() - tilt)
        height.append(hand * (images[axis].to_numpy() - tilt))
    assert np.abs(height).max() > 50
    return np.array(beyond), np.array(height)


def test_coordinates_in_pixels_of_the_series_give_the_height_of_binned_particles(made, tmp_path):
    """RELION 4 counts pixels of the unbinned tilt series from the tomogram's corner."""
    corner = {}
    for axis, pixels in zip("XYZ", SIZE, strict=True):
        centred = made.table.pop(f"rlnCenteredCoordinate{axis}Angst").astype(float)
        corner[axis] = centred.to_numpy() + pixels * SERIES / 2
        made.table[f"rlnCoordinate{axis}"] = [f"{x / SERIES:.10f}" for x in corner[axis]]
    found = imported(made, tmp_path)
    assert_true(found, made.truth)
    for axis, angstrom in corner.items():
        assert found.particles[f"{axis.lower()}_angstrom"].to_numpy() == pytest.approx(angstrom)


@pytest.mark.parametrize("hand", [1.0, -1.0])
def test_defocus_grows_with_hand_slope_and_height(made, tmp_path, hand):
    table = tomograms(made)
    first = float(table["rlnTomoHand"].iloc[0])
    table["rlnTomoHand"], table["rlnTomoDefocusSlope"] = str(hand), "0.8"
    beyond, height = in_height(made, imported(made, tmp_path), first)
    np.testing.assert_allclose(beyond, hand * 0.8 * height, atol=1e-4)


def test_without_a_hand_what_lies_higher_has_less_underfocus(made, tmp_path):
    table = tomograms(made)
    first = float(table.pop("rlnTomoHand").iloc[0])
    beyond, height = in_height(made, imported(made, tmp_path), first)
    np.testing.assert_allclose(beyond, -height, atol=1e-4)
