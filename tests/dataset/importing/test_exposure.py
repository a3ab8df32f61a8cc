"""Dose and tilt of image tables without Warp's B-factors, or with columns that say more."""

from __future__ import annotations

import numpy as np
import pytest

from tests.dataset.importing.test_dialects import assert_true, imported


@pytest.fixture
def made(stars, tmp_path):
    """Images of 3 e/Å² each, whose exposures before do not follow the order of rows."""
    return stars.make("relion31", tmp_path, tilts=6)


def as_text(values) -> list[str]:
    return [f"{value:.10f}" for value in values]


@pytest.mark.parametrize(
    ("columns", "settings", "one"),
    [
        ({}, {}, 3),  # the smallest step
        ({"rlnTomoImportFractionalDose": "4"}, {}, 4),
        ({"rlnTomoImportFractionalDose": "4"}, {"dose_per_tilt": 5.0}, 5),
        ({}, {"dose_per_tilt": 5.0}, 5),
        ({"rlnCtfBfactor": "0"}, {}, 3),
    ],
)
def test_dose_is_the_exposure_before_and_that_of_one_image(made, tmp_path, columns, settings, one):
    before = made.truth["dose"] - 3
    made.table = made.table.drop(columns="rlnCtfBfactor")
    made.table["rlnMicrographPreExposure"] = as_text(before)
    for name, value in columns.items():
        made.table[name] = value
    # with the second tilt left out, the step from the first to the next is twice as long
    kept = (before != 3).to_numpy()
    made.table = made.table[kept].reset_index(drop=True)
    truth = made.truth.assign(dose=before + one)[kept]
    found = imported(made, tmp_path, **settings)
    assert_true(found, truth)
    assert (found.images["bfactor_A2"] == 0).all()


def test_doses_in_b_factors_come_before_exposures(made, tmp_path):
    made.table["rlnMicrographPreExposure"] = "50"
    assert_true(imported(made, tmp_path), made.truth)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("column", ["rlnTomoNominalStageTiltAngle", "rlnTomoYTilt"])
def test_tilts_with_a_sign_keep_it(made, tmp_path, column, scaled):
    """The cosine, which has none, is left aside: as tilt, and as a scale of the CTF."""
    tilt = made.truth["tilt"] * np.resize([1, -1, -1], len(made.truth))
    made.table[column] = as_text(tilt)
    if not scaled:
        made.table = made.table.drop(columns="rlnCtfScalefactor")
    found = imported(made, tmp_path)
    assert_true(found, made.truth.assign(tilt=tilt))
    assert (found.images["scale"] == 1).all()
