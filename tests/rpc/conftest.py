"""Sidecars as processes, from bootstrap files, with applications that speak RPC before and behind them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from engine_live import Server
from tests.interop.conftest import Certificates

if TYPE_CHECKING:
    Serve = Callable[..., Server]

Start = Callable[[str, Path, int], None]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `mainstay` or `envoy` from a bootstrap file and waits until its port takes connections."""
    started: list[subprocess.Popen[bytes]] = []

    def run(kind: str, bootstrap: Path, port: int) -> None:
        log = tmp_path / f"{bootstrap.stem}-{kind}.log"
        if kind == "envoy":
            binary = os.environ.get("MAINSTAY_TEST_ENVOY", "")
            assert binary, "run the tests with `make test`, which installs Envoy"
            flags = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
            command = [binary, "-c", str(bootstrap), *flags]
        else:
            flags = ["--admin-port", "0", "--health-port", "0", "--metrics-port", "0", "--concurrency", "1"]
            command = [sys.executable, "-m", "mainstay", "sidecar", "--bootstrap", str(bootstrap), *flags]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        started.append(process)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            assert process.poll() is None, f"{kind} ended:\n{log.read_text()}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            threading.Event().wait(0.02)
        raise AssertionError(f"{kind} does not listen on {port}:\n{log.read_text()}")

    yield run
    for process in started:
        process.terminate()
    for process in started:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Servers of handlers of connections."""
    servers: list[Server] = []

    def run(handler: Callable[[socket.socket], object]) -> Server:
        servers.append(Server(handler))
        return servers[-1]

    yield run
    for server in servers:
        server.close()


@pytest.fixture
def leaves(tmp_path: Path) -> Certificates:
    """Certificates of a mesh."""
    return Certificates(tmp_path)


@pytest.fixture
def ports() -> Callable[[], int]:
    """Ports that are free now."""

    def take() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return take
