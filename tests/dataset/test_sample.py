"""Some images that stand for all of a data set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tomopipe.dataset import contrast, prepare
from tomopipe.dataset.sample import sample


@pytest.fixture
def series() -> pd.DataFrame:
    """41 tilts of 6000 particles: of 300 and of 2000 images even strides are multiples of 41."""
    table = pd.DataFrame({"tilt": np.tile(np.arange(41), 6000)})
    return table.assign(stack="a.mrcs")


def test_a_sample_sees_all_tilts_in_the_order_of_the_table(series: pd.DataFrame) -> None:
    found = sample(series, 300)
    assert len(found) == 300 and found["tilt"].nunique() == 41
    assert found.index.is_monotonic_increasing and found.index.is_unique
    pd.testing.assert_frame_equal(found, sample(series, 300))


def test_what_is_not_more_than_a_sample_is_taken_as_it_is(series: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(sample(series[:300], 300), series[:300])


def test_contrast_and_scale_are_of_all_tilts(
    series: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[pd.DataFrame] = []

    def noted(table: pd.DataFrame, how: object) -> torch.Tensor:
        seen.append(table)
        dtype = torch.float32 if how == 8 else torch.complex64
        return torch.randn(len(table), 8, 8, dtype=dtype)

    monkeypatch.setattr(contrast, "_restored", noted)
    contrast.measure_contrast(series, 8)
    monkeypatch.setattr(prepare, "half_planes", noted)
    prepare._scale(series, prepare.Job(8, True, 0.8, 1.0))
    assert [len(table) for table in seen] == [300, 2000]
    assert all(table["tilt"].nunique() == 41 for table in seen)
