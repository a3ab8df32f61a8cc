"""Threads that load ranges of many files, in the order of the files, until all are there."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from tomopipe.errors import DownloadError, StateError
from tomopipe.fetch.answer import Changed, answered
from tomopipe.fetch.part import Part
from tomopipe.fetch.ranges import Interval, gaps
from tomopipe.fetch.web import Again, Stopped, Unreachable, Web, blocks

_BLOCK = 1 << 16
_PROGRESS = 1 << 20  # bytes that count as progress when a connection ends early
_MOST_VERSIONS = 3


@dataclass
class _Job:
    """A file and how far it is: its first answer says how many pieces there are."""

    part: Part
    phase: Literal["new", "asked", "pieces", "over"] = "new"
    pieces: deque[Interval] = field(default_factory=deque)
    running: int = 0
    versions: int = 1
    refused: DownloadError | StateError | None = None


class Transfer:
    """Loads parts with as many connections as the settings say.

    A file whose server does not do ranges comes in one stream. A file that cannot be had does not
    keep others from coming.

    Parameters
    ----------
    parts
        Files that are not there yet.
    web
        Settings and sessions.
    counted
        Called with the number of new bytes, or minus those that were given up.
    """

    def __init__(self, parts: Sequence[Part], web: Web, counted: Callable[[int], None]) -> None:
        self._jobs = [_Job(part) for part in parts]
        self._first = 0  # all jobs before it are over
        self._web = web
        self._counted = counted
        self._piece = max(1, round(web.settings.piece_mb * 1e6))
        self._change = threading.Condition()
        self._fatal: BaseException | None = None

    def run(self) -> None:
        """Load everything.

        Raises
        ------
        DownloadError
            The first of the files that could not be had, after all others are there; or at once,
            when the server is gone.
        """
        threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(self._web.settings.connections)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:  # also when the user stops it: threads look at the sign between blocks
            self._web.stop.set()
            for job in self._jobs:
                job.part.close()
        if self._fatal is not None:
            raise self._fatal
        refused = [job.refused for job in self._jobs if job.refused is not None]
        if refused:
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise DownloadError(f"{refused[0]}{more}")

    def _work(self) -> None:
        while (task := self._next()) is not None:
            job, generation, piece = task
            try:
                self._load(job.part, generation, *piece)
                if self._was_last(job, generation):
                    job.part.finish()
            except Stopped:
                pass  # another connection has failed or the user stops: `run` raises why
            except Changed as error:
                self._restart(job, generation, str(error))
            except (DownloadError, StateError) as error:
                if isinstance(error, Unreachable):  # other files will fare no better
                    self._fail(error)
                else:
                    self._refuse(job, error)
            except BaseException as error:  # a full disk, or a bug: the main thread says so
                self._fail(error)

    def _next(self) -> tuple[_Job, int, Interval] | None:
        """The first piece that nobody loads yet; waits for answers that bring more."""
        with self._change:
            while not self._web.stop.is_set():
                while self._first < len(self._jobs) and self._jobs[self._first].phase == "over":
                    self._first += 1
                if self._first == len(self._jobs):
                    return None
                for job in islice(self._jobs, self._first, None):
                    piece = self._claim(job)
                    if piece is not None:
                        job.running += 1
                        return job, job.part.generation, piece
                self._change.wait()
        return None

    def _claim(self, job: _Job) -> Interval | None:
        part = job.part
        if job.phase == "new":
            job.phase = "asked"
            if part.size is None:
                return 0, self._piece
            return next(iter(gaps(part.done, part.size, self._piece)), (part.size, part.size))
        return job.pieces.popleft() if job.phase == "pieces" and job.pieces else None

    def _was_last(self, job: _Job, generation: int) -> bool:
        """Note that a piece came; True for the one after which nothing is missing."""
        with self._change:
            part = job.part
            if generation != part.generation or job.phase == "over":
                return False
            job.running -= 1
            if job.phase == "asked":
                assert part.size is not None
                job.phase = "pieces"
                job.pieces.extend(gaps(part.done, part.size, self._piece))
            last = not job.pieces and not job.running
            if last:
                job.phase = "over"
            self._change.notify_all()
            return last

    def _load(self, part: Part, generation: int, start: int, end: int) -> None:
        """Bytes `[start, end)`, or as far as the file goes, in as many attempts as it takes."""
        if part.size == start == end:
            return
        position, asked = start, end

        def once() -> None:
            nonlocal position, end
            if end < 0:  # a stream of unknown length broke off
                position, end = 0, asked
            began = position
            headers = {"Range": f"bytes={position}-{end - 1}"} | part.condition
            try:
                with self._web.open(part.remote.url, headers) as response:
                    position, end = answered(part, generation, response, position, end)
                    began = position
                    for block in blocks(response, _BLOCK):
                        if self._web.stop.is_set():
                            raise Stopped
                        block = block[: end - position] if end >= 0 else block
                        new = part.write(generation, position, block)
                        if new is None:
                            raise Stopped
                        position += len(block)
                        self._counted(new)
            except Again as error:
                error.progress = position - began >= _PROGRESS
                raise
            if end < 0:
                part.end_at(generation, position)
            elif position < end:
                raise Again(
                    f"the connection ends at byte {position}, before {end}",
                    progress=position - began >= _PROGRESS,
                )

        self._web.attempt(part.remote.url, once)

    def _restart(self, job: _Job, generation: int, why: str) -> None:
        with self._change:
            given_up = job.part.bytes_done
            if job.phase == "over" or not job.part.start_over(generation):
                return  # another thread saw it first
            job.pieces.clear()
            job.running = 0
            job.versions += 1
            job.phase = "new"
            if job.versions > _MOST_VERSIONS:
                job.phase = "over"
                job.refused = DownloadError(
                    f"{job.part.remote.url}: changes on the server while it is loaded: run the "
                    "same command again later"
                )
            self._change.notify_all()
        self._counted(-given_up)
        print(f"{job.part.remote.url}: {why} on the server; begun anew", file=sys.stderr)

    def _refuse(self, job: _Job, error: DownloadError | StateError) -> None:
        with self._change:
            job.phase = "over"
            job.pieces.clear()
            job.refused = error
            self._change.notify_all()
        job.part.close()

    def _fail(self, error: BaseException) -> None:
        with self._change:
            self._fatal = self._fatal or error
            self._web.stop.set()
            self._change.notify_all()
