"""Locks that keep two processes apart and that no kill leaves behind."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tomopipe.errors import StateError
from tomopipe.io.notice import notice

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
_WAIT_SECONDS = 5.0  # a process that was told to end may take as long


@contextmanager
def locked(path: Path, folder: Path, user: str) -> Iterator[None]:
    """Hold the file `path` against a second process; released by the system if we are killed.

    Parameters
    ----------
    path
        The lock, made with the folder that it lies in.
    folder, user
        What is held and by what, for messages.

    Raises
    ------
    StateError
        If another process holds it.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as lock:
            held = taken(lock)
            if held and _lies_at(lock, path):
                lock.truncate(0)
                lock.write(_who())
                lock.flush()
                yield
                return
            if not held and time.monotonic() > deadline:
                lock.seek(0)
                raise StateError(
                    f"{folder} is in use by another {user} ({lock.read().strip()}): "
                    "wait for it or stop it"
                )
        if not held:
            time.sleep(0.1)


def _who() -> str:
    """Who we are, for a process that finds the lock taken."""
    job = os.environ.get("SLURM_JOB_ID")
    of_job = f", SLURM job {job}" if job else ""
    return f"process {os.getpid()} on {socket.gethostname()}{of_job}"


def taken(lock: TextIO, *, wait: bool = False) -> bool:
    """Take a lock; says whether it is ours. Disks without locks (Lustre may have none) give it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        notice(f"{lock.name}: its disk has no locks, so start nothing twice at the same time")
    return True


def _lies_at(lock: TextIO, path: Path) -> bool:
    """False where who held the lock before has removed it: another one may be made there."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False
