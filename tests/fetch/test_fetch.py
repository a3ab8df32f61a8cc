"""Downloads from a server that serves well, and from one that does everything wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fetch.server import Fault, Server
from tomopipe.config.fetch import Download
from tomopipe.errors import ConfigError, DownloadError, StateError, TomopipeError
from tomopipe.fetch import download as module
from tomopipe.fetch.download import fetch
from tomopipe.io import space

Make = Callable[..., Download]
DATA = random.Random(0).randbytes(1_000_000)
OTHER = random.Random(1).randbytes(1_000_000)
ROOT = Path(__file__).parents[2]


def left_over(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.part"))


def test_large_files_come_in_ranges_and_the_record_says_what_came(
    server: Server, download: Make, tmp_path: Path
) -> None:
    big = server.serve("/set/stacks/a b.mrcs", DATA)
    server.serve("/set/x.star", b"data_")
    server.serve("/set/empty.txt", b"")
    server.serve("/set/stacks/movie.tif", OTHER)
    wanted = download("stacks/*.mrcs", "x.star", "empty.txt")
    fetch(wanted, tmp_path / "record.json")
    folder = tmp_path / "data"
    assert (folder / "stacks" / "a b.mrcs").read_bytes() == DATA
    assert (folder / "x.star").read_bytes() == b"data_"
    assert (folder / "empty.txt").read_bytes() == b""
    assert not (folder / "stacks" / "movie.tif").exists() and not left_over(folder)
    assert len(big.asked) == 10 and big.sent == len(DATA)
    record = json.loads((tmp_path / "record.json").read_text())
    sums = {file["path"]: file["sha256"] for file in record["files"]}
    assert sums["stacks/a b.mrcs"] == hashlib.sha256(DATA).hexdigest()


def test_a_gz_file_that_the_server_calls_an_encoding_stays_as_it_is(
    server: Server, download: Make, tmp_path: Path
) -> None:
    packed = gzip.compress(DATA)
    server.serve("/set/a.mrcs.gz", packed, encoding="x-gzip")
    fetch(download("a.mrcs.gz"))
    assert (tmp_path / "data" / "a.mrcs.gz").read_bytes() == packed


def test_what_is_there_is_not_asked_for_again_and_needs_no_network(
    server: Server, download: Make, tmp_path: Path
) -> None:
    server.serve("/set/a.mrcs", DATA)
    fetch(download("*.mrcs"))
    asked = server.requests
    fetch(download("*.mrcs", connections=2), tmp_path / "record.json")
    assert server.requests == asked
    fetch(download("a.mrcs"))  # chosen otherwise: the file is known all the same
    assert server.files["/set/a.mrcs"].sent == len(DATA)


@pytest.mark.parametrize(
    "faults",
    [["drop"], [503, "drop", 500], ["stall"], ["lie", "lie"], ["drop", "drop", 429, "drop"]],
)
def test_broken_connections_busy_and_silent_servers_are_outlasted(
    server: Server, download: Make, tmp_path: Path, faults: list[Fault]
) -> None:
    file = server.serve("/set/a.mrcs", DATA, faults=faults)
    patience = {"timeout_seconds": 1} if "stall" in faults else {}
    fetch(download("a.mrcs", attempts=5, **patience))
    assert (tmp_path / "data" / "a.mrcs").read_bytes() == DATA
    assert file.sent < 1.3 * len(DATA)


@pytest.mark.parametrize("etag", ['"one"', 'W/"one"', None])
def test_a_server_without_ranges_is_read_in_one_stream(
    server: Server, download: Make, tmp_path: Path, etag: str | None
) -> None:
    file = server.serve("/set/a.mrcs", DATA, ranges=False, etag=etag, faults=["drop"])
    fetch(download("a.mrcs"))
    assert (tmp_path / "data" / "a.mrcs").read_bytes() == DATA
    assert len(file.asked) == 2


def test_a_server_that_says_no_length_is_believed_only_with_size_or_checksum(
    server: Server, download: Make, tmp_path: Path
) -> None:
    file = server.serve("/set/a.mrcs", DATA, ranges=False, length=False)
    with pytest.raises(DownloadError, match="give size or checksum in files"):
        fetch(download("a.mrcs"))
    file.faults = ["drop"]
    fetch(download({"path": "a.mrcs", "size": len(DATA)}))
    assert (tmp_path / "data" / "a.mrcs").read_bytes() == DATA
    server.serve("/set/b.mrcs", OTHER, ranges=False, length=False)
    fetch(download({"path": "b.mrcs", "sha256": hashlib.sha256(OTHER).hexdigest()}))
    assert (tmp_path / "data" / "b.mrcs").read_bytes() == OTHER


@pytest.mark.parametrize(
    ("always", "words"),
    [
        ("drop", "the connection ends|broke off"),
        ("stall", "the server is silent"),
        ("lie", "broke off"),
        (503, "the server answers 503"),
        (404, "is not there .404."),
        (403, "is not public"),
    ],
)
def test_what_does_not_get_better_is_said_in_one_sentence(
    server: Server, download: Make, tmp_path: Path, always: Fault, words: str
) -> None:
    file = server.serve("/set/a.mrcs", DATA[:1000], ranges=False, always=always)
    with pytest.raises(DownloadError, match=words) as error:
        fetch(download("a.mrcs", **({"timeout_seconds": 1} if always == "stall" else {})))
    assert "a.mrcs" in str(error.value) and "\n" not in str(error.value)
    assert len(file.asked) == (1 if always in (404, 403) else 3)
    assert not (tmp_path / "data" / "a.mrcs").exists()
    file.always = None  # then right
    fetch(download("a.mrcs"))
    assert (tmp_path / "data" / "a.mrcs").read_bytes() == DATA[:1000]


def test_a_missing_file_does_not_keep_others_from_coming(
    server: Server, download: Make, tmp_path: Path
) -> None:
    server.serve("/set/b.mrcs", DATA)
    with pytest.raises(DownloadError, match=r"a\.mrcs: is not there") as error:
        fetch(download("a.mrcs", "b.mrcs", "c.mrcs"))
    assert str(error.value).endswith("(and 1 more)")
    assert (tmp_path / "data" / "b.mrcs").read_bytes() == DATA


def test_wrong_bytes_are_removed_and_said(server: Server, download: Make, tmp_path: Path) -> None:
    server.serve("/set/a.mrcs", OTHER)
    right, wrong = (hashlib.md5(data).hexdigest() for data in (DATA, OTHER))
    wanted = download({"path": "a.mrcs", "md5": right.upper()})
    with pytest.raises(DownloadError, match=f"md5 is {wrong} instead of {right}: what was loaded"):
        fetch(wanted)
    assert not (tmp_path / "data" / "a.mrcs").exists() and not left_over(tmp_path)
    server.serve("/set/a.mrcs", DATA)
    fetch(wanted)
    assert (tmp_path / "data" / "a.mrcs").read_bytes() == DATA


def test_a_size_other_than_expected_is_refused_before_anything_is_loaded(
    server: Server, download: Make
) -> None:
    file = server.serve("/set/a.mrcs", DATA)
    with pytest.raises(DownloadError, match="has 1000000 bytes on the server instead of 999999"):
        fetch(download({"path": "a.mrcs", "size": 999_999}))
    assert file.sent <= 100_000


@pytest.mark.parametrize("version", ["etag", "modified"])
def test_a_file_that_changed_on_the_server_is_not_stitched(
    server: Server, download: Make, tmp_path: Path, version: str
) -> None:
    dates = ["Mon, 01 Jan 2024 10:00:00 GMT", "Tue, 02 Jan 2024 10:00:00 GMT"]
    tags = ['"one"', '"two"'] if version == "etag" else [None, None]
    old = server.serve(
        "/set/a.mrcs", DATA, etag=tags[0], modified=dates[0], faults=[*[None] * 4], always=503
    )
    with pytest.raises(DownloadError, match="503"):
        fetch(download("a.mrcs", connections=1))
    assert old.sent == 400_000
    new = server.serve("/set/a.mrcs", OTHER, etag=tags[1], modified=dates[1])
    fetch(download("a.mrcs"))
    assert (tmp_path / "data" / "a.mrcs").read_bytes() == OTHER
    assert new.asked[0] == "bytes=400000-499999"


def test_a_file_that_changes_all_the_time_is_given_up(server: Server, download: Make) -> None:
    file = server.serve("/set/a.mrcs", DATA)

    class Ever(list[str | None]):
        def append(self, wanted: str | None) -> None:
            super().append(wanted)
            file.etag = f'"{len(self)}"'

    file.asked = Ever()
    with pytest.raises(DownloadError, match="changes on the server while it is loaded"):
        fetch(download("a.mrcs"))


def test_files_of_the_user_are_taken_if_right_and_never_replaced(
    server: Server, download: Make, tmp_path: Path
) -> None:
    file = server.serve("/set/a.mrcs", DATA)
    target = tmp_path / "data" / "a.mrcs"
    target.parent.mkdir()
    target.write_bytes(DATA)
    fetch(download("a.mrcs"))
    assert file.sent == 0
    target.write_bytes(OTHER)  # the right size, but not what it was
    with pytest.raises(StateError, match="changed since it was loaded"):
        fetch(download("a.mrcs"))
    target.write_bytes(DATA[:10])
    with pytest.raises(StateError, match="10 bytes instead of 1000000"):
        fetch(download("a.mrcs"))
    assert target.read_bytes() == DATA[:10]


def test_a_file_from_another_source_is_taken_only_by_its_checksum(
    server: Server, download: Make, tmp_path: Path
) -> None:
    server.serve("/set/a.mrcs", DATA)
    fetch(download("a.mrcs"))
    elsewhere = f"{server.address}/else"
    other = server.serve("/else/a.mrcs", OTHER)  # of the same size
    with pytest.raises(StateError, match=r"was loaded from .*/set, and no checksum says .*/else"):
        fetch(download("a.mrcs", url=elsewhere))
    check = {"path": "a.mrcs", "sha256": hashlib.sha256(OTHER).hexdigest()}
    with pytest.raises(StateError, match=r"is there, but not as on the server .sha256 is"):
        fetch(download(check, url=elsewhere))
    assert (tmp_path / "data" / "a.mrcs").read_bytes() == DATA
    check["sha256"] = hashlib.sha256(DATA).hexdigest()
    other.data = DATA
    fetch(download(check, url=elsewhere), tmp_path / "record.json")
    (file,) = json.loads((tmp_path / "record.json").read_text())["files"]
    assert file["url"] == f"{elsewhere}/a.mrcs" and not other.asked


def test_another_mirror_of_an_entry_is_the_same_source(
    server: Server, download: Make, tmp_path: Path
) -> None:
    for place in ("one/10499", "two/10499", "two/10500"):
        server.serve(f"/{place}/a.mrcs", DATA)
    fetch(download("a.mrcs", empiar=10499, mirror=f"{server.address}/one"))
    for memory in (tmp_path / "data" / ".fetch").glob("chosen-*"):
        memory.unlink()
    asked = server.requests
    fetch(download("a.mrcs", empiar=10499, mirror=f"{server.address}/two"))
    assert server.requests == asked
    with pytest.raises(StateError, match=r"was loaded from EMPIAR-10499, .* EMPIAR-10500 has"):
        fetch(download("a.mrcs", empiar=10500, mirror=f"{server.address}/two"))
    (tmp_path / "data" / ".fetch" / "a.mrcs.json").unlink()  # as the sentence says
    fetch(download("a.mrcs", empiar=10500, mirror=f"{server.address}/two"))
    assert not server.files["/two/10500/a.mrcs"].asked


def test_too_little_space_is_said_before(
    server: Server, download: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = server.serve("/set/a.mrcs", DATA)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: type("", (), {"free": 5000})())
    with pytest.raises(StateError, match=r"has 5\.0 kB free, but the files need 1\.0 MB more"):
        fetch(download("a.mrcs"))
    assert file.sent == 0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_after_a_kill_only_the_rest_is_asked_for(
    server: Server, download: Make, tmp_path: Path
) -> None:
    file = server.serve("/set/a.mrcs", DATA * 4, most=1_000_000)
    settings = download("a.mrcs", connections=4).model_dump_json()
    command = [sys.executable, "-m", "tomopipe", "fetch", "--settings", settings]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    record = tmp_path / "data" / ".fetch" / "a.mrcs.json"

    def recorded() -> list[list[int]]:
        return json.loads(record.read_text())["done"] if record.exists() else []

    def enough() -> bool:
        if sum(end - start for start, end in recorded()) >= 500_000:
            return True
        if server.held == 4 and file.sent < 3_000_000:
            # once a second the record is written, with what comes then
            server.let(file, file.sent + 1)
        return False

    try:
        wait_until(enough)
        # all connections wait for bytes: none has a request on its way, or an answer in hand
        wait_until(lambda: server.held == 4 and file.sent >= file.most)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = recorded()
    there = sum(end - start for start, end in done)
    assert 500_000 <= there < len(file.data)
    server.let(file, None)
    wait_until(lambda: server.answering == 0)  # to a process that is gone
    file.asked.clear()
    file.sent = 0
    fetch(download("a.mrcs"))
    assert (tmp_path / "data" / "a.mrcs").read_bytes() == file.data
    assert file.sent == len(file.data) - there
    for wanted in file.asked:
        first, last = map(int, re.findall(r"\d+", wanted or ""))
        assert all(last < start or end <= first for start, end in done)


def test_a_second_fetch_into_a_folder_waits_for_the_first(
    server: Server, download: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    file = server.serve("/set/a.mrcs", DATA)
    wanted = download("a.mrcs")
    second = threading.Thread(target=fetch, args=(wanted,))
    with module._alone(wanted.folder):
        second.start()
        second.join(0.3)
        assert second.is_alive() and not file.asked
    second.join(30)
    assert not second.is_alive() and file.sent == len(DATA)
    assert "waits for another fetch" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "no files are chosen: `tomopipe fetch --url .* --list` shows"),
        (("*.star",), "no file fits '\\*.star'"),
    ],
)
def test_a_choice_that_fits_nothing_is_said(
    server: Server, download: Make, files: tuple[str, ...], words: str
) -> None:
    server.serve("/set/a.mrcs", DATA)
    with pytest.raises(ConfigError, match=words):
        fetch(download(*files))


def test_an_address_where_nobody_answers(download: Make) -> None:
    with pytest.raises(TomopipeError, match=r"the connection fails .3 attempts in a row."):
        fetch(download("a.mrcs", url="http://127.0.0.1:9/set"))
