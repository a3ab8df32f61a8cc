"""What a file must be like: its size and its checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tomopipe.errors import DownloadError
from tomopipe.fetch.listing import RemoteFile

_BLOCK = 1 << 22


def check_size(remote: RemoteFile, size: int | None) -> None:
    """Raise `DownloadError` if a server's size is not the one that is known."""
    if remote.exact and size is not None and size != remote.size:
        raise DownloadError(
            f"{remote.url}: has {size} bytes on the server instead of {remote.size}: correct the "
            "size in files, or tell the archive"
        )


def facts(path: Path, remote: RemoteFile) -> dict[str, Any]:
    """Size, time and checksums of a file; MD5 only where it is known what it must be."""
    digests = {"sha256": hashlib.sha256()}
    if remote.md5:
        digests["md5"] = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            for digest in digests.values():
                digest.update(block)
    stat = path.stat()
    found = {name: digest.hexdigest() for name, digest in digests.items()}
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, **found}


def wrong_checksum(remote: RemoteFile, found: dict[str, Any]) -> str:
    """Which checksum is another than it must be, in words; empty if none."""
    for name in ("md5", "sha256"):
        expected = getattr(remote, name)
        if expected not in (None, found.get(name)):
            return f"{name} is {found.get(name)} instead of {expected}"
    return ""
