"""What HTTP/1 a live engine refuses, and with which status: shapes that smuggle requests, and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from engine_plans import cluster, forward, http_chain, listener, routes
from engine_wire import Reader, echo, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Live, Server

    Serve = Callable[..., Server]

HEADS = {
    "length and chunked": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "two lengths in one": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 4\r\n\r\nabcd",
    "a signed length": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc",
    "a negative length": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    "a hexadecimal length": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc",
    "a length beyond 64 bits": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\n\r\n",
    "a folded first line": b"GET / HTTP/1.1\r\n host: a\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nhost: a\n\n",
    "a bare line feed between fields": b"GET / HTTP/1.1\r\nhost: a\nx-a: b\r\n\r\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nhost: a\r\nx-a: b\rc\r\n\r\n",
    "a zero byte": b"GET / HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n",
    "a blank before the colon": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 3\r\n\r\nabc",
    "a tab before the colon": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nhost: a\r\nnonsense\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "half a chunked": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
    "a blank in the target": b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
    "two blanks in the request line": b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
    "a method of other characters": b"G(T / HTTP/1.1\r\nhost: a\r\n\r\n",
}

CHUNKS = {
    "no digits": b"\r\n",
    "no hexadecimal digit": b"g\r\n",
    "a sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "a prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a blank before": b" 3\r\nabc\r\n0\r\n\r\n",
    "too large a number": b"11111111111111111\r\n",
    "a bare line feed": b"3\nabc\r\n0\r\n\r\n",
    "too much in the chunk": b"3\r\nabcd\r\n0\r\n\r\n",
    "a line feed behind the chunk": b"3\r\nabc\n0\r\n\r\n",
}


def front(live: Live, *servers: Server, **options: Any) -> None:
    chain = http_chain(routes(("/", forward("app"))), **options)
    live.apply(cluster("app", *(server.port for server in servers)), listener("web", chain))


def test_malformed_heads_are_400_and_a_close(live: Live, serve: Serve) -> None:
    server = serve(echo)
    front(live, server)
    wrong: dict[str, object] = {}
    for name, head in HEADS.items():
        with live.dial("web") as client:
            client.sendall(head)
            reader = Reader(client)
            try:
                status = reader.message().status
                rest = reader.rest()
            except (EOFError, OSError) as error:
                wrong[name] = error
                continue
            if status != 400 or rest:
                wrong[name] = (status, rest)
    assert not wrong
    assert server.accepted == 0


@pytest.mark.parametrize(("version", "status"), [("1.0", 426), ("1.7", 505), ("2.0", 505)])
def test_other_versions_have_their_status(live: Live, serve: Serve, version: str, status: int) -> None:
    front(live, serve(echo))
    with live.dial("web") as client:
        client.sendall(f"GET / HTTP/{version}\r\nhost: a\r\n\r\n".encode())
        reader = Reader(client)
        assert reader.message().status == status
        assert reader.rest() == b""


def test_malformed_chunks_are_400_and_a_close(live: Live, serve: Serve) -> None:
    front(live, serve(echo))
    wrong: dict[str, object] = {}
    for name, chunk in CHUNKS.items():
        with live.dial("web") as client:
            client.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + chunk)
            reader = Reader(client)
            try:
                status = reader.message().status
                rest = reader.rest()
            except (EOFError, OSError) as error:
                wrong[name] = error
                continue
            if status != 400 or rest:
                wrong[name] = (status, rest)
    assert not wrong


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (["x: y"] * 98, 200),
        (["x: y"] * 100, 431),
        (["x: " + "y" * 59_000], 200),
        (["x: " + "y" * 62_000], 431),
    ],
    ids=["count", "too many", "size", "too large"],
)
def test_headers_have_limits(live: Live, serve: Serve, fields: list[str], status: int) -> None:
    front(live, serve(echo))
    with live.dial("web") as client:
        client.sendall(request("GET", "/", *fields))
        assert Reader(client).message().status == status


def test_a_head_that_trickles_is_408(live: Live, serve: Serve) -> None:
    front(live, serve(echo), request_headers_timeout=100)
    with live.dial("web") as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost:")
        reader = Reader(client)
        assert reader.message().status == 408
        assert reader.rest() == b""


def test_an_endpoint_that_is_malformed_is_502(live: Live, serve: Serve) -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
    ]

    def answer(connection: object) -> None:
        Reader(connection).message()  # type: ignore[arg-type]
        connection.sendall(answers.pop(0))  # type: ignore[attr-defined]

    front(live, serve(answer))
    for _ in range(len(answers)):
        with live.dial("web") as client:
            client.sendall(request("GET", "/"))
            assert Reader(client).message().status == 502
