"""What a server's answer to a range brings: those bytes, the whole file, or another version."""

from __future__ import annotations

import re

import requests

from tomopipe.errors import DownloadError
from tomopipe.fetch.part import Part
from tomopipe.fetch.ranges import Interval
from tomopipe.fetch.web import Again

_RANGE = re.compile(r"^bytes (\d+)-\d+/(\d+)$")


class Changed(Exception):
    """An answer is of another version of the file than the bytes that are here."""


def answered(
    part: Part, generation: int, response: requests.Response, position: int, end: int
) -> Interval:
    """What an answer brings, `[start, end)`; an end below 0 is not known before it comes.

    Raises
    ------
    Changed
        If it is of another version than the bytes that are here.
    Again
        If it is not what was asked for.
    """
    headers = response.headers
    etag, modified = headers.get("ETag"), headers.get("Last-Modified")
    size: int | None
    if response.status_code == 206:
        match = _RANGE.match(headers.get("Content-Range", ""))
        if match is None or int(match[1]) != position:
            raise Again("the server sends other bytes than were asked for")
        size = int(match[2])
        bounds = position, min(end, size)
    elif response.status_code == 416:
        if position > 0 or headers.get("Content-Range", "bytes */0") != "bytes */0":
            raise Changed("is shorter now")
        size, bounds = 0, (0, 0)
    else:  # the whole file: the server does no ranges, or has another version
        size = _length(part, response)
        bounds = 0, -1 if size is None else size
    if not part.begin(generation, size, etag, modified):
        raise Changed("changed")
    return bounds


def _length(part: Part, response: requests.Response) -> int | None:
    """Bytes of a whole file; None where its end shows when it comes.

    Raises
    ------
    DownloadError
        If a broken connection would look like the end of the file.
    """
    length = response.headers.get("Content-Length", "")
    if length.isdigit():
        return int(length)
    remote = part.remote
    if remote.exact:
        return remote.size
    if "Transfer-Encoding" in response.headers or remote.md5 or remote.sha256:
        return None
    raise DownloadError(
        f"{remote.url}: the server does not say how long it is, so that a broken connection would "
        "not show: give size or checksum in files"
    )
