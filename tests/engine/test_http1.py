"""HTTP/1 through a live engine, as bytes on sockets."""

from __future__ import annotations

import queue
import socket
from typing import TYPE_CHECKING, Any

import pytest
from engine_plans import cluster, forward, http_chain, listener, routes
from engine_wire import Reader, chunked, echo, request, response

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Live, Server

    Serve = Callable[..., Server]


def front(live: Live, *servers: Server, **options: Any) -> None:
    chain = http_chain(routes(("/", forward("app"))), **options)
    live.apply(cluster("app", *(server.port for server in servers)), listener("web", chain))


def test_requests_of_a_connection_share_one_to_the_endpoint(live: Live, serve: Serve) -> None:
    server = serve(echo)
    front(live, server)
    with live.dial("web") as client:
        reader = Reader(client)
        for number in range(5):
            client.sendall(request("POST", f"/{number}", body=b"x" * number))
            answer = reader.message()
            assert (answer.status, answer.body) == (200, f"POST /{number} ".encode() + b"x" * number)
    assert server.accepted == 1


def test_pipelined_requests_are_answered_in_order(live: Live, serve: Serve) -> None:
    front(live, serve(echo))
    with live.dial("web") as client:
        client.sendall(b"".join(request("GET", f"/{number}") for number in range(20)))
        reader = Reader(client)
        assert [reader.message().body for _ in range(20)] == [
            f"GET /{number} ".encode() for number in range(20)
        ]


def test_chunked_bodies_pass_both_ways(live: Live, serve: Serve) -> None:
    def reflect(connection: socket.socket) -> None:
        message = Reader(connection).message()
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head + chunked(message.body[:10], message.body[10:]))

    front(live, serve(reflect))
    with live.dial("web") as client:
        client.sendall(request("POST", "/", "transfer-encoding: chunked") + chunked(b"a" * 7, b"b" * 70_000))
        assert Reader(client).message().body == b"a" * 7 + b"b" * 70_000


def test_large_bodies_pass_whole_while_both_sides_are_slow(live: Live, serve: Serve) -> None:
    size = 8 * 1024 * 1024
    front(live, serve(echo))
    with live.dial("web") as client:
        body = bytes(range(256)) * (size // 256)
        client.sendall(request("PUT", "/", body=body))
        assert Reader(client).message().body == b"PUT / " + body


def test_an_upgrade_becomes_a_tunnel(live: Live, serve: Serve) -> None:
    def chat(connection: socket.socket) -> None:
        _start, headers = Reader(connection).head()
        assert headers["upgrade"] == "websocket"
        connection.sendall(b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst")
        while data := connection.recv(1_024):
            connection.sendall(data.upper())

    front(live, serve(chat), upgrades=("websocket",))
    with live.dial("web") as client:
        client.sendall(request("GET", "/", "connection: upgrade", "upgrade: websocket"))
        reader = Reader(client)
        assert reader.message(bodiless=True).status == 101
        assert reader.exactly(5) == b"first"
        client.sendall(b"hello")
        assert reader.exactly(5) == b"HELLO"
        client.shutdown(socket.SHUT_WR)
        assert reader.rest() == b""


def test_an_interim_answer_goes_before_the_final_one(live: Live, serve: Serve) -> None:
    def hint(connection: socket.socket) -> None:
        Reader(connection).message()
        connection.sendall(b"HTTP/1.1 103 X\r\nlink: </a>\r\n\r\n" + response(200, b"ok"))

    front(live, serve(hint))
    with live.dial("web") as client:
        client.sendall(request("GET", "/"))
        reader = Reader(client)
        assert reader.message(bodiless=True).status == 103
        assert reader.message().body == b"ok"


def test_what_is_malformed_is_400_and_the_end(live: Live, serve: Serve) -> None:
    front(live, serve(echo))
    with live.dial("web") as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        reader = Reader(client)
        assert reader.message().status == 400
        assert reader.rest() == b""


def test_a_refused_connection_is_503_with_the_reason(live: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    live.apply(cluster("app", port), listener("web", http_chain(routes(("/", forward("app"))))))
    with live.dial("web") as client:
        client.sendall(request("GET", "/"))
        answer = Reader(client).message()
        assert answer.status == 503
        assert b"refused" in answer.body.lower()


def test_an_endpoint_that_dies_in_its_answer_breaks_the_clients(live: Live, serve: Serve) -> None:
    def die(connection: socket.socket) -> None:
        Reader(connection).message()
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    front(live, serve(die))
    with live.dial("web") as client:
        client.sendall(request("GET", "/"))
        reader = Reader(client)
        with pytest.raises((EOFError, ConnectionResetError)):
            reader.message()


def test_a_client_that_leaves_cancels_its_request(live: Live, serve: Serve) -> None:
    asked, ended = queue.SimpleQueue[None](), queue.SimpleQueue[bytes]()

    def wait(connection: socket.socket) -> None:
        Reader(connection).message()
        asked.put(None)
        try:
            ended.put(connection.recv(1))
        except ConnectionResetError:
            ended.put(b"")

    server = serve(wait)
    front(live, server)
    with live.dial("web") as client:
        client.sendall(request("GET", "/"))
        asked.get(timeout=30)
    assert ended.get(timeout=30) == b""


def test_endpoints_on_unix_sockets_are_reached(
    live: Live, serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("s") / "app")
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(path)
    bound.listen()
    serve(echo, bound)
    live.apply(cluster("app", path), listener("web", http_chain(routes(("/", forward("app"))))))
    with live.dial("web") as client:
        client.sendall(request("GET", "/unix"))
        assert Reader(client).message().body == b"GET /unix "
