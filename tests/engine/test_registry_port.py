"""The port at which the application beside us registers itself: who is served, with what, and what is refused in words."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from engine_live import PATIENCE, Live
from engine_plans import LOOPBACK
from engine_wire import Reader

from mainstay.engine import Asked, ListenerBound
from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLISH = b'{"serviceName":"com.acme.Quotes:1.0"}'


@pytest.fixture
def registry() -> Iterator[tuple[Live, str, int]]:
    live = Live(registry=plan.Socket(LOOPBACK, 0))
    bound = live.event(ListenerBound)
    assert isinstance(bound, ListenerBound)
    host, _, port = bound.address.rpartition(":")
    yield live, host, int(port)
    live.engine.shutdown(1_000)


def post(*lines: str, body: bytes = PUBLISH, host: str = LOOPBACK) -> bytes:
    head = ["POST /services/publish HTTP/1.1", f"Host: {host}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


LENGTH = f"Content-Length: {len(PUBLISH)}"


@pytest.mark.parametrize(
    "request_",
    [
        post("Content-Type: text/plain", LENGTH),
        post("Content-Type: application/json; charset=utf-8", LENGTH),
        post("Content-Type: application/x-www-form-urlencoded", LENGTH),
        post(LENGTH),
        post(LENGTH, host="localhost:13330"),
        post(LENGTH, host="[::1]:13330"),
    ],
    ids=["Java's", "Python's", "another", "none", "localhost", "IPv6"],
)
def test_a_post_is_taken_whatever_its_content_type_says(
    registry: tuple[Live, str, int], request_: bytes
) -> None:
    live, host, port = registry
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(request_)
        asked = live.event(Asked)
        assert isinstance(asked, Asked)
        assert (asked.asker, asked.path, asked.body) == ("application", "/services/publish", PUBLISH)
        live.engine.answer(asked.token, 200, "application/json", b'{"success":true}')
        answer = Reader(connection).message()
        assert (answer.status, answer.body) == (200, b'{"success":true}')


def test_a_client_that_waits_for_a_go_ahead_gets_it(registry: tuple[Live, str, int]) -> None:
    live, host, port = registry
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(post(LENGTH, "Expect: 100-continue", body=b""))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(PUBLISH)
        asked = live.event(Asked)
        assert isinstance(asked, Asked)
        assert asked.body == PUBLISH


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (b"GET /services/publish HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "POST"),
        (post(LENGTH, "Origin: http://news.example"), 403, "pages in a browser"),
        (post(LENGTH, "Origin: null"), 403, "pages in a browser"),
        (post(LENGTH, host="rebound.example"), 403, "Host"),
        (post(LENGTH, host="localhost.example"), 403, "Host"),
        (post("Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 411, "Transfer-Encoding"),
        (post(LENGTH, "Content-Length: 3"), 411, "one Content-Length"),
        (post("Content-Length: 1048577", body=b"x" * 40_000), 413, "1 MiB"),
    ],
)
def test_who_is_refused_hears_why_as_these_clients_read_it(
    registry: tuple[Live, str, int], request_: bytes, status: int, words: str
) -> None:
    live, host, port = registry
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(request_)
        answer = Reader(connection).message()
        told = json.loads(answer.body)
        assert (answer.status, told["success"]) == (status, False)
        assert words in told["errorMessage"]
    # Nobody was asked: the next question is that of the next request.
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(post("Content-Length: 4", body=b"next"))
        asked = live.event(Asked)
        assert isinstance(asked, Asked)
        assert asked.body == b"next"
