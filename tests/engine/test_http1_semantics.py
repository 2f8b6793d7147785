"""Corners of HTTP/1 on a live engine: expectations, interim answers, forms of the target, versions, hop-by-hop fields."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from engine_plans import cluster, forward, http_chain, listener, routes
from engine_wire import Reader, chunked, echo, request, response

from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Live, Server

    Serve = Callable[..., Server]


class Seen:
    """A server that keeps the heads it saw."""

    def __init__(self) -> None:
        self.heads: list[tuple[str, dict[str, str]]] = []

    def __call__(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            try:
                message = reader.message()
            except EOFError:
                return
            self.heads.append((message.start, message.headers))
            connection.sendall(response(200, message.body))


def front(live: Live, *servers: Server, **options: Any) -> None:
    chain = http_chain(routes(("/", forward("app"))), **options)
    live.apply(cluster("app", *(server.port for server in servers)), listener("web", chain))


def test_an_expectation_is_met_here(live: Live, serve: Serve) -> None:
    seen = Seen()
    front(live, serve(seen))
    with live.dial("web") as client:
        client.sendall(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        reader = Reader(client)
        assert reader.message(bodiless=True).status == 100
        client.sendall(b"hello")
        assert reader.message().body == b"hello"
    assert "expect" not in seen.heads[0][1]


def test_an_expectation_is_the_endpoints_where_the_plan_says_so(live: Live, serve: Serve) -> None:
    def careful(connection: socket.socket) -> None:
        reader = Reader(connection)
        start, headers = reader.head()
        assert headers["expect"] == "100-continue"
        if start.startswith("POST /no"):
            connection.sendall(response(417, b"no"))
            return
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It closes afterwards, and says so: the next request must not be tried on this connection.
        connection.sendall(response(200, reader.exactly(5), "connection: close"))

    front(live, serve(careful), proxy_100_continue=True)
    expecting = ("expect: 100-continue", "content-length: 5")
    with live.dial("web") as client:
        client.sendall(request("POST", "/", *expecting))
        reader = Reader(client)
        assert reader.message(bodiless=True).status == 100
        client.sendall(b"hello")
        assert reader.message().body == b"hello"
    with live.dial("web") as client:
        client.sendall(request("POST", "/no", *expecting))
        assert Reader(client).message().status == 417


def test_an_absolute_target_names_host_and_path(live: Live, serve: Serve) -> None:
    seen = Seen()
    front(live, serve(seen))
    with live.dial("web") as client:
        reader = Reader(client)
        client.sendall(b"GET http://shop.test:8080/a?b=c HTTP/1.1\r\nhost: shop.test:8080\r\n\r\n")
        assert reader.message().status == 200
        client.sendall(b"GET http://shop.test HTTP/1.1\r\nhost: Shop.test\r\n\r\n")
        assert reader.message().status == 200
        # Routed by one name and named by another: an attempt at being taken for two requests.
        client.sendall(b"GET http://shop.test/ HTTP/1.1\r\nhost: other\r\n\r\n")
        assert reader.message().status == 400
    assert seen.heads[0][0] == "GET /a?b=c HTTP/1.1"
    assert seen.heads[0][1]["host"] == "shop.test:8080"
    assert seen.heads[1][0] == "GET / HTTP/1.1"


def test_hop_by_hop_fields_stay_on_their_hop(live: Live, serve: Serve) -> None:
    seen = Seen()
    front(live, serve(seen))
    with live.dial("web") as client:
        client.sendall(
            request(
                "GET",
                "/",
                "connection: keep-alive, x-mine",
                "x-mine: 1",
                "keep-alive: timeout=5",
                "proxy-connection: keep-alive",
                "proxy-authorization: basic x",
                "te: gzip, trailers",
                "upgrade: nothing",
                "x-theirs: 2",
            )
        )
        assert Reader(client).message().status == 200
    headers = seen.heads[0][1]
    for name in ("x-mine", "keep-alive", "proxy-connection", "upgrade"):
        assert name not in headers, name
    assert headers.get("te", "trailers") == "trailers"
    assert headers["x-theirs"] == "2"


def test_http_10_is_served_where_the_plan_says_so(live: Live, serve: Serve) -> None:
    front(live, serve(echo), http1=plan.Http1Options(accept_http_10=True))
    with live.dial("web") as client:
        client.sendall(b"GET /old HTTP/1.0\r\nhost: a\r\n\r\n")
        reader = Reader(client)
        assert reader.message().body == b"GET /old "
        assert reader.rest() == b""
    with live.dial("web") as client:
        reader = Reader(client)
        for _ in range(2):
            client.sendall(b"GET /old HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n")
            assert reader.message().body == b"GET /old "


def test_a_client_that_asks_for_the_end_gets_it(live: Live, serve: Serve) -> None:
    front(live, serve(echo))
    with live.dial("web") as client:
        client.sendall(request("GET", "/", "connection: close"))
        reader = Reader(client)
        answer = reader.message()
        assert answer.headers["connection"] == "close"
        assert reader.rest() == b""


def test_answers_to_head_and_without_content_have_no_body(live: Live, serve: Serve) -> None:
    def short(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            try:
                start = reader.message().start
            except EOFError:
                return
            if start.startswith("HEAD"):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            elif "/204" in start:
                connection.sendall(b"HTTP/1.1 204 X\r\n\r\n")
            elif "/304" in start:
                connection.sendall(b"HTTP/1.1 304 X\r\ncontent-length: 7\r\n\r\n")
            else:
                connection.sendall(response(200, b"end"))

    front(live, serve(short))
    with live.dial("web") as client:
        reader = Reader(client)
        client.sendall(request("HEAD", "/") + request("GET", "/204") + request("GET", "/304"))
        client.sendall(request("GET", "/"))
        head = reader.message(bodiless=True)
        assert head.headers["content-length"] == "1000"
        assert reader.message(bodiless=True).status == 204
        assert reader.message(bodiless=True).status == 304
        assert reader.message().body == b"end"


def test_an_answer_that_ends_with_its_connection_is_whole(live: Live, serve: Serve) -> None:
    def old(connection: socket.socket) -> None:
        Reader(connection).message()
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)

    front(live, serve(old))
    with live.dial("web") as client:
        client.sendall(request("GET", "/"))
        assert Reader(client).message().body == b"x" * 100_000


def test_trailers_pass_where_the_plan_says_so(live: Live, serve: Serve) -> None:
    seen: list[bytes] = []

    def trail(connection: socket.socket) -> None:
        reader = Reader(connection)
        reader.head()
        assert reader.until(b"0\r\n") == b"3\r\nabc\r\n"
        seen.append(reader.until(b"\r\n\r\n"))
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-down: 2\r\n\r\n"
        )

    front(live, serve(trail), http1=plan.Http1Options(enable_trailers=True))
    with live.dial("web") as client:
        client.sendall(
            request("POST", "/", "transfer-encoding: chunked", "te: trailers")
            + b"3\r\nabc\r\n0\r\nx-up: 1\r\n\r\n"
        )
        reader = Reader(client)
        reader.head()
        assert reader.until(b"\r\n0\r\n") == b"2\r\nok"
        assert reader.until(b"\r\n\r\n") == b"x-down: 2"
    assert seen == [b"x-up: 1"]


def test_many_pipelined_bodies_are_answered_in_order(live: Live, serve: Serve) -> None:
    front(live, serve(echo))
    sizes = [0, 1, 70_000, 3, 20_000, 0, 9] * 10
    with live.dial("web") as client:

        def send() -> None:
            for index, size in enumerate(sizes):
                fields = ("transfer-encoding: chunked",) if index % 2 else ()
                body = b"z" * size
                if index % 2:
                    client.sendall(
                        request("PUT", f"/{index}", *fields) + (chunked(body) if body else b"0\r\n\r\n")
                    )
                else:
                    client.sendall(request("PUT", f"/{index}", body=body))

        thread = threading.Thread(target=send)
        thread.start()
        reader = Reader(client)
        for index, size in enumerate(sizes):
            assert reader.message().body == f"PUT /{index} ".encode() + b"z" * size
        thread.join()


@pytest.mark.parametrize("path", ["/a/../b", "/a/%2e%2e/b", "/./b", "//b", "/a//../b"])
def test_paths_are_normal_before_they_are_matched(live: Live, serve: Serve, path: str) -> None:
    seen = Seen()
    front(live, serve(seen), normalize_path=True, merge_slashes=True)
    with live.dial("web") as client:
        client.sendall(request("GET", path))
        assert Reader(client).message().status == 200
    assert seen.heads[0][0] in ("GET /b HTTP/1.1", "GET /a/b HTTP/1.1")
