"""Progress of long work on stderr: a live line for people, a line now and then in logs."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TextIO


class Progress:
    """Counts up to `total` and says how much time is left.

    On a terminal one line is rewritten; elsewhere (log files, SLURM) a new line appears every
    `interval_seconds`, so that logs stay short.
    """

    def __init__(
        self,
        total: int,
        label: str,
        *,
        interval_seconds: float = 10.0,
        stream: TextIO | None = None,
    ) -> None:
        self.total = max(total, 1)
        self.label = label
        self.done = 0
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty()
        self._interval = 0.2 if self._live else interval_seconds
        self._start = self._last = time.monotonic()
        self._first = 0

    def start_at(self, done: int) -> None:
        """Begin at `done` (resumed work), which does not count towards the speed."""
        self.done = self._first = done

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more and show `note` behind the figures."""
        self.done += steps
        now = time.monotonic()
        if now - self._last >= self._interval or self.done >= self.total:
            self._last = now
            self._write(note)

    @property
    def seconds_left(self) -> float:
        """Time left at the mean speed so far; infinite before the first step."""
        steps = self.done - self._first
        if steps <= 0:
            return float("inf")
        return (time.monotonic() - self._start) * (self.total - self.done) / steps

    def _write(self, note: str) -> None:
        if int(os.environ.get("RANK", "0")):  # of many processes the first one speaks
            return
        elapsed = time.monotonic() - self._start
        text = (
            f"{self.label}: {self.done}/{self.total} ({100 * self.done // self.total} %), "
            f"{duration(elapsed)}, {duration(self.seconds_left)} left"
        )
        text = f"{text}  {note}" if note else text
        self._stream.write(f"\r\033[K{text}" if self._live else f"{text}\n")
        self._stream.flush()

    def __enter__(self) -> Progress:
        """Use as a context manager."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the live line."""
        if self._live:
            self._stream.write("\n")


def duration(seconds: float) -> str:
    """`seconds` as people say it: 42 s, 3 min 05 s, 2 h 10 min."""
    if seconds == float("inf"):
        return "unknown time"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
