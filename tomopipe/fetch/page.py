"""The listing of a folder that a web server makes: Apache's (as at EMPIAR), nginx's, Python's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

_SIZE = re.compile(r"^(\d+(?:\.\d+)?)([KMGTP]?)$")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_ENDS = {"tr", "li", "pre", "table", "ul"}


@dataclass(frozen=True)
class Entry:
    """One line of a listing; a size that was rounded for people ("1.2M") is not exact."""

    name: str
    is_folder: bool
    size: int | None
    exact: bool


class _Links(HTMLParser):
    """Every link with the text behind it, up to the end of its line."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._in_link = self._behind = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A link begins, or a line ends."""
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.found.append((href, ""))
            self._in_link, self._behind = True, False
        elif tag in ("hr", "br"):
            self._behind = False

    def handle_endtag(self, tag: str) -> None:
        """A link or a line ends."""
        if tag == "a":
            self._in_link, self._behind = False, bool(self.found)
        elif tag in _ENDS:
            self._behind = False

    def handle_data(self, data: str) -> None:
        """Text behind a link, where sizes stand."""
        if self._behind and not self._in_link:
            text, newline, _ = data.partition("\n")
            href, before = self.found[-1]
            self.found[-1] = (href, before + " " + text)
            self._behind = not newline


def entries(html: str, url: str) -> list[Entry]:
    """Files and folders directly below `url`, a folder's address that ends with a slash."""
    links = _Links()
    links.feed(html)
    found: dict[str, Entry] = {}
    base = urlsplit(url)
    for href, text in links.found:
        target = urlsplit(urljoin(url, href))
        below = target.path.removeprefix(base.path)
        name = unquote(below.rstrip("/"))
        elsewhere = target.netloc != base.netloc or target.query or target.fragment
        if (
            "/" in name
            or "\0" in name
            or elsewhere
            or below == target.path
            or not name
            or name in (".", "..")
        ):
            continue
        size, exact = _size(text)
        found[name] = Entry(name, below.endswith("/"), size, exact)
    return list(found.values())


def _size(text: str) -> tuple[int | None, bool]:
    words = text.split()
    match = _SIZE.match(words[-1]) if words else None
    if match is None:
        return None, False
    number, unit = match.groups()
    return round(float(number) * _UNITS[unit]), not unit and "." not in number
