import numpy as np
import pytest

from tomopipe.dataset.pages import Pages, runs


def test_neighbours_are_read_together_and_strangers_apart():
    starts = np.array([0, 100, 1_000_000, 1_000_400, 50])
    first, last = runs(starts, starts + 100)
    assert first.tolist() == [0, 2, 4]
    assert last.tolist() == [1, 3, 4]


def test_ranges_in_any_order_come_back_whole(tmp_path):
    data = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8)
    (tmp_path / "data").write_bytes(data.tobytes())
    starts = np.array([500_000, 500_300, 10, 12, 999_000, 0])
    stops = starts + np.array([300, 77, 1, 5000, 1000, 3])
    buffer, places = Pages(tmp_path / "data").read(starts, stops)
    for start, stop, place in zip(starts, stops, places, strict=True):
        assert np.array_equal(buffer[place : place + stop - start], data[start:stop])
    nothing, places = Pages(tmp_path / "data").read(starts[:0], stops[:0])
    assert len(nothing) == len(places) == 0
    with pytest.raises(OSError, match="ends at byte 1000000"):
        Pages(tmp_path / "data").read(starts[:1], np.array([1_000_001]))
