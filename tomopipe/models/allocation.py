"""Memory that was freed stays ours."""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST = 32 << 20  # the most that glibc takes for a threshold of mmap


@cache
def keep_freed_memory() -> None:
    """Let the C library keep what tensors free, for the next step's tensors of the same sizes.

    glibc gives blocks of some MB back to the system and has every page cleared again on the next
    step, which took a fifth of a step. Other C libraries do not know the call: nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST)
    mallopt(_TRIM_THRESHOLD, 1 << 30)
