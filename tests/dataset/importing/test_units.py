"""Doses count in the steps of their own tomogram, coordinates in the pixels that are stated."""

from __future__ import annotations

import numpy as np
import pytest

from tests.dataset.importing.test_dialects import imported
from tomopipe.config.importing import ExportSettings
from tomopipe.dataset.export import export
from tomopipe.io.star import read_star


def test_tomograms_may_have_had_other_doses(stars, tmp_path):
    """Of both together the least step would be .05."""
    made = stars.make("warp", tmp_path)
    made.table = made.table.drop(columns="rlnCtfBfactor")
    step = np.where(made.table["rlnMicrographName"] == "000.tomostar", 3.0, 3.05)
    before = (made.truth["dose"].to_numpy() - 3) / 3 * step
    made.table["rlnMicrographPreExposure"] = [f"{dose:.4f}" for dose in before]
    images = imported(made, tmp_path).images.sort_values("source_row")
    np.testing.assert_allclose(images["dose_e_per_A2"], before + step, atol=1e-4)


@pytest.mark.parametrize("column", ["rlnMicrographOriginalPixelSize", "rlnTomoTiltSeriesPixelSize"])
@pytest.mark.parametrize("beside", ["optics", "particles"])
def test_coordinates_of_a_relion5_set_are_in_the_pixels_that_it_states(
    stars, tmp_path, column, beside
):
    """The stacks are binned four times: 4 and 5.5 Å, picked at 1 and 1.375 Å."""
    made = stars.make("relion31", tmp_path)
    optics = made.files[made.particles]["optics"]
    pixel = {"1": 1.0, "2": 1.375}
    table = made.files[made.particles][beside]
    table[column] = [f"{pixel[group]}" for group in table["rlnOpticsGroup"]]
    places = {axis: np.arange(len(made.table)) // 5 * 40.0 + k for k, axis in enumerate("XYZ", 100)}
    for axis, values in places.items():
        made.table[f"rlnCoordinate{axis}"] = [f"{value}" for value in values]
    found = imported(made, tmp_path)
    export(tmp_path / "out", tmp_path / "far", {"kept": found.particles["uid"]}, ExportSettings())
    star = read_star(tmp_path / "far/relion5/kept.star")
    assert len(optics) == 2 and column not in star["particles"]
    stated = star["optics"].set_index("rlnOpticsGroup")["rlnTomoTiltSeriesPixelSize"].astype(float)
    assert stated.tolist() == [4.0, 5.5]
    rows = star["particles"]
    size = rows["rlnOpticsGroup"].map(stated)
    first = found.particles["source_row"]
    truth = made.table["rlnOpticsGroup"].map(pixel)
    for axis, values in places.items():
        angstrom = rows[f"rlnCoordinate{axis}"].astype(float) * size
        np.testing.assert_allclose(angstrom, (values * truth)[first], rtol=1e-8)
