"""Folders of unfinished work: where they lie, and whose they are.

They are removed when all is written, so that nothing else may lie in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tomopipe.errors import StateError
from tomopipe.io.atomic import check_folder


def state_folder(out: Path, state: Path | None = None) -> Path:
    """Where work on the results in `out` is kept: `state`, or `out` with `.state` behind its name.

    Raises
    ------
    StateError
        If `out` or the state is a file, or one of them lies in the other.
    """
    results = out.resolve()
    # `.` and `..` have no name to put anything behind
    named = results if out.name in ("", "..") else out
    work = (state or named.parent / f"{named.name}.state").resolve()
    check_folder(out)
    check_folder(work)
    if work.is_relative_to(results) or results.is_relative_to(work):
        raise StateError(
            f"the state {work} and the results in {out} must not lie one in the other, because the "
            "state is removed when all is written: give another folder for the state"
        )
    return work


def check_own(folder: Path, marks: Iterable[str], kind: str) -> None:
    """Raise `StateError` if a folder holds something, and none of the files that mark it as ours.

    `kind` says in the message what it should have been.
    """
    own = any((folder / mark).exists() for mark in marks)
    if folder.is_dir() and any(folder.iterdir()) and not own:
        raise StateError(f"{folder} is not empty and no {kind}: give a new folder")
