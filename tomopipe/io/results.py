"""Can a workflow go on in its folder of results? Asked before anything is run there."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

from tomopipe.errors import StateError

STACKS = "stacks"
"""Folders of that name hold a folder for each tomogram, with a stack for each particle."""
_SKEW_SECONDS = 60.0  # clocks of machines that share a disk differ by less


def check_results(results: Path | str) -> None:
    """Refuse a folder that cannot be written to, or that holds files from the future.

    What was made while the clock was ahead is newer than all that follows from it: snakemake would
    do that again, find it too old, and remove it, also under --touch.

    Raises
    ------
    StateError
        One sentence with what to do.
    """
    results = Path(results)
    if not results.exists():
        return
    if not os.access(results, os.W_OK | os.X_OK):
        raise StateError(
            f"{results} cannot be written to: change its rights or how its disk is mounted, or set "
            "`results` to another folder"
        )
    late = _latest(results)
    if late is not None and late[1] > time.time() + _SKEW_SECONDS:
        date = datetime.fromtimestamp(late[1]).strftime("%Y-%m-%d %H:%M")
        raise StateError(
            f"{late[0]} is of {date}, which is in the future: set the clock of this machine, or if "
            f"it is right, run `find {results} -newermt now -exec touch {{}} +` and then the same "
            "snakemake command once with --touch, which keeps all results"
        )


def _latest(folder: Path) -> tuple[Path, float] | None:
    """The newest file or folder below `folder`, and when it was written.

    Folders of stacks are not entered: a file per particle is too much to ask for at every start.
    """
    found: tuple[Path, float] | None = None
    for parent, folders, files in os.walk(folder):
        names = folders + files
        folders[:] = [name for name in folders if name != STACKS]
        for name in names:
            path = Path(parent) / name
            try:
                written = path.lstat().st_mtime
            except FileNotFoundError:
                continue  # removed meanwhile
            if found is None or written > found[1]:
                found = path, written
    return found
