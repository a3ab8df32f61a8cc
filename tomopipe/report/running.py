"""Which branches and data sets are worked on right now, from processes that are alive."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_LOCKED = re.compile(r"process (\d+) on (\S+)")
_LOCKS = {"lock": "train", "fit.lock": "fit"}  # of states, and who holds them
_FRESH = 900.0  # seconds within which a training elsewhere has written to its log or its state


@dataclass(frozen=True)
class Worker:
    """A process that writes a step's result: the verb, its number and the machine."""

    verb: str
    process: int
    host: str

    @property
    def words(self) -> str:
        """`train, process 12 on node3`."""
        return f"{self.verb}, process {self.process} on {self.host}"


def workers(root: Path) -> dict[Path, Worker]:
    """What is being written below a results folder, by the path that is written.

    On this machine these are the processes of `tomopipe` that have such a path as `--out`, or as
    `--record` of a download: a run that was killed has none. Of trainings elsewhere it is the lock
    that they hold, if their state or log was written in the last quarter of an hour. Other steps
    elsewhere are not seen.
    """
    root = root.resolve()
    found = {path: worker for path, worker in _processes() if path.is_relative_to(root)}
    for name, verb in _LOCKS.items():
        for lock in root.glob(f"branches/*/*.state/{name}"):
            worker = _elsewhere(lock, verb, root)
            if worker is not None:
                found.setdefault(lock.parent, worker)
    return found


def _processes() -> Iterator[tuple[Path, Worker]]:
    """Results that processes of this machine write; none where there is no /proc."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if (writes := _writes(words)) is None:
                continue
            verb, result = writes
            out = (folder / "cwd").readlink() / result
        except OSError:  # it has ended, or is another user's
            continue
        yield out.resolve(), Worker(verb, int(folder.name), socket.gethostname())


def _writes(words: list[str]) -> tuple[str, str] | None:
    """Verb and result of a command line of `tomopipe`; None of any other, or without a result."""
    names = [Path(word).name for word in words]  # the console script stands there with its path
    if "tomopipe" not in names:
        return None
    given = words[names.index("tomopipe") + 1 :]
    for word, following in pairwise(given):
        flag, joined, value = word.partition("=")
        if flag in ("--out", "--record"):
            return given[0], value if joined else following
    return None


def _elsewhere(lock: Path, verb: str, root: Path) -> Worker | None:
    """The training on another machine that holds a lock, if it has been heard of lately."""
    try:
        held = _LOCKED.match(lock.read_text("utf-8", "replace"))
        state = list(lock.parent.iterdir())
    except FileNotFoundError:  # it has ended meanwhile
        return None
    if held is None or held[2] == socket.gethostname():
        return None
    stage = lock.parent.name.removesuffix(".state")
    log = root / "logs" / "branches" / lock.parent.parent.name / f"{stage}.log"
    if time.time() - max(_written(path) for path in (*state, log)) > _FRESH:
        return None
    return Worker(verb, int(held[1]), held[2])


def _written(path: Path) -> float:
    """When a file was written last; 0 of one that is gone, as a checkpoint that was replaced."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
