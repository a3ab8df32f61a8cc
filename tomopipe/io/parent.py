"""Processes that end when the one that they work for has ended, killed or not.

A job whose workflow was killed would go on alone and be in the way of the next run's.
"""

from __future__ import annotations

import _thread
import os
import select
import signal
import time
from threading import Thread

VARIABLE = "TOMOPIPE_PARENT"
_GRACE_SECONDS = 3.0
_POLL_SECONDS = 1.0


def end_with_parent() -> None:
    """End this process when the process ends whose number `TOMOPIPE_PARENT` holds, if it is set.

    As from the keyboard first, so that temporary files are removed; then by force. SIGTERM has the
    same effect from then on.
    """
    number = os.environ.get(VARIABLE, "")
    if number.isdigit() and int(number) > 1:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGINT may be ignored
        Thread(target=_follow, args=(int(number), _GRACE_SECONDS), daemon=True).start()


def end_with(number: int) -> None:
    """End this process at once when process `number` has ended."""
    Thread(target=_follow, args=(number, 0.0), daemon=True).start()


def _follow(number: int, grace: float) -> None:
    _wait(number)
    if grace:
        _thread.interrupt_main(signal.SIGTERM)
        time.sleep(grace)
    os.kill(os.getpid(), signal.SIGKILL)


def _wait(number: int) -> None:
    try:
        handle = os.pidfd_open(number)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # no Linux, or an old one
        while _runs(number):
            time.sleep(_POLL_SECONDS)
        return
    select.select([handle], [], [])
    os.close(handle)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user's
        return True
    return True
