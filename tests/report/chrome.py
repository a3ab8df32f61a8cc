"""Headless Chromium through its debugging pipe (no websocket, no driver, nothing to install)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-headless-shell", "google-chrome", "chromium-browser", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--disable-background-networking", "--disable-sync",
    "--disable-extensions", "--disable-component-update", "--disable-dev-shm-usage",
    "--no-first-run", "--mute-audio", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


def find_chromium() -> str | None:
    """Path of the first browser on PATH, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chrome:
    """One browser with one page; collects console messages, exceptions and requests."""

    def __init__(self, executable: str, profile: Path, size: tuple[int, int] = (1360, 900)) -> None:
        to_child, from_us = os.pipe()
        to_us, from_child = os.pipe()
        command = [
            executable,
            *FLAGS,
            f"--user-data-dir={profile}",
            "--window-size={},{}".format(*size),
        ]
        # Chromium reads commands on descriptor 3 and answers on 4
        shell = f'exec 3<&{to_child} 4>&{from_child}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "chrome", *command, "about:blank"],
            pass_fds=(to_child, from_child),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        self._out = os.fdopen(from_us, "wb", buffering=0)
        self._in = os.fdopen(to_us, "rb")
        self._number, self._session = 0, ""
        self.console: list[str] = []
        self.exceptions: list[str] = []
        self.requests: list[str] = []
        self._attach()

    def _attach(self) -> None:
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and wait for its answer; events that come meanwhile are noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        parts = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser went away")
            parts += byte
        return dict(json.loads(parts))

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled":
                words = [str(a.get("value", a.get("description"))) for a in params["args"]]
                self.console.append(f"{params['type']}: {' '.join(words)}")
            case "Log.entryAdded":
                self.console.append(f"{params['entry']['level']}: {params['entry']['text']}")
            case "Runtime.exceptionThrown":
                self.exceptions.append(json.dumps(params["exceptionDetails"])[:500])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"][:200])

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"])[:500])
        return answer["result"].get("value")

    def open(self, path: Path) -> None:
        """Go to a file and wait until its document has loaded."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript condition holds."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition} did not come true in {seconds} s")
            time.sleep(0.1)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Dispatch a mouse event: mousePressed, mouseMoved or mouseReleased."""
        buttons = 0 if kind == "mouseReleased" else 1
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="left",
            buttons=buttons,
            clickCount=1,
        )

    def screenshot(self, path: Path) -> None:
        """Save what the window shows as PNG."""
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        self._out.close()
        self._process.terminate()
        self._process.wait(timeout=20)
        self._in.close()
