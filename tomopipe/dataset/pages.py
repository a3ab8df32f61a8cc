"""Many ranges of a large file, in few long reads."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_GAP = 1 << 16  # bytes: a shorter gap is read, too


class Pages:
    """Reads ranges of a file as they lie there.

    Through a memory map, what is not in memory yet comes page by page, and each one is waited for;
    read like this it comes at the speed of the disk, and what the system still has in memory at
    the price of a copy.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)

    def read(
        self, starts: NDArray[np.integer], stops: NDArray[np.integer]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Bytes `starts[i]` to `stops[i]` of the file, for all i `(n,)`.

        Returns
        -------
        buffer
            What was read, ranges and short gaps between them.
        places
            `(n,)` where each range begins in it.
        """
        first, last = runs(starts, stops)
        length = stops[last] - starts[first]
        begin = np.cumsum(length) - length
        buffer = np.empty(int(length.sum()), dtype=np.uint8)
        for at, size, place in zip(starts[first], length, begin, strict=True):
            self._fill(buffer[place : place + size].data, int(at))
        run = np.repeat(np.arange(len(first)), last - first + 1)
        return buffer, begin[run] + starts - starts[first[run]]

    def _fill(self, rest: memoryview, at: int) -> None:
        while rest:  # one read gives at most 2 GB
            got = os.preadv(self._file.fileno(), [rest], at)
            if not got:
                raise OSError(f"{self._file.name} ends at byte {at}")
            rest, at = rest[got:], at + got


def runs(
    starts: NDArray[np.integer], stops: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last range of each run that is read together: ascending, with short gaps."""
    if not len(starts):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    gap = starts[1:] - stops[:-1]
    apart = np.flatnonzero((gap < 0) | (gap > _GAP))
    return np.concatenate([[0], apart + 1]), np.concatenate([apart, [len(starts) - 1]])
