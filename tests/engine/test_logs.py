"""What a live engine writes into access logs: of requests, of connections, and of those that came to nothing."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from engine_plans import cluster, forward, http_chain, listener, routes, tcp_chain
from engine_tls import Authority, downstream
from engine_wire import Reader, echo, request

from mainstay.sidecar import plan
from waiting import until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from engine_live import Live, Server

    Serve = Callable[..., Server]


def log(path: Path, form: str) -> tuple[plan.AccessLog, ...]:
    return (plan.AccessLog(plan.FileSink(str(path)), plan.TextFormat(form + "\n")),)


def lines(path: Path, count: int) -> list[str]:
    """The lines of a log, once there are so many: they are written at most a second late."""

    def found() -> list[str]:
        return path.read_text().splitlines() if path.exists() else []

    until(lambda: len(found()) >= count, f"{count} lines")
    return found()


def test_trailers_and_heads_are_told(live: Live, serve: Serve, tmp_path: Path) -> None:
    def trail(connection: socket.socket) -> None:
        Reader(connection).message()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-a: 1\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"
        )

    form = "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESP(x-a)% %TRAILER(x-sum)% %TRAILER(y)%"
    chain = http_chain(
        routes(("/", forward("app"))),
        access_logs=log(tmp_path / "log", form),
        http1=plan.Http1Options(enable_trailers=True),
    )
    live.apply(cluster("app", serve(trail).port), listener("web", chain))
    with live.dial("web") as client:
        client.sendall(request("GET", "/a", "te: trailers"))
        assert Reader(client).message().body == b"ok"
    assert lines(tmp_path / "log", 1) == ["GET /a 200 - 1 7 -"]


def test_connections_without_a_chain_are_told_by_the_listener(live: Live, tmp_path: Path) -> None:
    path = tmp_path / "log"
    chain = http_chain(routes(("/", forward("app"))))
    chain = plan.FilterChain("http", chain.terminal, plan.ChainMatch(transport_protocol="tls"), downstream())
    live.apply(
        Authority().issue("web.test").secret("leaf"),
        listener(
            "web",
            chain,
            listener_filters=(plan.TlsInspector(),),
            access_logs=log(path, "%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %FILTER_CHAIN_NAME%"),
            detection_timeout=100,
        ),
    )
    with live.dial("web") as client:
        client.sendall(request("GET", "/"))
        with pytest.raises((EOFError, ConnectionResetError)):
            Reader(client).message()
    with live.dial("web") as client:
        assert client.recv(1) == b""
    # Each worker hands its lines over by itself: between two of them there is no order.
    assert sorted(lines(path, 2)) == ["- listener_filters_timeout -", "NR filter_chain_not_found -"]


def test_handshakes_that_fail_are_told_by_the_listener(live: Live, tmp_path: Path) -> None:
    path = tmp_path / "log"
    authority = Authority()
    live.apply(
        authority.issue("web.test").secret("leaf"),
        authority.secret("roots"),
        listener(
            "web",
            http_chain(routes(("/", forward("app"))), tls=downstream(mutual=True)),
            access_logs=log(path, "%FILTER_CHAIN_NAME% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%"),
        ),
    )
    stranger = authority.client()
    stranger.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        stranger.wrap_socket(live.dial("web"))
    (line,) = lines(path, 1)
    assert line.startswith("http ")
    assert "certificate" in line.lower()


def test_pipes_are_told_by_chain_and_listener(live: Live, serve: Serve, tmp_path: Path) -> None:
    form = "%BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER%"
    live.apply(
        cluster("app", serve(echo).port),
        listener(
            "raw",
            tcp_chain("app", access_logs=log(tmp_path / "chain", form)),
            access_logs=log(tmp_path / "listener", form),
        ),
    )
    with live.dial("raw") as client:
        client.sendall(request("GET", "/"))
        Reader(client).message()
    (line,) = lines(tmp_path / "chain", 1)
    received, sent, name = line.split()
    assert (int(received) > 0, int(sent) > 0, name) == (True, True, "app")
    assert lines(tmp_path / "listener", 1) == [line]
