"""Room on disks: sizes as people say them, and a refusal where what is to come does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

from tomopipe.errors import StateError

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def size_words(size: float) -> str:
    """Bytes as people say them: 12 bytes, 3.4 MB, 31 GB."""
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in _UNITS:
        size /= 1000
        if size < 999.5 or unit == _UNITS[-1]:
            break
    return f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"


def check_space(folder: Path, needed: float, what: str, remedy: str) -> None:
    """Refuse at once what would fail hours later.

    Parameters
    ----------
    folder, needed
        Where to, and how many bytes.
    what, remedy
        `the store needs`, and what to do, for the message.

    Raises
    ------
    StateError
        If so much is not free there.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StateError(
            f"{folder} has {size_words(free)} free, but {what} {size_words(needed)} more there: "
            f"{remedy}"
        )
