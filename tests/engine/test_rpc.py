"""Framed RPC through a live engine: the protocols that come with Mainstay, and one that a page describes."""

from __future__ import annotations

import re
import socket
import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from engine_plans import cluster, delta, forward, http_chain, listener, routes
from engine_wire import Reader

from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.read import read_descriptions, shipped
from mainstay.sidecar import plan
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Live, Server

    Serve = Callable[..., Server]

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"


@cache
def known(name: str) -> plan.RpcProtocol:
    return next(compile_protocol(each.name, each.description) for each in shipped() if each.name == name)


def parcel_protocol() -> plan.RpcProtocol:
    """The protocol of the tutorial, from its page."""
    found = re.search(r"^```yaml parcel.yaml\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    (described,), problems = read_descriptions([("parcel.yaml", found[1])])
    assert not problems
    return compile_protocol(described.name, described.description)


def header_map(*pairs: tuple[str, str]) -> bytes:
    texts = [text.encode() for pair in pairs for text in pair]
    return b"".join(struct.pack(">i", len(text)) + text for text in texts)


def bolt(call: int, service: str, method: str, body: bytes = b"", *more: tuple[str, str]) -> bytes:
    headers = header_map(("service", service), ("sofa_head_method_name", method), *more)
    return struct.pack(">BBHBIBiHHI", 1, 1, 1, 1, call, 11, -1, 0, len(headers), len(body)) + headers + body


def bolt_answer(call: int, status: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBHBIBHHHI", 1, 0, 2, 1, call, 11, status, 0, 0, len(body)) + body


def read_bolt(reader: Reader) -> tuple[int, int, bytes]:
    """Id, status and body of an answer."""
    head = reader.exactly(20)
    call, status = struct.unpack_from(">I", head, 5)[0], struct.unpack_from(">H", head, 10)[0]
    sizes = struct.unpack_from(">HHI", head, 12)
    return call, status, reader.exactly(sum(sizes))


def read_call(reader: Reader) -> tuple[int, bytes, bytes]:
    """Id, header map and body of a request."""
    head = reader.exactly(22)
    (call,) = struct.unpack_from(">I", head, 5)
    class_length, map_length, length = struct.unpack_from(">HHI", head, 14)
    reader.exactly(class_length)
    return call, reader.exactly(map_length), reader.exactly(length)


def echo_bolt(connection: socket.socket) -> None:
    """Answers every two calls in reverse order."""
    reader, waiting = Reader(connection), []
    while True:
        call, _, body = read_call(reader)
        waiting.append(bolt_answer(call, 0, body))
        if len(waiting) == 2:
            connection.sendall(b"".join(reversed(waiting)))
            waiting.clear()


def echo_each(connection: socket.socket) -> None:
    reader = Reader(connection)
    while True:
        call, _, body = read_call(reader)
        connection.sendall(bolt_answer(call, 0, body))


def front(
    live: Live, server: Server, *protocols: plan.RpcProtocol | plan.RpcNativeCodec, **more: object
) -> None:
    table = routes(("/", forward("app", **more)))
    protocol = "rpc" if len(protocols) == 1 else "auto"
    chain = http_chain(table, protocol=protocol, rpc=protocols)
    live.apply(cluster("app", server.port), listener("rpc", chain))


def test_many_callers_share_one_connection_and_get_their_own_answers(live: Live, serve: Serve) -> None:
    server = serve(echo_bolt)
    front(live, server, known("bolt"))
    clients = [live.dial("rpc") for _ in range(4)]
    for number, client in enumerate(clients):
        calls = [bolt(call, "shop.Cart:1.0", "add", f"{number} {call}".encode()) for call in range(50)]
        client.sendall(b"".join(calls))
    for number, client in enumerate(clients):
        reader = Reader(client)
        answers = {call: body for call, status, body in (read_bolt(reader) for _ in range(50)) if status == 0}
        assert answers == {call: f"{number} {call}".encode() for call in range(50)}
        client.close()
    # One for each worker at most.
    assert server.accepted <= 2
    stats = live.engine.render("/stats").decode()
    assert "cluster.app.upstream_rq_2xx: 200" in stats


def test_large_bodies_pass_whole(live: Live, serve: Serve) -> None:
    front(live, serve(echo_each), known("bolt"))
    body = bytes(range(251)) * 20_000
    with live.dial("rpc") as client:
        client.sendall(bolt(1, "s:1.0", "put", body) + bolt(2, "s:1.0", "put", b"small"))
        reader = Reader(client)
        answers = {call: got for call, status, got in (read_bolt(reader), read_bolt(reader)) if status == 0}
    assert answers == {1: body, 2: b"small"}


def test_one_port_takes_http_and_every_certain_protocol(live: Live, serve: Serve) -> None:
    def answer(connection: socket.socket) -> None:
        reader = Reader(connection)
        first = reader.exactly(4)
        if first == b"GET ":
            reader.until(b"\r\n\r\n")
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhttp")
        elif first[:2] == b"\xda\xbb":
            call, length = struct.unpack(">qI", reader.exactly(12))
            reader.exactly(length)
            connection.sendall(struct.pack(">HBBqI", 0xDABB, 2, 20, call, 2) + b"\x94\x90")
        else:
            reader.exactly(18)

    names = ("bolt", "dubbo", "thrift")
    front(live, serve(answer), *(known(name) for name in names))
    with live.dial("rpc") as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert Reader(client).message().body == b"http"
    texts = ["2.0.2", "shop.Cart", "1.0", "add", ""]
    body = b"".join(bytes([len(text)]) + text.encode() for text in texts) + b"HZ"
    with live.dial("rpc") as client:
        client.sendall(struct.pack(">HBBqI", 0xDABB, 0xC2, 0, 1 << 40, len(body)) + body)
        assert Reader(client).exactly(18) == struct.pack(">HBBqI", 0xDABB, 2, 20, 1 << 40, 2) + b"\x94\x90"
    with live.dial("rpc") as client:
        client.sendall(struct.pack(">BBHBIBiHHI", 1, 1, 0, 1, 7, 1, -1, 0, 0, 0))
        assert read_bolt(Reader(client)) == (7, 0, b"")


def test_routes_see_service_method_and_headers(live: Live, serve: Serve) -> None:
    plain, canary = serve(echo_bolt), serve(echo_bolt)
    test = plan.HeaderMatch("x-user", plan.TextTest(plan.StringMatch(plan.ExactText("kim"))))
    matches = plan.RouteMatch(plan.PrefixPath("/shop.Cart:1.0/add"), headers=(test,))
    rest = plan.RouteMatch(plan.PrefixPath("/shop.Cart:1.0/"))
    host = plan.VirtualHost(
        "cart",
        ("shop.Cart:1.0",),
        (plan.Route("canary", matches, forward("canary")), plan.Route("all", rest, forward("plain"))),
    )
    chain = http_chain(plan.RouteTable("routes", (host,)), protocol="rpc", rpc=(known("bolt"),))
    live.apply(cluster("plain", plain.port), cluster("canary", canary.port), listener("rpc", chain))
    with live.dial("rpc") as client:
        client.sendall(
            bolt(1, "shop.Cart:1.0", "add", b"", ("X-User", "kim"))
            + bolt(2, "shop.Cart:1.0", "add", b"", ("X-User", "kim"))
            + bolt(3, "shop.Cart:1.0", "list", b"", ("X-User", "kim"))
            + bolt(4, "shop.Stock:1.0", "add")
            + bolt(5, "shop.Cart:1.0", "add")
        )
        reader = Reader(client)
        answers = {call: status for call, status, _ in (read_bolt(reader) for _ in range(5))}
    assert answers == {1: 0, 2: 0, 3: 0, 5: 0, 4: 6}
    assert (plain.accepted, canary.accepted) == (1, 1)


def parcel(call: int, target: str, note: bytes, patience: int = 5_000) -> bytes:
    head = b"pa\x01" + struct.pack(">IHBI", call, patience, len(target), len(note))
    return head + target.encode() + note


def test_a_protocol_of_ones_own_gets_routing_and_retries_from_a_file_alone(live: Live, serve: Serve) -> None:
    busy: list[int] = []

    def answer(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            call, _, target, note = struct.unpack(">IHBI", reader.exactly(14)[3:])
            body = reader.exactly(target + note)[target:]
            code = 0 if busy else 1
            busy.append(call)
            connection.sendall(b"pa\x02" + struct.pack(">IBI", call, code, note) + body)

    back_off = plan.BackOff(1, 10)
    retry = plan.RetryPolicy(("5xx",), 2, None, None, back_off, (), (), (), False, 1)
    front(live, serve(answer), parcel_protocol(), retry=retry)
    with live.dial("rpc") as client:
        client.sendall(parcel(42, "cart.add", b"tea"))
        assert Reader(client).exactly(15) == b"pa\x02" + struct.pack(">IBI", 42, 0, 3) + b"tea"
        client.sendall(b"pa\x04" + struct.pack(">II", 9, 0))
        assert Reader(client).exactly(11) == b"pa\x05" + struct.pack(">II", 9, 0)
    assert len(busy) == 2
    assert "cluster.app.upstream_rq_retry: 1" in live.engine.render("/stats").decode()


def compact(kind: int, sequence: int, name: str, body: bytes) -> bytes:
    """A frame of Thrift's compact protocol: call 1, reply 2, exception 3."""
    inside = bytes((0x82, kind << 5 | 1, sequence, len(name))) + name.encode() + body
    return struct.pack(">I", len(inside)) + inside


def read_compact(reader: Reader) -> bytes:
    length = reader.exactly(4)
    return length + reader.exactly(int.from_bytes(length))


def echo_compact(connection: socket.socket) -> None:
    """Answers with a call's own body."""
    reader = Reader(connection)
    while True:
        call = read_compact(reader)
        connection.sendall(call[:5] + bytes((2 << 5 | 1,)) + call[6:])


def test_a_native_codec_is_named_beside_descriptions_and_detected(live: Live, serve: Serve) -> None:
    server = serve(echo_compact)
    codec = plan.RpcNativeCodec("thrift-compact", {"declaredExceptions": "serverError"})
    chain = http_chain(routes(("/", forward("app"))), protocol="auto", rpc=(known("bolt"), codec))
    live.apply(cluster("app", server.port), listener("rpc", chain, direction="outbound"))
    with live.dial("rpc") as client:
        reader = Reader(client)
        for sequence, body in ((5, b"\0"), (6, b"\x18\x03tea\0"), (7, b"x" * 200_000)):
            client.sendall(compact(1, sequence, "Cart:add", body))
            assert read_compact(reader) == compact(2, sequence, "Cart:add", body)

    def counted() -> dict[str, int]:
        found = {}
        for line in live.engine.render("/stats/prometheus").decode().splitlines():
            if line.startswith("istio_requests_total{"):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
                named = labels["request_protocol"], labels["request_service"], labels["request_method"]
                assert named == ("thrift-compact", "Cart", "add")
                found[labels["response_code"]] = int(line.rpartition(" ")[2])
        return found

    # A result with a field that is an exception's fails.
    until(lambda: counted() == {"200": 1, "500": 2}, "the record of each call")


@pytest.mark.parametrize(
    ("codec", "path", "words"),
    [
        (plan.RpcNativeCodec("tars"), "name", 'no native codec "tars"; there are thrift-compact'),
        (plan.RpcNativeCodec("thrift-compact", {"window": 3}), "options", "unknown field `window`, expected"),
    ],
)
def test_native_codecs_that_are_none_are_refused(
    live: Live, codec: plan.RpcNativeCodec, path: str, words: str
) -> None:
    chain = http_chain(routes(("/", forward("app"))), protocol="rpc", rpc=(codec,))
    (refused,) = live.engine.apply(delta(listener("rpc", chain))).refused
    assert refused.path == f"chains[0].terminal.manager.rpc[0].{path}"
    assert words in refused.reason


def test_a_description_that_makes_no_codec_is_refused_alone(live: Live, serve: Serve) -> None:
    server = serve(echo_bolt)
    front(live, server, known("bolt"))
    wrong = msgspec.structs.replace(known("dubbo"), other_status=7)
    table = routes(("/", forward("app")))
    bad = listener("rpc", http_chain(table, protocol="rpc", rpc=(wrong,)))
    good = listener("more", http_chain(table, protocol="rpc", rpc=(known("dubbo"),)))
    report = live.engine.apply(delta(bad, good))
    (refused,) = report.refused
    assert (refused.name, refused.path) == ("rpc", "chains[0].terminal.manager.rpc[0].other_status")
    with live.dial("rpc") as client:
        client.sendall(bolt(1, "s", "m") + bolt(2, "s", "m"))
        assert read_bolt(Reader(client))[1] == 0
