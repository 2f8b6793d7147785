"""Proxies as processes: real Envoy and Mainstay, each started from an Envoy bootstrap file; an application behind them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mainstay.identity import certificates
from mainstay.identity.authority import Authority, open_authority
from mainstay.identity.signer import LeafRequest

Start = Callable[[str, Path, int], None]


@pytest.fixture(scope="session")
def envoy() -> str:
    """The Envoy binary that the test set-up installs."""
    found = os.environ.get("MAINSTAY_TEST_ENVOY", "")
    assert found, "run the tests with `make test`, which installs Envoy"
    assert Path(found).exists(), found
    return found


@pytest.fixture
def start(envoy: str, tmp_path: Path) -> Iterator[Start]:
    """Starts `envoy` or `mainstay` from a bootstrap file and waits until its port takes connections."""
    started: list[subprocess.Popen[bytes]] = []

    def run(kind: str, bootstrap: Path, port: int) -> None:
        log = tmp_path / f"{bootstrap.stem}-{kind}.log"
        if kind == "envoy":
            flags = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
            command = [envoy, "-c", str(bootstrap), *flags]
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


class Application(BaseHTTPRequestHandler):
    """Answers with the head it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = (f"{self.command} {self.path}\n{self.headers}").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "text/x-echo")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def application() -> Iterator[int]:
    """An HTTP server; gives its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield int(server.server_port)
    server.shutdown()
    server.server_close()


class Certificates:
    """Leaves of a mesh, as PEM files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority: Authority = open_authority(
            folder / "ca", "cluster.local", lambda: time.time_ns() // 1_000_000
        )
        self.roots = folder / "roots.pem"
        self.roots.write_text("".join(self._authority.bundle().roots))

    def leaf(self, account: str) -> tuple[Path, Path]:
        """Chain and key of `spiffe://cluster.local/ns/shop/sa/ACCOUNT`."""
        key = certificates.make_key()
        chain = self._authority.sign(
            LeafRequest(f"spiffe://cluster.local/ns/shop/sa/{account}", key.public_key())
        )
        made = self._folder / f"{account}.pem", self._folder / f"{account}-key.pem"
        made[0].write_text(chain.pem)
        made[1].write_bytes(certificates.pem_of_key(key))
        made[1].chmod(0o600)
        return made


@pytest.fixture
def mesh_certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)
