"""Run one step in a process of its own, and say what it took; under a limit if asked."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_EVERY = 0.05  # seconds between looks at the memory, at least


@dataclass(frozen=True)
class Cost:
    """Wall seconds, and peaks of memory in GB.

    `own_gb` is memory that the system cannot take back (anonymous pages of the process and its
    children, sampled); files that are memory-mapped or read do not count, their pages are only
    borrowed. `resident_gb` counts mapped files too.
    """

    seconds: float
    own_gb: float
    resident_gb: float


def run(arguments: Sequence[str], *, limit_gb: float | None = None, threads: int = 1) -> Cost:
    """Cost of `python ARGUMENTS`; each process may take `limit_gb` of data at most (RLIMIT_DATA).

    The kernel counts heap, private writable maps and thread stacks against that limit, used or not,
    and refuses more: a step that ends well under it stays below it on any machine.

    Raises
    ------
    RuntimeError
        If the step fails.
    """
    environment = os.environ | {
        "PYTHONPATH": str(_ROOT),
        "OMP_NUM_THREADS": str(threads),
    }

    def limited() -> None:
        if limit_gb is not None:
            size = int(limit_gb * 1e9)
            resource.setrlimit(resource.RLIMIT_DATA, (size, size))

    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        preexec_fn=limited,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    own = resident = 0.0
    while process.poll() is None:
        before = time.monotonic()
        now = memory(process.pid)
        own, resident = max(own, now[0]), max(resident, now[1])
        # a look at large maps takes its time, which must not slow the step down
        time.sleep(max(_EVERY, 30 * (time.monotonic() - before)))
    seconds = time.monotonic() - start
    _, message = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:200]} failed:\n{message[-2000:]}")
    return Cost(seconds, own, resident)


def memory(pid: int) -> tuple[float, float]:
    """Anonymous and resident GB of a process and its children, now."""
    own = resident = 0
    for number in [pid, *_children(pid)]:
        try:
            text = Path(f"/proc/{number}/smaps_rollup").read_text()
        except OSError:
            continue  # it has just ended
        found = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
        own += int(found.get("Anonymous", 0))
        resident += int(found.get("Rss", 0))
    return own * 1024 / 1e9, resident * 1024 / 1e9


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    own = [int(word) for word in text.split()]
    return own + [grandchild for child in own for grandchild in _children(child)]


def verb(name: str, *arguments: object, **settings: object) -> list[str]:
    """Arguments of `python` that run a verb of tomopipe with these settings."""
    return [
        *("-m", "tomopipe", name, *(str(a) for a in arguments)),
        *(("--settings", json.dumps(settings)) if settings else ()),
    ]
