"""TLS on both sides of a live engine, and HTTP/2 that its ALPN chooses."""

from __future__ import annotations

import contextlib
import ssl
import struct
from typing import TYPE_CHECKING

import pytest
from engine_live import stat
from engine_plans import cluster, forward, http_chain, listener, routes, tcp_chain
from engine_tls import Authority, downstream, upstream
from engine_wire import Reader, echo, request

from mainstay.sidecar import plan

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from engine_live import Live, Server

    Serve = Callable[..., Server]

CART = "spiffe://cluster.local/ns/shop/sa/cart"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def respond(text: bytes) -> plan.RespondAction:
    return plan.RespondAction(plan.DirectResponse(200, text))


def test_a_client_of_tls_is_served(live: Live, authority: Authority, serve: Serve) -> None:
    chain = http_chain(routes(("/", forward("app"))), tls=downstream("http/1.1"))
    leaf = authority.issue("web.test").secret("leaf")
    live.apply(leaf, cluster("app", serve(echo).port), listener("web", chain))
    with authority.client("http/1.1").wrap_socket(live.dial("web")) as client:
        assert client.selected_alpn_protocol() == "http/1.1"
        reader = Reader(client)
        body = bytes(range(256)) * 8_192
        for _ in range(2):
            client.sendall(request("POST", "/a", body=body))
            assert reader.message().body == b"POST /a " + body


def test_a_client_without_the_wanted_certificate_is_turned_away(
    live: Live, authority: Authority, tmp_path: Path
) -> None:
    chain = http_chain(routes(("/", respond(b"in"))), tls=downstream("http/1.1", mutual=True))
    leaf = authority.issue("web.test").secret("leaf")
    live.apply(leaf, authority.secret("roots"), listener("web", chain))
    stranger = authority.client()
    stranger.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        stranger.wrap_socket(live.dial("web"))
    known = authority.client()
    authority.issue(CART).load(known, tmp_path)
    with known.wrap_socket(live.dial("web")) as client:
        client.sendall(request("GET", "/"))
        assert Reader(client).message().body == b"in"


