"""Typed columns of a STAR block; a bad value is one sentence with file, block, column and row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """One block of a STAR file whose text is turned into numbers on demand."""

    path: Path
    block: str
    table: pd.DataFrame

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.table)

    def __contains__(self, name: str) -> bool:
        """Whether the column exists."""
        return name in self.table.columns

    def where(self, row: int | None = None, column: str | None = None) -> str:
        """`file block data_x column c row n`; `row` is 0-based, the text counts from 1."""
        text = f"{self.path} block data_{self.block}"
        if column is not None:
            text += f" column {column}"
        return text if row is None else f"{text} row {row + 1}"

    def first_of(self, *names: str) -> str | None:
        """Return the first of `names` that is a column, None if none is."""
        return next((name for name in names if name in self), None)

    def require(self, *names: str) -> None:
        """Raise an InputError unless all columns are there."""
        for name in names:
            if name not in self:
                raise InputError(
                    f"{self.where()} has no column {name}: export the STAR file with it"
                )

    def text(self, name: str, default: str | None = None) -> NDArray[np.object_]:
        """Column as text; `default` fills a missing column."""
        if name not in self and default is not None:
            return np.full(len(self), default, dtype=object)
        self.require(name)
        return self.table[name].to_numpy(dtype=object)

    def floats(self, name: str, default: float | None = None, *, nan: bool = False) -> Floats:
        """Column as float64; `nan` allows nan, anything else not a finite number is an error."""
        if name not in self and default is not None:
            return np.full(len(self), default)
        self.require(name)
        values: Floats = pd.to_numeric(self.table[name], errors="coerce").to_numpy(np.float64)
        words = self.table[name].str.lower().isin(["nan", "<na>"]) if nan else False
        self._check(name, np.isfinite(values) | words, "a finite number")
        return values

    def integers(self, name: str, default: int | None = None) -> NDArray[np.int64]:
        """Column as int64; `1.000` counts as 1."""
        values = self.floats(name, None if default is None else float(default))
        self._check(name, values == np.round(values), "a whole number")
        return values.astype(np.int64)

    def positive(self, name: str) -> Floats:
        """Column as float64, all above 0."""
        values = self.floats(name)
        self._check(name, values > 0, "above 0")
        return values

    def vectors(self, name: str, dtype: type[Any] = float) -> list[NDArray[Any]]:
        """Column of lists such as `[0,1,1]`, one array per row; equal texts are parsed once."""
        texts = self.text(name)
        parsed: dict[str, NDArray[Any]] = {}
        for row, text in enumerate(texts):
            if text not in parsed:
                parsed[text] = self._vector(name, row, text, dtype)
        return [parsed[text] for text in texts]

    def _vector(self, name: str, row: int, text: str, dtype: type[Any]) -> NDArray[Any]:
        words = text.strip("[]() ").split(",")
        try:
            values = np.array([float(word) for word in words])
        except ValueError:
            values = np.array([np.nan])
        if not np.isfinite(values).all():
            self.fail(row, name, f"is {text!r}, not a list of numbers like [1,0,1]")
        return values.astype(dtype)

    def fail(self, row: int, column: str, problem: str, fix: str = "correct it") -> None:
        """Raise the InputError of one value."""
        raise InputError(f"{self.where(row, column)} {problem}: {fix}")

    def _check(self, name: str, good: NDArray[np.bool_] | pd.Series, needed: str) -> None:
        bad = np.flatnonzero(~np.asarray(good, dtype=bool))
        if bad.size:
            row = int(bad[0])
            value = self.table[name].iloc[row]
            self.fail(row, name, f"is {value!r}, which is not {needed}")

    def check(self, name: str, good: NDArray[np.bool_], needed: str) -> None:
        """Raise an InputError at the first row of column `name` where `good` is False."""
        self._check(name, good, needed)
