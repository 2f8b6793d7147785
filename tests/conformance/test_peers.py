"""Suites that others wrote, through our proxies: h2spec (HTTP/2) and gRPC's interop cases, as grpc-go has them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conformance_chain import NEXT, SPOKEN, Link, Row, common_tls
from conformance_world import free_ports, write_certificates

from mainstay.up.machine import accepts
from waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.h2spec]

GRPC_CASES = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
    "channel_soak",
)
Record = Callable[[str, object], None]


def program(variable: str) -> str:
    found = os.environ.get(variable, "")
    assert found, "run `make conformance`, which installs it"
    return found


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    write_certificates(tmp_path / "certs")
    return tmp_path / "certs"


@pytest.fixture
def row(envoy: str, tmp_path: Path) -> Iterator[Row]:
    ports = free_ports()
    made = Row(envoy, tmp_path, lambda: next(ports))
    yield made
    made.stop()


@pytest.fixture
def grpc_server() -> Iterator[int]:
    """grpc-go's interop server; gives its port."""
    port = next(free_ports())
    command = [str(Path(program("MAINSTAY_TEST_GRPC")) / "server"), "-port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: accepts("127.0.0.1", port), "the interop server listens")
    yield port
    process.kill()
    process.wait()


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("http2", [False, True], ids=["http1-upstream", "http2-upstream"])
def test_h2spec(row: Row, certificates: Path, secure: bool, http2: bool, record_property: Record) -> None:
    """The upstream waits for the request's end: an earlier answer could come before what is wrong with the request."""
    down = common_tls(certificates, "server", verify=False) if secure else None
    upstream = row.start("envoy", Link(SPOKEN, codec="AUTO", waits=True), None)
    port = row.start("mainstay", Link(NEXT, down, http2=http2), upstream)
    command = [program("MAINSTAY_TEST_H2SPEC"), "-h", "127.0.0.1", "-p", str(port), "--timeout", "5"]
    command += ["-t", "-k"] if secure else []
    result = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", result.stdout)
    where = f"{'TLS' if secure else 'in clear text'}, to an HTTP/{'2' if http2 else '1'} upstream"
    record_property("table", f"h2spec, {where}: {counts[0] if counts else 'no result'}")
    assert result.returncode == 0, result.stdout[-6_000:]


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "mutual-tls"])
def test_grpc_interop_through_a_pair(
    row: Row, certificates: Path, grpc_server: int, secure: bool, record_property: Record
) -> None:
    """Client, its proxy, the server's proxy, server."""
    inner, outer = Link(NEXT), Link(NEXT)
    if secure:
        inner = Link(NEXT, down=common_tls(certificates, "server", verify=True), mutual=True)
        outer = Link(NEXT, up=common_tls(certificates, "client", verify=True))
    port = row.start("mainstay", outer, row.start("mainstay", inner, grpc_server))
    client = str(Path(program("MAINSTAY_TEST_GRPC")) / "client")
    failed = {}
    for case in GRPC_CASES:
        command = [client, "-server_host", "127.0.0.1", "-server_port", str(port), "-test_case", case]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if result.returncode != 0:
            failed[case] = result.stderr[-1_500:]
    said = [f"gRPC interop through two proxies, {'mutual TLS' if secure else 'clear text'}:"]
    said += [f"  {case}: {'failed' if case in failed else 'passed'}" for case in GRPC_CASES]
    record_property("table", "\n".join(said))
    assert not failed, "\n".join(f"{case}: {why}" for case, why in failed.items())
