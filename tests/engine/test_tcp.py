"""Layer 4 through a live engine: bytes, half-closes and resets go through as they came."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from engine_plans import cluster, listener, tcp_chain
from engine_wire import Reader

from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Live, Server

    Serve = Callable[..., Server]


def front(live: Live, server: Server) -> None:
    live.apply(cluster("app", server.port), listener("raw", tcp_chain("app")))


def test_a_half_close_lets_the_answer_through(live: Live, serve: Serve) -> None:
    def count(connection: socket.socket) -> None:
        connection.sendall(str(len(Reader(connection).rest())).encode())

    front(live, serve(count))
    with live.dial("raw") as client:
        client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        assert Reader(client).rest() == b"100000"


def test_a_server_may_speak_first(live: Live, serve: Serve) -> None:
    front(live, serve(lambda connection: connection.sendall(b"220 ready")))
    with live.dial("raw") as client:
        assert Reader(client).rest() == b"220 ready"


def test_bulk_passes_both_ways_at_once(live: Live, serve: Serve) -> None:
    payload = bytes(range(251)) * 60_000

    def both(connection: socket.socket) -> None:
        writer = threading.Thread(target=connection.sendall, args=(payload,))
        writer.start()
        assert Reader(connection).exactly(len(payload)) == payload
        writer.join()

    front(live, serve(both))
    with live.dial("raw") as client:
        writer = threading.Thread(target=client.sendall, args=(payload,))
        writer.start()
        assert Reader(client).exactly(len(payload)) == payload
        writer.join()


def test_a_reset_travels_as_a_reset(live: Live, serve: Serve) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    front(live, serve(reset))
    with live.dial("raw") as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_an_endpoint_that_is_not_there_ends_the_connection(live: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    live.apply(cluster("app", port), listener("raw", tcp_chain("app")))
    with live.dial("raw") as client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""


def options_of(local: int, remote: int) -> tuple[int, int, int, int]:
    """What is set on the engine's end of a connection, found among this process's own sockets by its two ports."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found = socket.socket(fileno=os.dup(int(name)))
            with found:
                if (found.getsockname()[1], found.getpeername()[1]) == (local, remote):
                    kept = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                    is_on = found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                    idle, interval, probes = (found.getsockopt(socket.IPPROTO_TCP, each) for each in kept)
                    return is_on, idle, interval, probes
    raise AssertionError("the engine has no such connection")


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="named so on Linux")
def test_both_sides_keep_connections_alive_as_told(live: Live, serve: Serve) -> None:
    accepted: list[tuple[int, int]] = []

    def answer(connection: socket.socket) -> None:
        accepted.append((connection.getpeername()[1], connection.getsockname()[1]))
        connection.sendall(b"hello")
        connection.recv(1)

    live.apply(
        cluster("app", serve(answer).port, tcp_keepalive=plan.TcpKeepalive(probes=4, time=30, interval=7)),
        listener("web", tcp_chain("app"), tcp_keepalive=plan.TcpKeepalive(probes=5, time=60, interval=9)),
    )
    with live.dial("web") as client:
        assert Reader(client).exactly(5) == b"hello"
        assert options_of(client.getpeername()[1], client.getsockname()[1]) == (1, 60, 9, 5)
        assert options_of(*accepted[0]) == (1, 30, 7, 4)
