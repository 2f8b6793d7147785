"""A sidecar and its control plane as processes: joining, refusals as their author sees them, and life without control plane."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.mesh
PATIENCE_S = 60
OBJECTS = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: front, namespace: shop}}
spec:
  metadata: {{labels: {{app: front}}}}
  template: {{serviceAccount: front}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: ["reviews.shop.svc.cluster.local"]
  ports:
  - {{number: 9080, protocol: HTTP, name: http}}
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {application}}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: front, namespace: shop}}
spec:
  workloadSelector: {{labels: {{app: front}}}}
  egress:
{egress}
"""
EGRESS = """
  - port: {{number: {port}, protocol: HTTP, name: http-{port}}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ["./reviews.shop.svc.cluster.local"]
"""


class Mesh:
    """Starts processes of `mainstay`, and ends all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}
        self._environment = environment | {"MAINSTAY_CONTEXT": str(folder / "context.json")}

    def start(self, name: str, *flags: str) -> subprocess.Popen[bytes]:
        ready = self._folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mainstay", *flags, "--ready-file", str(ready)],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        self._running.append(process)
        self.wait(lambda: ready.exists() or process.poll() is not None)
        assert process.poll() is None, (self._folder / f"{name}.log").read_text()
        return process

    def told(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / f"{name}.ready").read_bytes())
        return found

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mainstay", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait(self, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < until, "it takes too long"
            time.sleep(0.05)

    def apply(self, application: int, *ports: int) -> None:
        path = self._folder / "objects.yaml"
        egress = "".join(EGRESS.format(port=port) for port in ports)
        path.write_text(OBJECTS.format(application=application, egress=egress))
        self.run("apply", "-f", str(path))

    def start_control_plane(self) -> subprocess.Popen[bytes]:
        ports = ("--api-port", "0", "--xds-port", "0", "--metrics-port", "0")
        context = str(self._folder / "context.json")
        return self.start(
            "control", "serve", "--state", str(self._folder / "state"), "--api-context", context, *ports
        )

    def start_sidecar(self, xds: int) -> subprocess.Popen[bytes]:
        token = self._folder / "token"
        if not token.exists():
            made = json.loads(
                self.run(
                    "join-token",
                    "create",
                    "-n",
                    "shop",
                    "--account",
                    "front",
                    "--group",
                    "front",
                    "-o",
                    "json",
                )
            )
            token.write_text(made["token"])
        return self.start(
            "sidecar",
            *("sidecar", "--workload", "front", "--namespace", "shop", "--labels", "app=front"),
            *("--control-plane-address", f"127.0.0.1:{xds}", "--control-plane-join-token-file", str(token)),
            *("--data", str(self._folder / "data"), "--admin-port", "0", "--health-port", "0"),
            *("--metrics-port", "0", "--drain-min", "100ms"),
        )

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    made = Mesh(tmp_path)
    yield made
    made.end()


@pytest.fixture
def application() -> Iterator[int]:
    import http.server
    import threading

    class Application(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def status_of(port: int, path: str = "/") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_sidecar_joins_refuses_in_words_and_outlives_its_control_plane(
    mesh: Mesh, application: int
) -> None:
    control_plane = mesh.start_control_plane()
    port = free_port()
    mesh.apply(application, port)
    sidecar = mesh.start_sidecar(mesh.told("control")["xds"])
    assert status_of(port) == 200

    # What only the proxy can find out comes back to the author, and traffic goes on.
    mesh.apply(application, port, application)
    mesh.wait(lambda: "cannot be bound" in mesh.run("status"))
    assert f"refused listeners 127.0.0.1_{application}" in mesh.run("status")
    assert status_of(port) == 200

    # Without a control plane it serves on, also after a restart.
    control_plane.kill()
    control_plane.wait()
    sidecar.kill()
    sidecar.wait()
    again = mesh.start_sidecar(mesh.told("control")["xds"])
    assert status_of(port) == 200
    again.send_signal(signal.SIGTERM)
    assert again.wait(PATIENCE_S) == 0
