"""What a user's files held when they were last looked at: steps are done again where it changes.

Plans are made often and of large files, so this remembers what it has read by size and time, and
imports nothing that is slow.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tomopipe.dataset.tilt_series.find import text_names
from tomopipe.errors import InputError
from tomopipe.lineage.digest import file_digest, joined_digest

# of alignments in a folder, whatever program wrote them
_TEXTS = {
    *(".star", ".tomostar", ".xml", ".xf", ".tlt", ".rawtlt", ".xtilt", ".com", ".aln", ".mdoc"),
    *(".defocus", ".txt", ".csv"),
}
_NAMED = re.compile(rb"[^\s'\"]+\.star\b")
_NAMING_BYTES = 16 << 20  # files that name others are small; particles may take gigabytes


@dataclass(frozen=True)
class _Seen:
    """A file or folder as it was: size and time (0 of a folder), digest, and what it names."""

    bytes: int
    modified_ns: int
    sha256: str
    names: tuple[str, ...]


class Watch:
    """Fingerprints of files, with those that a STAR file names and the text files of a folder.

    Of a folder of tilt series those count that their reader looks at.

    Parameters
    ----------
    memory
        JSON file for what was seen, kept where it can be written.
    say
        Is told in a sentence, once, of each file that is gone.
    """

    def __init__(self, memory: Path, say: Callable[[str], object]) -> None:
        self._memory, self._say = memory, say
        self._seen = _remembered(memory)
        self._now: dict[str, _Seen | None] = {}
        self._missed: set[str] = set()

    def stamp(self, paths: Iterable[Path | str], made: Path) -> str:
        """Fingerprint of the contents of files and folders.

        What is not there counts as it was last seen, once `made`, a result of it, is there.
        """
        known = dict(self._seen)
        found: dict[str, str] = {}
        waiting = [str(path) for path in paths]
        while waiting:
            path = waiting.pop()
            if path not in found:
                seen = self._look(path) or self._last(path, made)
                found[path] = seen.sha256 if seen else "absent"
                waiting += seen.names if seen else ()
        if self._seen != known:
            self._remember()
        return joined_digest(found) if found else ""

    def _look(self, path: str) -> _Seen | None:
        """A file or folder as it is; None if it is not there. Looked at once in a process."""
        if path not in self._now:
            self._now[path] = now = _as_it_is(Path(path), self._seen.get(path))
            if now is not None:
                self._seen[path] = now
        return self._now[path]

    def _last(self, path: str, made: Path) -> _Seen | None:
        seen = self._seen.get(path) if made.exists() else None
        if seen is not None and path not in self._missed:
            self._missed.add(path)
            self._say(f"{path} is not there: what was made of it stays, as long as it can.")
        return seen

    def _remember(self) -> None:
        """Several processes may do so at a time: one of them is read again."""
        rows = {path: asdict(seen) for path, seen in self._seen.items()}
        temporary = self._memory.with_name(f"{self._memory.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(rows), encoding="utf-8")
            temporary.replace(self._memory)


def _remembered(memory: Path) -> dict[str, _Seen]:
    try:
        rows = json.loads(memory.read_text(encoding="utf-8"))
        return {path: _Seen(**(row | {"names": tuple(row["names"])})) for path, row in rows.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # files are read again


def _as_it_is(path: Path, last: _Seen | None) -> _Seen | None:
    """What a file or folder holds now; None where it is not there, or closed to us."""
    try:
        return _looked_at(path, last)
    except OSError:
        return None  # the step that reads it says why


def _looked_at(path: Path, last: _Seen | None) -> _Seen | None:
    if path.is_dir():
        return _Seen(0, 0, "", tuple(map(str, _texts(path))))
    if not path.is_file():
        return None
    stat = path.stat()
    if last is not None and (last.bytes, last.modified_ns) == (stat.st_size, stat.st_mtime_ns):
        return last
    names = tuple(map(str, _behind(path))) if path.suffix == ".star" else ()
    return _Seen(stat.st_size, stat.st_mtime_ns, file_digest(path, whole=True), names)


def _texts(folder: Path) -> list[Path]:
    """Text files in a folder and in those one below, or those that belong to its tilt series."""
    inside = [*folder.glob("*"), *folder.glob("*/*")]
    texts = sorted(path for path in inside if path.suffix in _TEXTS)
    return [path for path in _of_series(folder, texts) if path.is_file()]


def _of_series(folder: Path, texts: list[Path]) -> list[Path]:
    """Those of `texts` that a reader of the tilt series in `folder` looks at; all without any."""
    try:
        names = text_names(folder)
    except InputError:
        return texts  # the step that reads them says why
    star = folder / "tomograms.star"
    named = {path.absolute() for path in (star, *_behind(star))} if star.is_file() else set()
    if not names and not named:
        return texts
    return [path for path in texts if path.name in names or path.absolute() in named]


def _is_file(path: Path) -> bool:
    """Whether there is a file that we may see: a STAR file may name closed folders of others."""
    try:
        return path.is_file()
    except OSError:
        return False


def _behind(star: Path) -> Iterator[Path]:
    """STAR files that one names, found from its folder and those above; tomograms beside it."""
    stem = star.stem.removesuffix("_particles")
    beside = (star.with_name(f"{stem}_tomograms.star"), star.with_name("tomograms.star"))
    yield from (path for path in beside if path != star and path.is_file())
    if star.stat().st_size > _NAMING_BYTES:
        return
    roots = [Path(), *star.absolute().parents]
    for word in sorted(set(_NAMED.findall(star.read_bytes()))):
        places = (root / os.fsdecode(word) for root in roots)
        found = next((place for place in places if _is_file(place)), None)
        if found is not None and found.absolute() != star.absolute():
            yield found
