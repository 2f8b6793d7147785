"""A live engine per test, and servers behind it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engine_live import Live, Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator


@pytest.fixture(params=[1, 2], ids=["one-worker", "two-workers"])
def live(request: pytest.FixtureRequest) -> Iterator[Live]:
    engine = Live(request.param)
    yield engine
    engine.engine.shutdown(1_000)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(handler: Callable[[socket.socket], object], bound: socket.socket | None = None) -> Server:
        servers.append(Server(handler, bound))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
