"""A web server in a thread that serves files well or badly, and counts what it was asked for."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

Fault = str | int  # "drop", "stall", "lie", or a status to answer with


@dataclass
class Served:
    """A file, its version, and what goes wrong with the next requests, one each.

    With `most`, answers wait when so many bytes have been sent.
    """

    data: bytes
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    faults: list[Fault] = field(default_factory=list)
    always: Fault | None = None
    most: int | None = None
    length: bool = True
    encoding: str | None = None
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0


class Server:
    """Serves `files` (path: Served) and listings of their folders, as Apache prints them."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.pages: dict[str, Callable[[], str]] = {}
        self.requests = 0
        self.answering = self.held = 0  # answers that are on their way, and those of them that wait
        self.change = threading.Condition()
        self.released = threading.Event()
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def serve(self, path: str, data: bytes, **how: object) -> Served:
        self.files[path] = Served(data, **how)  # type: ignore[arg-type]
        return self.files[path]

    def let(self, file: Served, most: int | None) -> None:
        """Let so many bytes of a file be sent in all."""
        with self.change:
            file.most = most
            self.change.notify_all()

    def about_to_send(self, file: Served, size: int) -> None:
        """Wait until more of a file may be sent, and count what will be."""
        with self.change:
            self.held += 1
            self.change.wait_for(
                lambda: file.most is None or file.sent < file.most or self.released.is_set()
            )
            self.held -= 1
            file.sent += size

    def close(self) -> None:
        self.released.set()
        with self.change:
            self.change.notify_all()
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_of: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        file = self.server_of.files.get(unquote(self.path))
        self.send_response(200 if file else 404)
        self.send_header("Content-Length", str(len(file.data)) if file else "0")
        self.end_headers()

    def do_GET(self) -> None:
        server = self.server_of
        with server.change:
            server.answering += 1
        try:
            self._get(server, unquote(self.path))
        finally:
            with server.change:
                server.answering -= 1

    def _get(self, server: Server, path: str) -> None:
        server.requests += 1
        if path in server.pages:
            self._page(server.pages[path]())
        elif path in server.files:
            self._file(server.files[path])
        elif path.endswith("/") and any(name.startswith(path) for name in server.files):
            self._page(listing(path, server.files))
        elif any(name.startswith(f"{path}/") for name in server.files):
            self._redirect(f"{self.path}/")  # as Apache does with folders
        else:
            self._status(404)

    def _redirect(self, to: str) -> None:
        self.send_response(301)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _page(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _status(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, file: Served) -> None:
        wanted = self.headers.get("Range")
        file.asked.append(wanted)
        fault = file.faults.pop(0) if file.faults else file.always
        if isinstance(fault, int):
            self._status(fault)
            return
        body, start, end = file.data, 0, len(file.data)
        condition = self.headers.get("If-Range")
        same = condition is None or condition in (file.etag, file.modified)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        if match and file.ranges and same:
            start, end = int(match[1]), min(int(match[2]) + 1, len(file.data))
            if start >= len(file.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(file.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = file.data[start:end]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(file.data)}")
        else:
            self.send_response(200)
        if file.length:
            self.send_header("Content-Length", str(len(body) + (10 if fault == "lie" else 0)))
        said = {
            "ETag": file.etag,
            "Last-Modified": file.modified,
            "Content-Encoding": file.encoding,
        }
        for name, value in said.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self._send(file, body, fault)

    def _send(self, file: Served, body: bytes, fault: Fault | None) -> None:
        stop = len(body) // 2 if fault in ("drop", "stall") else len(body)
        try:
            for at in range(0, stop, 1 << 14):
                part = body[at : min(at + (1 << 14), stop)]
                self.server_of.about_to_send(file, len(part))
                self.wfile.write(part)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if fault == "stall":
            self.server_of.released.wait(20)
        if fault is not None or not file.length:
            self.close_connection = True


def listing(folder: str, files: dict[str, Served]) -> str:
    """Apache's listing of a folder: sizes from 1 K on are rounded."""
    names: dict[str, str] = {}
    for path, file in sorted(files.items()):
        if path.startswith(folder):
            name, slash, _ = path[len(folder) :].partition("/")
            size = len(file.data)
            text = "-" if slash else str(size) if size < 1024 else f"{size / 1024:.1f}K"
            names[name + slash] = text
    up = folder.rstrip("/").rpartition("/")[0] + "/"
    rows = "\n".join(
        f'<tr><td><img src="/icons/x.gif" alt="[   ]"></td><td><a href="{name}">{name}</a></td>'
        f'<td align="right">2024-01-01 10:00  </td><td align="right">{size} </td>'
        "<td>&nbsp;</td></tr>"
        for name, size in names.items()
    )
    return (
        f"<html><head><title>Index of {folder}</title></head><body><h1>Index of {folder}</h1>"
        '<table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=S;O=A">Size</a></th></tr>'
        f'<tr><td><a href="{up}">Parent Directory</a></td><td>&nbsp;</td><td>  - </td></tr>'
        f"{rows}<tr><th colspan=5><hr></th></tr></table></body></html>"
    )
