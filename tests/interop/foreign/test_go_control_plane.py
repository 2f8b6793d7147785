"""Our sidecar under another control plane: the test program of go-control-plane, which sets snapshot after snapshot and sends
requests through every listener it has asked for. It judges by itself: each snapshot needs one batch without a failure.

`tests/interop/foreign/program/` pins it; `make` builds it. docs/foreign-control-planes.md says how to run it by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

MESSAGE = "an answer"
PATIENCE_S = 60.0
LISTENERS = 8
"""Most that a case asks for, in a row of ports."""


class Echo(BaseHTTPRequestHandler):
    """The application: always the same words."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(MESSAGE)))
        self.end_headers()
        self.wfile.write(MESSAGE.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield int(server.server_port)
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def program() -> str:
    """The test program that the set-up builds."""
    found = os.environ.get("MAINSTAY_TEST_GO_CONTROL_PLANE", "")
    assert found, "run the tests with `make test`, which builds go-control-plane's test program"
    assert Path(found).exists(), found
    return found


def free_ports(count: int) -> int:
    """The first of a row of ports that nobody has, below those that systems give to clients."""
    for _ in range(100):
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            port = random.randrange(10_000, 30_000)
            for offset in range(count):
                held.enter_context(socket.create_server(("127.0.0.1", port + offset)))
            return port
    raise AssertionError(f"no {count} free ports in a row")


def static_cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "connect_timeout": "1s",
        "http2_protocol_options": {},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def bootstrap(mode: str, xds: int, als: int, runtimes: int) -> dict[str, Any]:
    """What the program expects of its proxy: its node, its two clusters, and from where each kind comes."""
    own: dict[str, Any] = {
        "api_type": "DELTA_GRPC" if mode.startswith("delta") else "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds_cluster"}}],
        "set_node_on_first_message_only": True,
    }
    if mode == "rest":
        own = {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": ["xds_cluster"],
            "refresh_delay": "0.5s",
        }
    is_aggregated = mode.endswith("ads")
    source = {"resource_api_version": "V3", **({"ads": {}} if is_aggregated else {"api_config_source": own})}
    layers = [
        {"name": f"runtime-{index}", "rtds_layer": {"name": f"runtime-{index}", "rtds_config": source}}
        for index in range(runtimes)
    ]
    return {
        "node": {"id": "test-id", "cluster": "test-cluster"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "dynamic_resources": {
            "lds_config": source,
            "cds_config": source,
            **({"ads_config": own} if is_aggregated else {}),
        },
        "static_resources": {
            "clusters": [static_cluster("xds_cluster", xds), static_cluster("als_cluster", als)]
        },
        "layered_runtime": {"layers": layers},
    }


class Ended(NamedTuple):
    """The program's judgement (0: every snapshot came in force), and what the two said."""

    code: int
    program: str
    sidecar: str


def sidecar_command(file: Path, *flags: str) -> list[str]:
    command = [sys.executable, "-m", "mainstay", "sidecar", "--bootstrap", str(file), *flags]
    for role in ("admin", "health", "metrics"):
        command += [f"--{role}-port", "0"]
    return [*command, "--concurrency", "1", "--drain-min", "0s"]


def run(program: str, mode: str, echo: int, folder: Path, *flags: str, runtimes: int = 1) -> Ended:
    """One run of the program with our sidecar as its proxy."""
    xds = free_ports(3 + LISTENERS)
    gateway, als, base = xds + 1, xds + 2, xds + 3
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(bootstrap(mode, xds, als, runtimes)))
    command = [program, "-xds", mode, "-runtimes", str(runtimes), "-message", MESSAGE, "-delay", "150ms"]
    for name, port in (("port", xds), ("gateway", gateway), ("als", als), ("base", base), ("upstream", echo)):
        command += [f"-{name}", str(port)]
    # What Mainstay does not do: routes found by scope, virtual hosts on demand.
    command += ["-scopedhttp", "0", "-vhdshttp", "0", *flags]
    sidecar_log, program_log = folder / "sidecar.log", folder / "program.log"
    with program_log.open("wb") as program_out, sidecar_log.open("wb") as sidecar_out:
        control = subprocess.Popen(command, stdout=program_out, stderr=subprocess.STDOUT)
        sidecar = subprocess.Popen(
            sidecar_command(file, "--lenient"), stdout=sidecar_out, stderr=subprocess.STDOUT
        )
        try:
            until = time.monotonic() + PATIENCE_S
            while control.poll() is None and time.monotonic() < until:
                assert sidecar.poll() is None, f"the sidecar ended by itself:\n{sidecar_log.read_text()}"
                with contextlib.suppress(subprocess.TimeoutExpired):
                    control.wait(0.2)
        finally:
            for process in (control, sidecar):
                process.terminate()
            for process in (control, sidecar):
                process.wait(10)
    return Ended(control.returncode, program_log.read_text(), sidecar_log.read_text())


def passes(ended: Ended, mode: str) -> Ended:
    """The program is content."""
    assert ended.code == 0, f"the program ended with {ended.code}:\n{ended.program}\n{ended.sidecar}"
    assert f"Test for {mode} passed!" in ended.program
    return ended


MODES = ["ads", "xds", "delta", "delta-ads"]


@pytest.mark.parametrize("mode", MODES)
def test_its_snapshots_come_in_force(mode: str, program: str, echo: int, tmp_path: Path) -> None:
    ended = passes(run(program, mode, echo, tmp_path), mode)
    assert " refused name=" not in ended.sidecar
    assert "the engine refuses" not in ended.sidecar


@pytest.mark.parametrize("mode", MODES)
def test_its_listeners_take_their_certificates_from_it(
    mode: str, program: str, echo: int, tmp_path: Path
) -> None:
    passes(run(program, mode, echo, tmp_path, "-tls", "-r", "8"), mode)


def test_its_endpoints_may_come_from_a_cache_of_their_own(program: str, echo: int, tmp_path: Path) -> None:
    """`-mux`: go-control-plane's linear cache serves endpoints, its snapshot cache the rest."""
    passes(run(program, "ads", echo, tmp_path, "-mux"), "ads")


def test_what_it_asks_for_and_gets_not_is_told(program: str, echo: int, tmp_path: Path) -> None:
    """Layers of run-time values, and an access log that is sent to the control plane: once each, by path."""
    ended = passes(run(program, "ads", echo, tmp_path, runtimes=2), "ads")
    told = [line for line in ended.sidecar.splitlines() if "ignored" in line]
    assert len(told) == 2
    assert "layered_runtime: is not supported" in told[0]
    assert "access_log[0].typed_config" in told[1]
    assert "HttpGrpcAccessLogConfig" in told[1]


def test_listeners_that_find_routes_by_scope_are_refused_and_the_rest_serves(
    program: str, echo: int, tmp_path: Path
) -> None:
    ended = run(program, "delta-ads", echo, tmp_path, "-scopedhttp", "2", "-u", "1")
    assert ended.code == 1
    assert "ok 4, failed 2" in ended.program
    refused = [line for line in ended.sidecar.splitlines() if " refused name=" in line]
    assert len(refused) == 2
    assert all("scoped_routes" in line for line in refused)


@pytest.mark.parametrize(
    ("mode", "path"),
    [("rest", "dynamic_resources.lds_config"), ("ads", "layered_runtime")],
    ids=["polling", "run-time layers"],
)
def test_without_lenience_the_start_is_refused_by_path(mode: str, path: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps(bootstrap(mode, 1, 2, 1)))
    done = subprocess.run(
        sidecar_command(file), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 3
    assert path in done.stderr
