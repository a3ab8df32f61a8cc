"""What a source holds, in a table to read and to take patterns from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from tomopipe.fetch.listing import RemoteFile
from tomopipe.io.space import size_words

_MANY = 10


def listing_words(files: Sequence[RemoteFile]) -> str:
    """One line per file; more than ten of a kind in a folder are one line, with their pattern."""
    kinds: defaultdict[tuple[str, str], list[RemoteFile]] = defaultdict(list)
    for file in files:
        path = PurePosixPath(file.path)
        kinds[str(path.parent), path.suffix].append(file)
    lines = []
    for (folder, suffix), group in kinds.items():
        if len(group) > _MANY:
            pattern = f"*{suffix}" if folder == "." else f"{folder}/*{suffix}"
            lines.append((pattern, f"{len(group)} files", _size(group)))
        else:
            lines += [(file.path, "", _size([file])) for file in group]
    wide, wider = (max((len(line[i]) for line in lines), default=0) for i in (1, 2))
    text = [f"{size:>{wider}}  {number:>{wide}}  {path}" for path, number, size in lines]
    return "\n".join([*text, f"{_size(files)} in {len(files)} files"])


def _size(files: Sequence[RemoteFile]) -> str:
    known = [file.size for file in files if file.size is not None]
    if not known:
        return "?"
    least = "at least " if len(known) < len(files) else ""
    return f"{least}{size_words(sum(known))}"