def test_an_endpoint_of_mutual_tls_is_reached_and_checked(
    live: Live, authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    context = authority.server(authority.issue(CART), tmp_path, mutual=True)

    def secure(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            echo(inner)

    server = serve(secure)
    ours = authority.issue("spiffe://cluster.local/ns/shop/sa/web").secret("ours")
    live.apply(
        ours,
        authority.secret("roots"),
        cluster("app", server.port, tls=upstream(any_of=(CART,), certificate="ours")),
        cluster("other", server.port, tls=upstream(any_of=("spiffe://x/y",), certificate="ours")),
        listener("web", http_chain(routes(("/other", forward("other")), ("/", forward("app"))))),
    )
    with live.dial("web") as client:
        reader = Reader(client)
        client.sendall(request("GET", "/a"))
        assert reader.message().body == b"GET /a "
        client.sendall(request("GET", "/other"))
        assert reader.message().status == 503


def test_a_changed_secret_serves_new_handshakes(live: Live, authority: Authority) -> None:
    chain = http_chain(routes(("/", respond(b"x"))), tls=downstream())
    live.apply(authority.issue("old.test").secret("leaf"), listener("web", chain))

    def names() -> str:
        with authority.client().wrap_socket(live.dial("web")) as client:
            return str(client.getpeercert())

    assert "old.test" in names()
    live.apply(authority.issue("new.test").secret("leaf"))
    assert "new.test" in names()


def test_bytes_pass_through_tls_with_their_ends(live: Live, authority: Authority, serve: Serve) -> None:
    def reply(connection: socket.socket) -> None:
        data = Reader(connection).exactly(1_000_000)
        connection.sendall(data[::-1])

    leaf = authority.issue("web.test").secret("leaf")
    live.apply(leaf, cluster("app", serve(reply).port), listener("raw", tcp_chain("app", tls=downstream())))
    payload = bytes(range(250)) * 4_000
    with authority.client().wrap_socket(live.dial("raw"), suppress_ragged_eofs=False) as client:
        client.sendall(payload)
        # The end is a close_notify: without it this would raise.
        assert Reader(client).rest() == payload[::-1]


def test_bytes_and_end_in_the_handshakes_last_flight_are_taken_in_order(
    live: Live, authority: Authority, serve: Serve
) -> None:
    """A client in a hurry: the end of its handshake, all it has to say and its close_notify in one segment."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(Reader(connection).rest()[::-1])

    leaf = authority.issue("web.test").secret("leaf")
    live.apply(leaf, cluster("app", serve(reply).port), listener("raw", tcp_chain("app", tls=downstream())))
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client().wrap_bio(received, sent)
    with live.dial("raw") as connection:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(sent.read())
                received.write(connection.recv(65_536))
        client.write(b"hello")
        with contextlib.suppress(ssl.SSLWantReadError):
            client.unwrap()
        connection.sendall(sent.read())
        while piece := connection.recv(65_536):
            received.write(piece)
        assert client.read(100) == b"olleh"


def test_alpn_chooses_http2(live: Live, authority: Authority) -> None:
    chain = http_chain(routes(("/", respond(b"two"))), tls=downstream("h2", "http/1.1"))
    live.apply(authority.issue("web.test").secret("leaf"), listener("web", chain))
    with authority.client("h2", "http/1.1").wrap_socket(live.dial("web")) as client:
        assert client.selected_alpn_protocol() == "h2"
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        # HPACK: GET, https, "/" from the static table; the authority as a literal.
        block = b"\x82\x87\x84\x01\x01a"
        client.sendall(frame(1, 5, 1, block))
        reader = Reader(client)
        data = b""
        while not data:
            length, kind, _, stream = struct.unpack(">IBBI", b"\0" + reader.exactly(9))
            payload = reader.exactly(length)
            if kind == 0 and stream == 1:
                data = payload
        assert data == b"two"


def test_server_names_choose_among_chains(live: Live, authority: Authority) -> None:
    def chain(name: str) -> plan.FilterChain:
        inner = http_chain(routes(("/", respond(name.encode()))))
        return plan.FilterChain(name, inner.terminal, plan.ChainMatch(server_names=(name,)), downstream())

    live.apply(
        authority.issue("a.test", "b.test").secret("leaf"),
        listener("web", chain("a.test"), chain("b.test"), listener_filters=(plan.TlsInspector(),)),
    )
    for name in ("a.test", "b.test"):
        with authority.client().wrap_socket(live.dial("web"), server_hostname=name) as client:
            client.sendall(request("GET", "/"))
            assert Reader(client).message().body == name.encode()
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        authority.client().wrap_socket(live.dial("web"), server_hostname="c.test")


def test_a_chain_whose_secret_has_not_come_turns_its_clients_away_and_the_others_serve(
    live: Live, authority: Authority
) -> None:
    def chain(name: str) -> plan.FilterChain:
        inner = http_chain(routes(("/", respond(name.encode()))))
        matches = plan.ChainMatch(server_names=(name,))
        return plan.FilterChain(name, inner.terminal, matches, downstream(certificate=name))

    def ask(name: str) -> bytes:
        with authority.client().wrap_socket(live.dial("web"), server_hostname=name) as client:
            client.sendall(request("GET", "/"))
            return Reader(client).message().body

    live.apply(
        authority.issue("here.test").secret("here.test"),
        listener("web", chain("here.test"), chain("late.test"), listener_filters=(plan.TlsInspector(),)),
    )
    assert ask("here.test") == b"here.test"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask("late.test")
    assert stat(live, "downstream_context_secrets_not_ready") == 1
    live.apply(authority.issue("late.test").secret("late.test"))
    assert ask("late.test") == b"late.test"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload
