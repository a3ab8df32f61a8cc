"""A file on its way: `NAME.part` with its bytes, and a record of which of them are there."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from tomopipe.errors import DownloadError, StateError
from tomopipe.fetch.checks import check_size, facts, wrong_checksum
from tomopipe.fetch.listing import RemoteFile
from tomopipe.fetch.ranges import Interval, joined
from tomopipe.io.atomic import read_json, write_json

_SAVE_SECONDS = 1.0


class Part:
    """One file of a download: what the server says of it, which bytes are there, what became of it.

    The record lies in `.fetch/` of the download's folder. It is written after the bytes that it
    speaks of, so that it never promises more than is there, whenever the process ends.

    Parameters
    ----------
    remote
        The file on the server.
    folder
        Folder of the download.
    source
        Name of the archive entry or web server, which stays the same with another mirror.
    """

    def __init__(self, remote: RemoteFile, folder: Path, source: str) -> None:
        self.remote = remote
        self.source = source
        self.target = folder / remote.path
        self.part = self.target.with_name(f"{self.target.name}.part")
        self.record = folder / ".fetch" / f"{remote.path}.json"
        self.lock = threading.RLock()
        self.generation = 0
        self.size: int | None = None
        self.etag: str | None = None
        self.modified: str | None = None
        self.done: list[Interval] = []
        self._handle = -1
        self._saved = 0.0
        self._known = False
        self.finished: dict[str, Any] | None = None
        self._other_source: str | None = None  # that the finished file is known to come from
        self._go_on()

    @property
    def bytes_done(self) -> int:
        """Bytes that are there."""
        with self.lock:
            return sum(end - start for start, end in self.done)

    @property
    def is_there(self) -> bool:
        """Whether the finished file is still as it was left."""
        if self.finished is None or not self.target.is_file():
            return False
        stat = self.target.stat()
        expected = self.remote.size if self.remote.exact else self.finished["size"]
        return (
            not wrong_checksum(self.remote, self.finished)
            and expected == stat.st_size == self.finished["size"]
            and stat.st_mtime_ns == self.finished["mtime_ns"]
        )

    @property
    def condition(self) -> dict[str, str]:
        """Header that asks for a range only of the version that is here already (RFC 9110, 13.1.5).

        A weak tag may not stand there.
        """
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        version = strong or self.modified
        return {"If-Range": version} if version and self.done else {}

    def begin(
        self, generation: int, size: int | None, etag: str | None, modified: str | None
    ) -> bool:
        """Take over what a first answer says; False when a later one speaks of another version.

        Raises
        ------
        DownloadError
            If the size is known to be another.
        """
        with self.lock:
            check_size(self.remote, size)
            if generation == self.generation and not self._known:
                self.size, self.etag, self.modified = size, etag, modified
                self._known = True
            return (self.size, self.etag, self.modified) == (size, etag, modified)

    def end_at(self, generation: int, size: int) -> None:
        """Set the size of a file whose end only showed when it came."""
        with self.lock:
            if generation == self.generation:
                check_size(self.remote, size)
                self.size = size

    def write(self, generation: int, position: int, data: bytes) -> int | None:
        """Put bytes in their place; gives how many are new, None if their version was given up."""
        with self.lock:
            if generation != self.generation:
                return None
            before, written = self.bytes_done, 0
            while written < len(data):
                written += os.pwrite(self._open(), data[written:], position + written)
            self.done = joined([*self.done, (position, position + written)])
            if time.monotonic() - self._saved > _SAVE_SECONDS:
                self.save()
            return self.bytes_done - before

    def start_over(self, generation: int) -> bool:
        """Forget all bytes; False when another thread did so already."""
        with self.lock:
            if generation != self.generation:
                return False
            self.generation += 1
            self.discard()
            return True

    def save(self) -> None:
        """Write the record of what is there, behind the bytes themselves."""
        with self.lock:
            if self._handle >= 0:
                os.fdatasync(self._handle)
            self._saved = time.monotonic()
            self._write(self.done, None)

    def discard(self) -> None:
        """Remove the bytes and their record."""
        with self.lock:
            self._close()
            self.size = self.etag = self.modified = None
            self.done, self._known = [], False
            self.part.unlink(missing_ok=True)
            self.record.unlink(missing_ok=True)

    def close(self) -> None:
        """Keep what is there for another time."""
        with self.lock:
            if self._handle >= 0:
                self.save()
                self._close()

    def finish(self) -> None:
        """Check size and checksums, and give the file its name.

        Raises
        ------
        DownloadError
            If they differ; the bytes are removed then.
        """
        with self.lock:
            handle = self._open()
            os.ftruncate(handle, self.size or 0)
            self.save()
            self._close()
            found = facts(self.part, self.remote)
            wrong = wrong_checksum(self.remote, found)
            if wrong:
                self.discard()
                raise DownloadError(
                    f"{self.remote.url}: {wrong}: what was loaded is removed; run the same "
                    "command again, and if it comes out the same, tell the archive"
                )
            self.part.replace(self.target)
            handle = os.open(self.target.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            self._keep(found)

    def adopt(self, size: int | None) -> None:
        """Take a file that lies there already, if it is the one of the server.

        Raises
        ------
        StateError
            If it is another one, or was loaded from another source and no checksum says that it
            is the same there: what a user has is never replaced.
        """
        if self._other_source is not None and not (self.remote.md5 or self.remote.sha256):
            raise StateError(
                f"{self.target} was loaded from {self._other_source}, and no checksum says whether "
                f"{self.source} has the same: choose another folder with `to`, move the file away, "
                f"or, if you know that it is the same, remove {self.record}"
            )
        expected = self.remote.size if self.remote.exact else size
        found = facts(self.target, self.remote)
        wrong = wrong_checksum(self.remote, found)
        if self.finished is not None and found["sha256"] != self.finished["sha256"]:
            wrong = "changed since it was loaded"
        if expected is not None and found["size"] != expected:
            wrong = f"{found['size']} bytes instead of {expected}"
        if wrong or expected is None:
            raise StateError(
                f"{self.target} is there, but not as on the server ({wrong or 'size unknown'}): "
                "move it away, or choose another folder with `to`"
            )
        self.size = expected
        self._keep(found)

    def _open(self) -> int:
        if self._handle < 0:
            self.part.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.part, os.O_RDWR | os.O_CREAT, 0o666)
        return self._handle

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _keep(self, found: dict[str, Any]) -> None:
        self.finished = found
        self._write([], found)

    def _go_on(self) -> None:
        """Take up what an earlier process left, if its record and the bytes agree."""
        try:
            known = read_json(self.record)
            done = [(int(start), int(end)) for start, end in known["done"]]
            version = known["size"], known["etag"], known["last_modified"]
            same = known["url"] == self.remote.url
            source, finished = known.get("source"), known["finished"]
        except (StateError, KeyError, TypeError, ValueError):  # none, or damaged: begin anew
            return
        if same or source == self.source:
            self.finished = finished
        elif finished is not None:
            self._other_source = source
        if done and same and self.part.is_file() and done[-1][1] <= self.part.stat().st_size:
            self.size, self.etag, self.modified = version
            self.done, self._known = done, True

    def _write(self, done: list[Interval], finished: dict[str, Any] | None) -> None:
        write_json(
            self.record,
            {
                "source": self.source,
                "url": self.remote.url,
                "size": self.size,
                "etag": self.etag,
                "last_modified": self.modified,
                "done": done,
                "finished": finished,
            },
        )
