"""Which branches and data sets are worked on right now, from processes that are alive."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LOCKED = re.compile(r"process (\d+) on (\S+)")
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
    for lock in root.glob("branches/*/*.state/lock"):
        worker = _elsewhere(lock, root)
        if worker is not None:
            found.setdefault(lock.parent, worker)
    return found


def _processes() -> Iterator[tuple[Path, Worker]]:
    """Results that processes of this machine write; none where there is no /proc."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            flag = next((flag for flag in ("--out", "--record") if flag in words[:-1]), None)
            if "tomopipe" not in words or flag is None:
                continue
            out = (folder / "cwd").readlink() / words[words.index(flag) + 1]
        except OSError:  # it has ended, or is another user's
            continue
        verb = words[words.index("tomopipe") + 1]
        yield out.resolve(), Worker(verb, int(folder.name), socket.gethostname())


def _elsewhere(lock: Path, root: Path) -> Worker | None:
    """The training on another machine that holds a lock, if it has been heard of lately."""
    held = _LOCKED.match(lock.read_text("utf-8", "replace"))
    if held is None or held[2] == socket.gethostname():
        return None
    stage = lock.parent.name.removesuffix(".state")
    log = root / "logs" / "branches" / lock.parent.parent.name / f"{stage}.log"
    times = [path.stat().st_mtime for path in (*lock.parent.iterdir(), log) if path.exists()]
    if time.time() - max(times) > _FRESH:
        return None
    return Worker("train", int(held[1]), held[2])
