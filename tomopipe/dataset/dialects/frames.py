"""Visible frames: which tilts a particle has, and in which slot of its stack each one lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomopipe.dataset.dialects.columns import Columns
from tomopipe.dataset.stacks import StackHeader


def visible_frames(rows: Columns, counts: list[int]) -> list[NDArray[np.bool_]]:
    """Which of its tomogram's `counts` tilts each particle has; without the column all of them.

    Raises
    ------
    InputError
        If the list is not as long as the tilt series, or nothing is visible.
    """
    if "rlnTomoVisibleFrames" not in rows:
        return [np.ones(count, dtype=bool) for count in counts]
    visible = rows.vectors("rlnTomoVisibleFrames", int)
    for row, (vector, count) in enumerate(zip(visible, counts, strict=True)):
        if len(vector) != count or not vector.any():
            problem = f"lists {len(vector)} frames of which {int((vector != 0).sum())} are visible"
            rows.fail(row, "rlnTomoVisibleFrames", f"{problem}, but its tomogram has {count} tilts")
    return [vector != 0 for vector in visible]


def stack_slots(
    rows: Columns,
    headers: list[StackHeader],
    visible: list[NDArray[np.bool_]],
    members: NDArray[np.intp],
) -> NDArray[np.int64]:
    """Slot in the stack of each (particle, frame) of one tomogram, -1 for frames left out.

    WarpTools keeps the slots of excluded tilts, RELION-5 stacks hold visible frames only; the
    number of sections in the stack tells which.

    Raises
    ------
    InputError
        If a stack has neither as many images as there are tilts nor as there are visible ones.
    """
    seen = np.stack([visible[row] for row in members])
    sections = np.array([headers[row].sections for row in members])
    whole = sections == seen.shape[1]
    bad = np.flatnonzero(~whole & (sections != seen.sum(axis=1)))
    if bad.size:
        row = int(members[bad[0]])
        rows.fail(
            row,
            "rlnImageName",
            f"names {headers[row].path} with {headers[row].sections} images, but its tomogram has "
            f"{seen.shape[1]} tilts of which {int(visible[row].sum())} are visible",
            "give the STAR file that was written with these stacks",
        )
    ranks = np.cumsum(seen, axis=1) - 1
    slots: NDArray[np.int64] = np.where(whole[:, None], np.arange(seen.shape[1]), ranks)
    return np.where(seen, slots, -1)
