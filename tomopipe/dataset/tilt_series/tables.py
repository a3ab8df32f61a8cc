"""Text files of numbers in columns: .tlt, .xf, order lists, output of ctffind4."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tomopipe.dataset.tilt_series.geometry import Floats
from tomopipe.errors import InputError


def number_rows(path: Path, *, least: int, columns: int | None = None) -> Floats:
    """Rows of numbers `(n, columns)`, split at white space and commas; `#` begins a comment.

    A first line of words is a heading. `columns` defaults to the number that all rows have.

    Raises
    ------
    InputError
        If the file is missing or empty, or a row has words or fewer than `least` numbers.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: check the path")
    rows: list[list[float]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].replace(",", " ").split()
        if not words:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            if not rows and number == 1:
                continue
            raise InputError(
                f"{path} line {number} is {line.strip()!r}, where numbers are needed: correct it"
            ) from None
        if len(row) < least or not np.isfinite(row).all():
            raise InputError(
                f"{path} line {number} is {line.strip()!r}, where {least} finite numbers are "
                "needed: correct it"
            )
        rows.append(row)
    if not rows:
        raise InputError(f"{path} holds no numbers: write it again")
    width = columns or min(len(row) for row in rows)
    return np.array([row[:width] for row in rows], dtype=np.float64)
