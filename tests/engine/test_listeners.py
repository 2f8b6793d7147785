"""Listeners come, change and go while the engine serves; nobody else's connections notice."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING

import pytest
from engine_live import Live
from engine_plans import LOOPBACK, cluster, delta, forward, http_chain, listener, routes, tcp_chain
from engine_wire import Reader, echo, request

from mainstay.engine import Drained, ListenerBound, RefusedEvent, Stopped
from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Server

    Serve = Callable[..., Server]


def respond(text: bytes) -> plan.RespondAction:
    return plan.RespondAction(plan.DirectResponse(200, text))


def ask(client: socket.socket, path: str = "/") -> bytes:
    client.sendall(request("GET", path))
    return Reader(client).message().body


def test_an_address_is_reported_and_kept_through_changes(live: Live) -> None:
    live.apply(listener("web", http_chain(routes(("/", respond(b"old"))))))
    bound = live.event(ListenerBound)
    assert isinstance(bound, ListenerBound)
    assert (bound.name, bound.address) == ("web", f"{LOOPBACK}:{live.port('web')}")
    port = live.port("web")
    live.apply(listener("web", http_chain(routes(("/", respond(b"new"))))))
    assert live.port("web") == port
    with live.dial("web") as client:
        assert ask(client) == b"new"


def test_a_change_leaves_connections_of_other_listeners_alone(live: Live) -> None:
    live.apply(
        listener("one", http_chain(routes(("/", respond(b"1"))))),
        listener("two", http_chain(routes(("/", respond(b"2"))))),
    )
    with live.dial("one") as client:
        assert ask(client) == b"1"
        live.apply(listener("two", http_chain(routes(("/", respond(b"2'"))))), removed=())
        live.apply(listener("three", http_chain(routes(("/", respond(b"3"))))))
        assert ask(client) == b"1"
        live.apply(removed=(("listener", "two"),))
        assert ask(client) == b"1"


def test_connections_of_a_changed_chain_end_politely(live: Live) -> None:
    live.apply(listener("web", http_chain(routes(("/", respond(b"old"))))))
    with live.dial("web") as client:
        assert ask(client) == b"old"
        live.apply(listener("web", http_chain(routes(("/", respond(b"new"))))))
        # Idle: it is closed. Whoever asks anew is served by what is in force.
        assert client.recv(1) == b""
    with live.dial("web") as client:
        assert ask(client) == b"new"


def test_a_removed_listener_accepts_nobody(live: Live) -> None:
    live.apply(listener("web", http_chain(routes(("/", respond(b"x"))))))
    port = live.port("web")
    live.apply(removed=(("listener", "web"),))
    assert live.engine.listeners() == []
    # Its workers let go of it one after the other.
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        knock_for_ever(port)


def knock_for_ever(port: int) -> None:
    while True:
        socket.create_connection((LOOPBACK, port), timeout=5).close()


def test_a_taken_port_is_refused_and_the_others_serve(live: Live) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        live.apply(
            listener("bad", http_chain(routes(("/", respond(b"x")))), at=port),
            listener("good", http_chain(routes(("/", respond(b"x"))))),
        )
        refused = live.event(RefusedEvent)
    assert isinstance(refused, RefusedEvent)
    assert (refused.name, refused.path) == ("bad", "address")
    assert refused.reason.startswith(f"127.0.0.1:{port} cannot be bound: Address already in use")
    with live.dial("good") as client:
        assert ask(client) == b"x"


def test_a_taken_port_is_tried_again_when_its_listener_is_handed_over_again(live: Live) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        late = listener("late", http_chain(routes(("/", respond(b"x")))), at=taken.getsockname()[1])
        live.apply(late)
        for _ in range(2):
            refused = live.event(RefusedEvent)
            assert isinstance(refused, RefusedEvent)
            assert refused.name == "late"
            live.apply(late)
        live.event(RefusedEvent)
    live.apply(late)
    bound = live.event(ListenerBound)
    assert isinstance(bound, ListenerBound)
    assert bound.name == "late"
    with live.dial("late") as client:
        assert ask(client) == b"x"


def test_a_listener_on_a_unix_socket_serves(live: Live, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("s") / "web")
    live.apply(listener("web", http_chain(routes(("/", respond(b"unix")))), at=path))
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        assert ask(client) == b"unix"


def test_first_bytes_choose_the_chain(live: Live, serve: Serve) -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(b"raw")
        Reader(connection).rest()

    http = http_chain(routes(("/", respond(b"http"))))
    http = plan.FilterChain("http", http.terminal, plan.ChainMatch(application_protocols=("http/1.1", "h2c")))
    live.apply(
        cluster("app", serve(speak).port),
        listener(
            "any",
            http,
            default_chain=tcp_chain("app"),
            listener_filters=(plan.HttpInspector(()),),
            detection_timeout=50,
            continue_on_detection_timeout=True,
        ),
    )
    with live.dial("any") as client:
        assert ask(client) == b"http"
    with live.dial("any") as client:
        client.sendall(b"\x00\x01\x02")
        assert Reader(client).exactly(3) == b"raw"
    with live.dial("any") as client:
        # Silence is taken for a protocol whose server speaks first.
        assert Reader(client).exactly(3) == b"raw"


def test_a_connection_is_handed_to_the_listener_of_its_destination(live: Live) -> None:
    with socket.create_server((LOOPBACK, 0)) as reserved:
        port = reserved.getsockname()[1]
    live.apply(
        listener(
            "front", http_chain(routes(("/", respond(b"front")))), at=port, use_original_destination=True
        ),
        listener("meant", http_chain(routes(("/", respond(b"meant")))), at=port, bind=False),
    )
    with live.dial("front") as client:
        assert ask(client) == b"meant"
    live.apply(removed=(("listener", "meant"),))
    with live.dial("front") as client:
        assert ask(client) == b"front"


def test_a_full_listener_closes_who_comes(live: Live) -> None:
    live.apply(listener("web", http_chain(routes(("/", respond(b"x")))), connection_limit=1))
    with live.dial("web") as first:
        assert ask(first) == b"x"
        with live.dial("web") as second, contextlib.suppress(ConnectionResetError):
            assert second.recv(1) == b""
        assert ask(first) == b"x"


def test_a_drain_ends_idle_connections_and_lets_requests_finish(live: Live, serve: Serve) -> None:
    release: list[bool] = []

    def slow(connection: socket.socket) -> None:
        reader = Reader(connection)
        reader.message()
        while not release:
            pass
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")

    live.apply(cluster("app", serve(slow).port), listener("web", http_chain(routes(("/", forward("app"))))))
    with live.dial("web") as idle, live.dial("web") as busy:
        busy.sendall(request("GET", "/"))
        token = live.engine.drain("process", 0, 10_000)
        assert idle.recv(1) == b""
        release.append(True)
        answer = Reader(busy).message()
        assert (answer.body, answer.headers.get("connection")) == (b"done", "close")
    drained = live.event(Drained)
    assert drained == Drained(token, 0)


def test_who_comes_during_a_drain_is_told_at_once(live: Live) -> None:
    live.apply(listener("web", http_chain(routes(("/", respond(b"x"))))))
    with live.dial("web") as before:
        before.sendall(request("GET", "/"))
        assert Reader(before).message().headers.get("connection") is None
        live.engine.drain("inbound", 5_000, 10_000)
        with live.dial("web") as late:
            late.sendall(request("GET", "/"))
            assert Reader(late).message().headers.get("connection") == "close"


def test_a_drain_cuts_what_does_not_end(live: Live, serve: Serve) -> None:
    live.apply(
        cluster("app", serve(lambda connection: Reader(connection).rest()).port),
        listener("raw", tcp_chain("app")),
    )
    with live.dial("raw") as client:
        client.sendall(b"x")
        token = live.engine.drain("process", 0, 100)
        assert live.event(Drained) == Drained(token, 1)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_the_engine_s_own_log_is_json_where_that_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    live = Live(log_json=True)
    live.apply(listener("web", http_chain(routes(("/", respond(b"x")))), connection_limit=1))
    live.engine.set_log_level("", "debug")
    with live.dial("web") as first:
        assert ask(first) == b"x"
        with live.dial("web") as second, contextlib.suppress(ConnectionResetError):
            assert second.recv(1) == b""
    live.engine.shutdown(1_000)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    [told] = [line for line in lines if line["message"] == "a client was turned away"]
    assert (told["level"], told["room"], told["listener"]) == ("debug", "engine.reactor", "web")
    assert told["why"] == "connection limit"


def test_stopped_is_the_last_event(live: Live) -> None:
    live.engine.set_timer(0, 7)
    live.apply(listener("web", http_chain(routes(("/", respond(b"x"))))))
    live.engine.shutdown(1_000)
    assert isinstance(live.event(Stopped), Stopped)
    assert live.engine.wait(0) == []


def test_what_is_refused_keeps_its_last_good_version(live: Live) -> None:
    live.apply(listener("web", http_chain(routes(("/", respond(b"good"))))))
    chain = http_chain(routes(("/", respond(b"bad"))))
    bad = plan.Listener("web", plan.Socket(LOOPBACK, 0), (chain, chain))
    report = live.engine.apply(delta(bad))
    assert [refused.name for refused in report.refused] == ["web"]
    with live.dial("web") as client:
        assert ask(client) == b"good"


def test_an_echo_behind_many_endpoints_is_found(live: Live, serve: Serve) -> None:
    servers = [serve(echo) for _ in range(3)]
    live.apply(
        cluster("app", *(server.port for server in servers)),
        listener("web", http_chain(routes(("/", forward("app"))))),
    )
    for _ in range(6):
        with live.dial("web") as client:
            assert ask(client, "/a") == b"GET /a "
    assert all(server.accepted for server in servers)
