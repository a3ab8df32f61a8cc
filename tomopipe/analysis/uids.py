"""Particle uids from files that people make: text, CSV, parquet and STAR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.errors import InputError
from tomopipe.io.atomic import read_json, read_parquet


def read_uids(path: Path, dataset: Path) -> list[str]:
    """Uids listed in a file: one a line (.txt), the column `uid` (.csv, .parquet), or a STAR file.

    A table with a column `kept` (true or false, 1 or 0) counts only where it is true. Lines that
    begin with # are comments.
    A STAR file is read as `dataset`, the folder of the imported data set, was: in any dialect.

    Raises
    ------
    InputError
        If the file is missing or unreadable, has no uids, or names one twice.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: correct select: file")
    suffix = path.suffix.lower()
    if suffix == ".star":
        uids = _read_star(path, dataset)
    elif suffix in {".parquet", ".csv"}:
        uids = _column(read_parquet(path) if suffix == ".parquet" else _read_csv(path), path)
    else:
        uids = _read_text(path)
    if not uids:
        raise InputError(f"{path} names no particle: list uids, one a line")
    twice = pd.Series(uids)
    if twice.duplicated().any():
        raise InputError(f"{path} names {twice[twice.duplicated()].iloc[0]!r} twice: remove one")
    return uids


def _read_text(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # of Windows with its mark
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file: list uids, one a line") from None
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={"uid": str, "kept": str}, encoding="utf-8-sig")
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path} is not a readable CSV file ({error}): correct it") from None


def _read_star(path: Path, dataset: Path) -> list[str]:
    """Uids of a particle STAR file, found as the importer finds them."""
    from tomopipe.config.importing import ImportSettings
    from tomopipe.dataset.importer import read_draft

    info = read_json(dataset / "import.json")
    settings = ImportSettings(**info["settings"])
    if settings.data_dir is None:
        settings = settings.model_copy(update={"data_dir": Path(info["star"]).parent})
    return read_draft(path, settings).particles["uid"].astype(str).tolist()


def _column(table: pd.DataFrame, path: Path) -> list[str]:
    if "uid" not in table:
        raise InputError(f"{path} has no column 'uid': add it")
    if "kept" in table:
        table = table[is_kept(table, path)]
    return table["uid"].astype(str).tolist()


def is_kept(table: pd.DataFrame, path: Path) -> NDArray[np.bool_]:
    """The column `kept` of a table of particles as booleans.

    Raises
    ------
    InputError
        If a value is neither true nor false: any text counts as true to Python.
    """
    words = table["kept"].astype(str).str.strip().str.lower()
    kept = words.isin(["true", "1", "1.0"]).to_numpy(bool)
    neither = ~kept & ~words.isin(["false", "0", "0.0"]).to_numpy(bool)
    if neither.any():
        row = int(np.flatnonzero(neither)[0])
        raise InputError(
            f"{path}: kept of {table['uid'].iloc[row]!r} is {table['kept'].iloc[row]!r}: "
            "write true or false"
        )
    return kept
