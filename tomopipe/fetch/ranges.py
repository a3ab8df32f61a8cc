"""Ranges of bytes `[start, end)`: which are there, which are missing."""

from __future__ import annotations

Interval = tuple[int, int]


def joined(intervals: list[Interval]) -> list[Interval]:
    """Sorted intervals `[start, end)`, those that touch made one."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif end > start:
            found.append((start, end))
    return found


def gaps(done: list[Interval], size: int, piece: int) -> list[Interval]:
    """What joined intervals leave of `[0, size)`, in pieces of at most `piece`."""
    edges = [0, *(edge for interval in done for edge in interval), size]
    return [
        (start, min(start + piece, last))
        for first, last in zip(edges[::2], edges[1::2], strict=True)
        for start in range(first, last, piece)
    ]
