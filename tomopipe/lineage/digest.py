"""Fingerprints of files and folders, cheap whatever their size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

LARGE_BYTES = 256 << 20
"""Files above this size are sampled: their size and 16 blocks of 1 MiB at even distances."""
_BLOCK, _BLOCKS = 1 << 20, 16
# what tells of time, not of the result, in the rows of metrics.jsonl
_TIMES = ("seconds", "seconds_left")


def file_digest(path: Path, *, whole: bool = False) -> str:
    """sha256 of a file's content, as hexadecimal digits; of large files a sample, unless `whole`.

    The times in `.jsonl` files are left out: two runs with the same results have the same digests.
    """
    if path.suffix == ".jsonl":
        return hashlib.sha256(_without_times(path.read_bytes())).hexdigest()
    with path.open("rb") as stream:
        size = path.stat().st_size
        if whole or size <= LARGE_BYTES:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        for number in range(_BLOCKS):
            stream.seek(number * (size - _BLOCK) // (_BLOCKS - 1))
            digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def _without_times(content: bytes) -> bytes:
    """Rows of JSON lines without their times; anything else as it is."""
    try:
        rows = [json.loads(line) for line in content.splitlines()]
        kept = [{key: row[key] for key in row if key not in _TIMES} for row in rows]
    except (ValueError, TypeError):
        return content
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in kept).encode()


def joined_digest(digests: Mapping[str, str]) -> str:
    """One sha256 over the digests of several files, by name."""
    lines = "".join(f"{name}\0{digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def folder_digest(folder: Path, files: Iterable[Path]) -> str:
    """One sha256 over the contents of files in a folder, by their paths in it."""
    return joined_digest({str(f.relative_to(folder)): file_digest(f) for f in files if f.is_file()})


def files_below(folder: Path) -> Iterator[Path]:
    """Files in a folder at any depth, in order, without hidden ones and lineage files."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and not path.name.endswith("lineage.json") and path.is_file():
            yield path
