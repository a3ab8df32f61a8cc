"""A whole download: what is chosen, what is there, whether it fits the disk, and its record."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tomopipe.config.fetch import Download
from tomopipe.errors import StateError
from tomopipe.fetch.listing import RemoteFile, chosen
from tomopipe.fetch.part import Part
from tomopipe.fetch.transfer import Transfer
from tomopipe.fetch.web import Web
from tomopipe.io.atomic import check_folder, fingerprint, read_json, write_json
from tomopipe.io.lock import taken
from tomopipe.io.progress import Progress
from tomopipe.io.space import check_space

_MB = 1_000_000


def fetch(download: Download, record: Path | None = None) -> list[Path]:
    """Load the files of a download that are not there yet, check them, and write a record.

    Files that an earlier call left as they are now are not asked for again, and the network is not
    needed when all of them are there.

    Parameters
    ----------
    download
        Which files, from where, to which folder.
    record
        JSON file to write: address, size and checksums of every file.

    Raises
    ------
    ConfigError, DownloadError, StateError
        One sentence, if files are not chosen, cannot be had, or would replace others.
    """
    web = Web(download)
    with _alone(download.folder):
        parts, listed = _parts(download, web)
        missing = [part for part in parts if not part.is_there]
        if missing:
            missing = _survey(missing, web)
            _check_space(missing, download.folder)
            meter = _Meter(download, missing)
            Transfer(missing, web, meter.count).run()
        if not listed:
            _remember(download, parts)
        if record is not None:
            write_json(record, _record(download, parts))
    return [part.target for part in parts]


def _parts(download: Download, web: Web) -> tuple[list[Part], bool]:
    """Files that are chosen, and whether an earlier call listed them and all are there."""
    try:
        known = [RemoteFile(**file) for file in read_json(_memory(download))]
    except (StateError, TypeError):
        known = []
    parts = [Part(file, download.folder, download.name) for file in known]
    if parts and all(part.is_there for part in parts):
        return parts, True
    files = chosen(download, web)
    return [Part(file, download.folder, download.name) for file in files], False


def _memory(download: Download) -> Path:
    """File that keeps what the choice of this download came to."""
    return download.folder / ".fetch" / f"chosen-{fingerprint(download.choice())[7:19]}.json"


def _remember(download: Download, parts: Sequence[Part]) -> None:
    write_json(_memory(download), [asdict(part.remote) for part in parts])


def _survey(parts: Sequence[Part], web: Web) -> list[Part]:
    """Parts with their sizes as far as the server says; those that lie there already are left out.

    Raises
    ------
    StateError
        If another file has the name of one of them.
    """

    def look(part: Part) -> Part | None:
        remote, there = part.remote, part.target.exists()
        size = remote.size
        if size is None or (there and not remote.exact):
            size = web.size(remote.url)  # listings round their sizes
            if size is not None and not remote.exact:
                part.remote = replace(remote, size=size)
        if there:
            part.adopt(size)
            return None
        return part

    with ThreadPoolExecutor(web.settings.connections) as pool:
        return [part for part in pool.map(look, parts) if part is not None]


def _check_space(parts: Sequence[Part], folder: Path) -> None:
    needed = sum(max((part.remote.size or 0) - part.bytes_done, 0) for part in parts)
    remedy = "choose another folder with `to`, or fewer files"
    check_space(folder, needed, "the files need", remedy)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process, however that ends."""
    check_folder(folder)
    (folder / ".fetch").mkdir(parents=True, exist_ok=True)
    with (folder / ".fetch" / "lock").open("w") as lock:
        if not taken(lock):
            print(f"{folder}: waits for another fetch into it", file=sys.stderr)
            taken(lock, wait=True)
        yield


def _record(download: Download, parts: Sequence[Part]) -> dict[str, Any]:
    files = [
        {
            "path": part.remote.path,
            "url": part.remote.url,
            "size": part.finished["size"],
            "sha256": part.finished["sha256"],
            "md5": part.finished.get("md5"),
        }
        for part in parts
        if part.finished is not None
    ]
    return {"source": download.name, "folder": download.folder, "files": files}


class _Meter:
    """Progress in MB with the speed since the start, for threads."""

    def __init__(self, download: Download, parts: Sequence[Part]) -> None:
        there = sum(part.bytes_done for part in parts)
        total = sum(max(part.remote.size or 0, part.bytes_done) for part in parts)
        self._progress = Progress(-(-total // _MB), f"{download.name}, MB")
        self._progress.start_at(there // _MB)
        self._lock = threading.Lock()
        self._first, self._bytes, self._start = there, there, time.monotonic()

    def count(self, new: int) -> None:
        """Count bytes that came, or minus those that were given up."""
        with self._lock:
            self._bytes += new
            steps = self._bytes // _MB - self._progress.done
            seconds = max(time.monotonic() - self._start, 1e-3)
            speed = (self._bytes - self._first) / _MB / seconds
            if steps:  # sizes that a server rounds or does not say show as they come
                self._progress.total = max(self._progress.total, self._bytes // _MB)
                self._progress.advance(steps, f"{speed:.1f} MB/s")
