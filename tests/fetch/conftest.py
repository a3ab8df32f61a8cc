from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fetch.server import Server
from tomopipe.config.fetch import Download


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def download(server: Server, tmp_path: Path) -> Callable[..., Download]:
    """Settings of a download from the server's `/set/`, impatient and in small pieces."""

    def made(*files: Any, **settings: Any) -> Download:
        source = {} if {"empiar", "zenodo"} & settings.keys() else {"url": f"{server.address}/set"}
        quick = {"timeout_seconds": 30, "pause_seconds": 0.01, "attempts": 3, "piece_mb": 0.1}
        return Download.model_validate(
            {"files": files, "to": str(tmp_path / "data"), **source, **quick, **settings}
        )

    return made
