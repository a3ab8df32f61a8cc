"""Ranges that are there and ranges that are missing make up the file, each byte once."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tomopipe.fetch.ranges import gaps, joined

SIZE = 60
INTERVALS = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted).map(tuple))


@given(INTERVALS, st.integers(1, SIZE + 1))
def test_every_byte_is_there_or_missing(found: list[tuple[int, int]], piece: int) -> None:
    done = joined(found)
    there = [byte for start, end in done for byte in range(start, end)]
    assert sorted({byte for start, end in found for byte in range(start, end)}) == there
    assert all(before[1] < after[0] for before, after in pairwise(done))
    missing = gaps(done, SIZE, piece)
    assert all(0 < end - start <= piece for start, end in missing)
    assert sorted(there + [byte for s, e in missing for byte in range(s, e)]) == list(range(SIZE))
