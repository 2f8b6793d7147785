"""Ports of the mesh: who is taken for what by the first bytes, and what a strict port never takes."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest
from engine_plans import cluster, http_chain, listener, routes, tcp_chain
from engine_tls import Authority, downstream
from engine_wire import Reader, request

from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine_live import Live, Server

    Serve = Callable[..., Server]

FRONT = "spiffe://cluster.local/ns/shop/sa/front"
MESH_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
INSPECTORS = (plan.TlsInspector(), plan.HttpInspector())


def respond(text: bytes) -> plan.RespondAction:
    return plan.RespondAction(plan.DirectResponse(200, text))


def http(name: str, transport: str, *alpns: str, tls: plan.DownstreamTls | None = None) -> plan.FilterChain:
    made = http_chain(routes(("/", respond(name.encode()))))
    match = plan.ChainMatch(transport_protocol=transport, application_protocols=alpns)
    return plan.FilterChain(name, made.terminal, match, tls)


def stream(name: str, transport: str, *alpns: str, tls: plan.DownstreamTls | None = None) -> plan.FilterChain:
    match = plan.ChainMatch(transport_protocol=transport, application_protocols=alpns)
    return plan.FilterChain(name, tcp_chain("app").terminal, match, tls)


def mesh() -> plan.DownstreamTls:
    return downstream("istio-h2", "istio-http/1.1", "istio", mutual=True)


@pytest.fixture
def authority(live: Live) -> Authority:
    made = Authority()
    live.apply(made.issue("spiffe://cluster.local/ns/shop/sa/cart").secret("leaf"), made.secret("roots"))
    return made


def peer(authority: Authority, folder: Path, *protocols: str) -> ssl.SSLContext:
    context = authority.client(*protocols)
    authority.issue(FRONT).load(context, folder)
    return context


def application(context: ssl.SSLContext | None = None) -> Callable[[socket.socket], None]:
    """Speaks first, then says what it got; with a context, TLS of its own."""

    def serve(connection: socket.socket) -> None:
        if context is not None:
            with context.wrap_socket(connection, server_side=True) as inner:
                inner.sendall(b"own " + inner.recv(100))
            return
        connection.sendall(b"ready ")
        connection.sendall(connection.recv(100))

    return serve


def permissive(live: Live, port: int, timeout: int = 100) -> None:
    live.apply(
        cluster("app", port),
        listener(
            "in",
            http("peer", "tls", *MESH_HTTP, tls=mesh()),
            http("plain", "raw_buffer", "http/1.1", "h2c"),
            stream("peer-stream", "tls", "istio-peer-exchange", "istio", tls=mesh()),
            stream("plain-stream", "raw_buffer"),
            stream("foreign", "tls"),
            direction="inbound",
            listener_filters=INSPECTORS,
            detection_timeout=timeout,
            continue_on_detection_timeout=True,
        ),
    )


def test_a_permissive_port_takes_everything(
    live: Live, authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    permissive(live, serve(application()).port)
    with peer(authority, tmp_path, "istio-http/1.1", "istio").wrap_socket(live.dial("in")) as client:
        client.sendall(request("GET", "/"))
        assert Reader(client).message().body == b"peer"
    with live.dial("in") as client:
        client.sendall(request("GET", "/"))
        assert Reader(client).message().body == b"plain"
    with live.dial("in") as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">IBI", 0, 4, 0)[1:] + b"\0")
        assert Reader(client).exactly(9)[3] == 4
    with peer(authority, tmp_path, "istio").wrap_socket(live.dial("in")) as client:
        client.sendall(b"bytes")
        assert Reader(client).exactly(11) == b"ready bytes"
    with live.dial("in") as client:
        client.sendall(b"\x01\x02\x03\x04")
        assert Reader(client).exactly(10) == b"ready \x01\x02\x03\x04"


@pytest.mark.usefixtures("authority")
def test_foreign_tls_goes_to_the_application(live: Live, serve: Serve, tmp_path: Path) -> None:
    own = Authority()
    permissive(live, serve(application(own.server(own.issue("own.test"), tmp_path))).port)
    for protocols in ((), ("h2", "http/1.1")):
        with own.client(*protocols).wrap_socket(live.dial("in"), server_hostname="own.test") as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"own hello"


@pytest.mark.usefixtures("authority")
def test_silence_is_taken_for_bytes_and_counted(live: Live, serve: Serve) -> None:
    permissive(live, serve(application()).port)
    with live.dial("in") as client:
        assert Reader(client).exactly(6) == b"ready "
    assert "detected_tcp_by_timeout: 1" in live.engine.render("/stats").decode()


def test_a_declared_port_without_tls_does_not_wait(live: Live, serve: Serve) -> None:
    live.apply(
        cluster("app", serve(application()).port),
        listener("in", stream("db", ""), direction="inbound", detection_timeout=None),
    )
    with live.dial("in") as client:
        assert Reader(client).exactly(6) == b"ready "


def test_a_strict_port_never_takes_plain_bytes(
    live: Live, authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    server = serve(application())
    live.apply(
        cluster("app", server.port),
        listener(
            "in",
            http("peer", "tls", *MESH_HTTP, tls=mesh()),
            stream("peer-stream", "tls", tls=mesh()),
            direction="inbound",
            listener_filters=INSPECTORS,
            detection_timeout=100,
            continue_on_detection_timeout=True,
        ),
    )
    for said in (request("GET", "/"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x01\x02\x03", b""):
        with live.dial("in") as client:
            try:
                client.sendall(said)
                assert client.recv(100) == b""
            except ConnectionResetError:
                pass
    stranger = Authority().client("istio")
    stranger.verify_mode = ssl.CERT_NONE
    stranger.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, OSError)):
        stranger.wrap_socket(live.dial("in"))
    assert server.accepted == 0
    with peer(authority, tmp_path, "istio").wrap_socket(live.dial("in")) as client:
        client.sendall(b"bytes")
        assert Reader(client).exactly(11) == b"ready bytes"
