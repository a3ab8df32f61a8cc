"""What sources hold: listings of web servers, EMPIAR entries, Zenodo records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fetch.server import Server
from tomopipe.config.fetch import Download
from tomopipe.errors import ConfigError, DownloadError
from tomopipe.fetch.download import fetch
from tomopipe.fetch.listing import RemoteFile, available, chosen
from tomopipe.fetch.page import Entry, entries
from tomopipe.fetch.web import Web
from tomopipe.fetch.words import listing_words

Make = Callable[..., Download]
NGINX = """<html><head><title>Index of /set/</title></head><body><h1>Index of /set/</h1><hr><pre>
<a href="../">../</a>
<a href="stacks/">stacks/</a>                              02-Jan-2024 10:00                   -
<a href="a%20b.star">a b.star</a>                          02-Jan-2024 10:00          1234567890
</pre><hr></body></html>"""
PYTHON = """<!DOCTYPE HTML><html><body><h1>Directory listing for /set/</h1><hr><ul>
<li><a href="stacks/">stacks/</a></li>
<li><a href="a%20b.star">a b.star</a></li>
</ul><hr></body></html>"""
APACHE = """<table><tr><th><a href="?C=N;O=D">Name</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td></tr>
<tr><td><a href="stacks/">stacks/</a></td><td>2024-01-02 10:00  </td><td>  - </td></tr>
<tr><td><a href="a%20b.star">a b.star</a></td><td>2024-01-02 10:00  </td><td>1.5G</td></tr>
</table><address>Apache/2.4 at <a href="http://elsewhere/">elsewhere</a></address>"""


@pytest.mark.parametrize(
    ("html", "size", "exact"),
    [(NGINX, 1_234_567_890, True), (PYTHON, None, False), (APACHE, 3 << 29, False)],
    ids=["nginx", "python", "apache"],
)
def test_listings_of_web_servers_are_read(html: str, size: int | None, exact: bool) -> None:
    assert entries(html, "http://host/set/") == [
        Entry("stacks", True, None, False),
        Entry("a b.star", False, size, exact),
    ]


def test_links_out_of_the_folder_are_left() -> None:
    html = "".join(
        f'<a href="{href}">x</a>'
        for href in ("../up.star", "/set/deep/er", "%2e%2e/x", "..%2fx", "http://host/set/b", "#a")
    )
    assert [entry.name for entry in entries(html, "http://host/set/")] == ["b"]


def test_only_folders_that_patterns_lead_to_are_visited(server: Server, download: Make) -> None:
    for path in ("data/stars/a.star", "data/stacks/a.mrcs", "data/movies/day1/m.tif"):
        server.serve(f"/10499/{path}", b"bytes")
    wanted = download("data/sta*/*", empiar=10499, mirror=server.address)
    found = chosen(wanted, Web(wanted))
    assert [file.path for file in found] == ["data/stacks/a.mrcs", "data/stars/a.star"]
    assert found[0].url == f"{server.address}/10499/data/stacks/a.mrcs"
    assert server.requests == 4  # the entry, data, stacks, stars
    every = available(wanted, Web(wanted))
    assert {file.path for file in every} >= {"data/movies/day1/m.tif"}


def test_a_folder_without_a_slash_is_said(server: Server, download: Make) -> None:
    """Web servers lead from a folder's name to its page, which is no file of the set."""
    server.serve("/set/data/stacks/a.mrcs", b"bytes")
    wanted = download(files=["data/stacks"])
    with pytest.raises(DownloadError, match="data/stacks is a folder: write it with a slash"):
        fetch(wanted)
    assert not (wanted.folder / "data" / "stacks").exists()


def test_a_folder_with_a_slash_is_all_below_it(server: Server, download: Make) -> None:
    for path in ("stars/a.star", "stars/old/b.star", "stars2/c.star"):
        server.serve(f"/set/{path}", b"bytes")
    wanted = download("stars/")
    assert [f.path for f in chosen(wanted, Web(wanted))] == ["stars/a.star", "stars/old/b.star"]


def zenodo(server: Server, key: str, data: bytes, checksum: str) -> None:
    record = {"id": 77, "files": [{"key": key, "size": len(data), "checksum": f"md5:{checksum}"}]}
    server.pages["/api/records/76"] = lambda: json.dumps(record)
    server.serve(f"/api/records/77/files/{key}/content", data)


def test_zenodo_files_are_checked_against_their_md5(
    server: Server, download: Make, tmp_path: Path
) -> None:
    wanted = download("*.zip", zenodo=76, mirror=server.address)
    zenodo(server, "models.zip", b"right", hashlib.md5(b"right").hexdigest())
    fetch(wanted)
    assert (tmp_path / "data" / "models.zip").read_bytes() == b"right"
    zenodo(server, "labels.zip", b"wrong", hashlib.md5(b"right").hexdigest())
    with pytest.raises(DownloadError, match=r"labels\.zip/content: md5 is"):
        fetch(download("labels.zip", zenodo=76, mirror=server.address))
    zenodo(server, "../x", b"right", "")
    with pytest.raises(DownloadError, match="leads out of the folder"):
        fetch(download("*", zenodo=76, mirror=server.address))
    zenodo(server, "labels.zip", b"wrong", hashlib.md5(b"right").hexdigest())
    with pytest.raises(ConfigError, match="differ from the listing"):
        fetch(download({"path": "labels.zip", "size": 1}, zenodo=76, mirror=server.address))


@pytest.mark.parametrize(
    ("page", "words"), [("<html>", "does not answer with JSON"), ('{"id": 1}', "names no files")]
)
def test_a_record_that_is_none_is_said(
    server: Server, download: Make, page: str, words: str
) -> None:
    server.pages["/api/records/76"] = lambda: page
    with pytest.raises(DownloadError, match=words):
        fetch(download("*", zenodo=76, mirror=server.address))


def test_the_list_sums_many_files_of_a_kind_under_their_pattern() -> None:
    files = [RemoteFile(f"data/movies/{i}.tif", "", 250_000_000) for i in range(400)]
    files += [RemoteFile("data/a.star", "", 12), RemoteFile("data/b.star", "")]
    assert listing_words(files).splitlines() == [
        "  100 GB  400 files  data/movies/*.tif",
        "12 bytes             data/a.star",
        "       ?             data/b.star",
        "at least 100 GB in 402 files",
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "give exactly one of empiar, zenodo"),
        ({"empiar": 10499, "zenodo": 1}, "give exactly one of empiar, zenodo"),
        ({"url": "https://host/set"}, "set `to`"),
        ({"url": "https://host", "to": "x", "mirror": "https://host"}, "mirror is for empiar"),
        ({"url": "ftp://host", "to": "x"}, "String should match"),
        ({"empiar": 10499, "files": ["../x"]}, "must be a path below"),
        ({"empiar": 10499, "files": ["/etc/x"]}, "must be a path below"),
        ({"empiar": 10499, "files": [{"path": "*.mrcs", "md5": "0" * 32}]}, "path"),
        ({"empiar": 10499, "files": [{"path": "a", "md5": "0"}]}, "md5"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Download.model_validate(settings)
