"""Have image stacks changed since the import? By their sizes and a sample of their bytes."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.errors import InputError
from tomopipe.io.atomic import fingerprint, read_parquet, write_parquet

_TABLE = Path("source") / "stacks.parquet"
_HEADER = 1024  # bytes of an MRC header: it holds dates
_BLOCKS, _BLOCK = 4, 4096


def stack_stamps(stacks: Iterable[str]) -> pd.DataFrame:
    """Size and checksum of some blocks of each stack, which no date enters."""
    names = sorted(set(stacks))
    stamps = [_stamp(Path(name)) for name in names]
    sizes, sums = zip(*stamps, strict=True) if stamps else ((), ())
    return pd.DataFrame(
        {"stack": names, "bytes": np.array(sizes, np.int64), "crc32": np.array(sums, np.uint32)}
    )


def stamps_fingerprint(stamps: pd.DataFrame) -> str:
    """Fingerprint of the stacks' contents, wherever they lie."""
    return fingerprint(*(stamps[name].to_numpy() for name in ("bytes", "crc32")))


def save_stamps(dataset_dir: Path, stamps: pd.DataFrame) -> None:
    """Keep them beside the STAR files of the source."""
    write_parquet(dataset_dir / _TABLE, stamps)


def changed_stacks(dataset_dir: Path, *, recent: bool = False) -> list[str]:
    """Stacks of an imported data set that are not what was imported, or not there.

    Parameters
    ----------
    recent
        Look only at those that are missing or were written after the import: one question to the
        file system for each stack.
    """
    table = dataset_dir / _TABLE
    if not table.is_file():
        return []  # imported by an early version
    since = table.stat().st_mtime_ns if recent else 0
    return [
        stack
        for stack, size, crc in read_parquet(table).itertuples(index=False, name=None)
        if _differs(Path(stack), (size, crc), since)
    ]


def check_unchanged(dataset_dir: Path) -> None:
    """Refuse to go on with stacks that were changed after the import.

    Raises
    ------
    InputError
        One sentence with the first of them.
    """
    changed = changed_stacks(dataset_dir)
    if changed:
        raise InputError(changed_words(changed))


def changed_words(changed: list[str]) -> str:
    """What is wrong and what to do about it."""
    others = f" and {len(changed) - 1} more stacks are" if len(changed) > 1 else " is"
    return (
        f"{changed[0]}{others} not what was imported: put the images back, or import them again "
        "(`tomopipe import`, or the workflow with --forcerun import_particles)"
    )


def _differs(stack: Path, stamp: tuple[int, int], since: int) -> bool:
    try:
        return stack.stat().st_mtime_ns > since and _stamp(stack) != stamp
    except OSError:  # gone, or its disk is
        return True


def _stamp(stack: Path) -> tuple[int, int]:
    crc = 0
    with stack.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        for at in np.linspace(_HEADER, max(_HEADER, size - _BLOCK), _BLOCKS).astype(int):
            crc = zlib.crc32(os.pread(file.fileno(), _BLOCK, int(at)), crc)
    return size, crc
