"""One port that declares nothing: what a connection speaks shows in its first bytes, or in its silence."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rpc_bolt as bolt
import rpc_dubbo as dubbo
from engine_wire import Reader
from rpc_bootstrap import (
    HTTP_INSPECTOR,
    chain,
    cluster,
    described,
    first_of,
    for_protocols,
    http_chain,
    inspector,
    listener,
    table,
    tcp_chain,
    to,
    write,
)

if TYPE_CHECKING:
    from engine_live import Server

Start = Callable[[str, Path, int], None]
Serve = Callable[..., "Server"]
Ports = Callable[[], int]


def http(connection: socket.socket) -> None:
    Reader(connection).until(b"\r\n\r\n")
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhttp")


def greeter(connection: socket.socket) -> None:
    """Speaks first, and then repeats."""
    connection.sendall(b"hello ")
    while data := connection.recv(65_536):
        connection.sendall(data)


@pytest.fixture
def port(start: Start, serve: Serve, ports: Ports, tmp_path: Path) -> int:
    servers = {
        "bolt": serve(bolt.called("bolt")),
        "dubbo": serve(dubbo.called("dubbo")),
        "http": serve(http),
        "tcp": serve(greeter),
    }

    def rpc(protocol: str) -> dict[str, object]:
        routes = table(first_of(otherwise=to(protocol)))
        return for_protocols(chain(described(protocol), routes), protocol)

    chosen = ports()
    made = listener(
        chosen,
        rpc("bolt"),
        rpc("dubbo"),
        for_protocols(http_chain("http"), "http/1.1", "h2c"),
        default_filter_chain=tcp_chain("tcp"),
        listener_filters=[HTTP_INSPECTOR, inspector("bolt", "dubbo")],
        listener_filters_timeout="0.5s",
        continue_on_listener_filters_timeout=True,
    )
    clusters = [cluster(name, server.port) for name, server in servers.items()]
    start("mainstay", write(tmp_path / "detect.yaml", [made], clusters), chosen)
    return chosen


def said(port: int, what: bytes, count: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(what)
        return Reader(connection).exactly(count)


def test_each_protocol_is_told_by_its_first_bytes(port: int) -> None:
    assert bolt.ask(port, bolt.request(1, "s:1.0", "m")) == [bolt.Answer(1, 0, b"bolt m ")]
    assert dubbo.ask(port, dubbo.request(1, "s", "m")) == [dubbo.Answer(1, dubbo.OK, "dubbo")]
    assert said(port, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", 15) == b"HTTP/1.1 200 OK"
    assert said(port, b"*1\r\n$4\r\nPING\r\n", 11) == b"hello *1\r\n$"


def test_bytes_that_come_one_by_one_are_waited_for(port: int) -> None:
    call = bolt.request(1, "s:1.0", "m")
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(call)):
            connection.sendall(call[at : at + 1])
        assert bolt.read_answer(Reader(connection)) == bolt.Answer(1, 0, b"bolt m ")


def test_who_waits_for_the_server_gets_bytes_as_they_are_when_the_time_is_over(port: int) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        assert Reader(connection).exactly(6) == b"hello "
    assert time.monotonic() - began >= 0.5
