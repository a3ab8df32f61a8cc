"""What an EMPIAR entry, a Zenodo record or a folder on a web server holds, and what is chosen."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import quote

from tomopipe.config.fetch import Download, FileCheck
from tomopipe.errors import ConfigError, DownloadError
from tomopipe.fetch.page import entries
from tomopipe.fetch.web import Web

_EMPIAR = "https://ftp.ebi.ac.uk/empiar/world_availability"
_ZENODO = "https://zenodo.org"
_DEEPEST = 20
_WILD = ("*", "?", "[")


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server: where, and what it must be like as far as that is known."""

    path: str
    url: str
    size: int | None = None
    exact: bool = False
    md5: str | None = None
    sha256: str | None = None


def chosen(download: Download, web: Web) -> list[RemoteFile]:
    """Files that `files` chooses, in the order of the listing.

    Raises
    ------
    ConfigError
        If nothing is chosen, or a path or pattern fits no file.
    DownloadError
        If the source cannot be listed.
    """
    if not download.files:
        raise ConfigError(
            f"{download.name}: no files are chosen: `tomopipe fetch {source_flag(download)} "
            "--list` shows what is there; name paths or patterns in files"
        )
    checks = {file.path: file for file in download.files if isinstance(file, FileCheck)}
    patterns = [_pattern(file if isinstance(file, str) else file.path) for file in download.files]
    plain = [pattern for pattern in patterns if not is_wild(pattern)]
    if download.zenodo is None and len(plain) == len(patterns):
        found = [
            RemoteFile(path, _address(download) + quote(path)) for path in dict.fromkeys(plain)
        ]
    else:
        listed = available(download, web, patterns)
        found = [file for file in listed if _fits(file.path, patterns)]
        for pattern in patterns:
            if not any(_fits(file.path, [pattern]) for file in found):
                raise ConfigError(
                    f"{download.name}: files: no file fits {pattern!r}: "
                    f"`tomopipe fetch {source_flag(download)} --list` shows what is there"
                )
    return [_with_check(file, checks.get(file.path)) for file in found]


def available(download: Download, web: Web, patterns: Sequence[str] = ("*",)) -> list[RemoteFile]:
    """Files of the source in folders that the patterns may lead to."""
    if download.zenodo is not None:
        return _record(download, web)
    starts = [_start(pattern) for pattern in patterns]
    return list(_crawl(_address(download), "", starts, web, _DEEPEST))


def with_sizes(files: Sequence[RemoteFile], web: Web) -> list[RemoteFile]:
    """Files with the sizes that the server says, where the listing had none."""

    def look(file: RemoteFile) -> RemoteFile:
        return file if file.size is not None else replace(file, size=web.size(file.url))

    with ThreadPoolExecutor(web.settings.connections) as pool:
        return list(pool.map(look, files))


def is_wild(pattern: str) -> bool:
    """Whether a path of `files` is a pattern."""
    return any(sign in pattern for sign in _WILD)


def source_flag(download: Download) -> str:
    """How the source is named on the command line."""
    if download.empiar is not None:
        return f"--empiar {download.empiar}"
    return f"--zenodo {download.zenodo}" if download.zenodo else f"--url {download.url}"


def _address(download: Download) -> str:
    """Address of the folder that paths start from, with a slash at its end."""
    if download.url is not None:
        return download.url.rstrip("/") + "/"
    return f"{(download.mirror or _EMPIAR).rstrip('/')}/{download.empiar}/"


def _record(download: Download, web: Web) -> list[RemoteFile]:
    """Files of a Zenodo record, with the sizes and checksums of its API."""
    base = (download.mirror or _ZENODO).rstrip("/")
    url = f"{base}/api/records/{download.zenodo}"
    record = web.json(url)
    try:
        number = record["id"]  # the number of all versions leads to the latest one
        files = [(str(f["key"]), int(f["size"]), str(f["checksum"])) for f in record["files"]]
    except (KeyError, TypeError, ValueError):
        raise DownloadError(
            f"{url}: names no files with size and checksum: check that the record is public"
        ) from None
    for key, _, _ in files:
        if PurePosixPath(key).is_absolute() or ".." in PurePosixPath(key).parts:
            raise DownloadError(f"{url}: has a file {key!r}, which leads out of the folder")
    return [
        RemoteFile(
            key,
            f"{base}/api/records/{number}/files/{quote(key, safe='')}/content",
            size,
            exact=True,
            md5=checksum.removeprefix("md5:") if checksum.startswith("md5:") else None,
        )
        for key, size, checksum in files
    ]


def _crawl(
    url: str, folder: str, starts: Sequence[str], web: Web, depth: int
) -> Iterator[RemoteFile]:
    for entry in entries(web.text(url), url):
        path = f"{folder}{entry.name}"
        address = f"{url}{quote(entry.name)}"
        if not entry.is_folder:
            yield RemoteFile(path, address, entry.size, entry.exact)
        elif depth and any(_leads(f"{path}/", start) for start in starts):
            yield from _crawl(f"{address}/", f"{path}/", starts, web, depth - 1)


def _leads(folder: str, start: str) -> bool:
    return folder.startswith(start) or start.startswith(folder)


def _pattern(path: str) -> str:
    return f"{path}*" if path.endswith("/") else path


def _start(pattern: str) -> str:
    """The part of a pattern before its first wildcard."""
    ends = [pattern.index(sign) for sign in _WILD if sign in pattern]
    return pattern[: min(ends)] if ends else pattern


def _fits(path: str, patterns: Sequence[str]) -> bool:
    return any(path == pattern or fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _with_check(file: RemoteFile, check: FileCheck | None) -> RemoteFile:
    """A file with what the user knows of it, which must agree with the listing.

    Raises
    ------
    ConfigError
        If it does not.
    """
    if check is None:
        return file
    differs = (file.exact and check.size not in (None, file.size)) or (
        file.md5 and check.md5 and file.md5 != check.md5.lower()
    )
    if differs:
        raise ConfigError(
            f"files: {file.path}: size or md5 differ from the listing ({file.size} bytes, md5 "
            f"{file.md5}): correct them, or leave them out"
        )
    return replace(
        file,
        size=check.size if check.size is not None else file.size,
        exact=file.exact or check.size is not None,
        md5=file.md5 or (check.md5.lower() if check.md5 else None),
        sha256=check.sha256.lower() if check.sha256 else None,
    )
