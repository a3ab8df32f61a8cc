"""Requests to web servers: one session per thread, attempts with growing pauses, plain errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3

from tomopipe import __version__
from tomopipe.config.fetch import TransferSettings
from tomopipe.errors import DownloadError

_Result = TypeVar("_Result")
_LONGEST_PAUSE_SECONDS = 60.0
_BUSY = {408, 425, 429, 500, 502, 503, 504}
# bytes that are not compressed on the way: ranges and sizes count those of the file
_HEADERS = {"User-Agent": f"tomopipe/{__version__}", "Accept-Encoding": "identity"}


class Again(Exception):
    """An attempt failed in a way that may pass; `progress` says that bytes came first."""

    def __init__(self, why: str, *, progress: bool = False, after: float = 0.0) -> None:
        super().__init__(why)
        self.progress = progress
        self.after = after


class Unreachable(DownloadError):
    """The server gave nothing for all attempts: other files will fare no better."""


class Stopped(Exception):
    """Another thread failed, or the user stopped the work."""


class Web:
    """What threads share: settings, and a stop sign that ends their pauses.

    Proxies and certificates come from the environment, as `requests` reads it.
    """

    def __init__(self, settings: TransferSettings) -> None:
        self.settings = settings
        self.stop = threading.Event()
        self._local = threading.local()

    @contextmanager
    def open(self, url: str, headers: dict[str, str] | None = None) -> Iterator[requests.Response]:
        """One attempt at a GET, its body still to come.

        Raises
        ------
        Again
            If the server is busy or the connection fails, now or while the body is read.
        DownloadError
            If the server refuses.
        """
        with self._again(), self._send("GET", url, headers or {}) as response:
            found = check_status(response, url)
            if urlsplit(response.url).path.endswith("/") and not urlsplit(url).path.endswith("/"):
                raise DownloadError(f"{url} is a folder: write it with a slash at its end")
            yield found

    def text(self, url: str) -> str:
        """A page, after as many attempts as it takes."""

        def once() -> str:
            with self.open(url) as response:
                response.encoding = response.encoding or "utf-8"
                return response.text

        return self.attempt(url, once)

    def json(self, url: str) -> Any:
        """A JSON answer."""
        text = self.text(url)
        try:
            return json.loads(text)
        except ValueError:
            raise DownloadError(f"{url}: does not answer with JSON: check the address") from None

    def size(self, url: str) -> int | None:
        """Bytes of a file by a HEAD request; None where the server does not say."""

        def once() -> int | None:
            with self._again(), self._send("HEAD", url, {}) as response:
                if response.status_code in _BUSY:
                    check_status(response, url)
                length = response.headers.get("Content-Length", "")
                return int(length) if response.status_code == 200 and length.isdigit() else None

        return self.attempt(url, once)

    def attempt(self, url: str, action: Callable[[], _Result]) -> _Result:
        """Repeat an action while it raises `Again`.

        Raises
        ------
        Unreachable
            When `attempts` in a row brought nothing.
        Stopped
            When the stop sign is up.
        """
        failures = 0
        while not self.stop.is_set():
            try:
                return action()
            except Again as error:
                failures = 1 if error.progress else failures + 1
                if failures >= self.settings.attempts:
                    raise Unreachable(
                        f"{url}: {error} ({failures} attempts in a row): check network and "
                        "server, then run the same command again; what is there is kept"
                    ) from None
                self.stop.wait(self._pause(failures, error.after))
        raise Stopped

    def _pause(self, failures: int, after: float) -> float:
        growing = self.settings.pause_seconds * 2.0 ** (failures - 1)
        return min(max(growing, after), _LONGEST_PAUSE_SECONDS)

    @contextmanager
    def _again(self) -> Iterator[None]:
        try:
            yield
        except requests.exceptions.InvalidURL as error:
            raise DownloadError(f"{error}: check the address") from None
        except requests.exceptions.RequestException as error:
            raise Again(_reason(error)) from None

    def _send(self, method: str, url: str, headers: dict[str, str]) -> requests.Response:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.headers.update(_HEADERS)
        silence = self.settings.timeout_seconds
        return session.request(
            method, url, headers=headers, stream=True, timeout=silence, allow_redirects=True
        )


def blocks(response: requests.Response, size: int) -> Iterator[bytes]:
    """The body as it comes, also where the server calls a .gz file a compressed answer.

    Raises
    ------
    Again
        If the connection breaks off or is silent.
    """
    try:
        yield from response.raw.stream(size, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise Again(_reason(error)) from None


def check_status(response: requests.Response, url: str) -> requests.Response:
    """The response, if it brings bytes or says that a range is not there (416).

    Raises
    ------
    Again, DownloadError
        As the status says.
    """
    status = response.status_code
    if status in (200, 206, 416):
        return response
    if status in _BUSY:
        wait = response.headers.get("Retry-After", "")
        raise Again(f"the server answers {status}", after=float(wait) if wait.isdigit() else 0.0)
    if status in (404, 410):
        raise DownloadError(
            f"{url}: is not there ({status}): check number or address, and the paths in files"
        )
    if status in (401, 403):
        raise DownloadError(f"{url}: is not public ({status}): load it by hand, or ask its owners")
    raise DownloadError(f"{url}: the server answers {status}: check the address")


def _reason(error: Exception) -> str:
    if "CERTIFICATE" in str(error):
        return "the server's certificate is refused"
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error).lower():
        return "the server is silent"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the connection fails"
    return "the connection broke off"
