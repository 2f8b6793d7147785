"""What passes, and what is refused, of Dubbo and Thrift: through a live engine."""

from __future__ import annotations

import struct
from queue import Queue
from typing import TYPE_CHECKING

import pytest
from engine_bolt import known
from engine_plans import cluster, forward, http_chain, listener, routes
from engine_wire import Reader

from mainstay.sidecar import plan

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from engine_live import Live, Server

    Serve = Callable[..., Server]

HESSIAN, OK, BAD_REQUEST = 2, 20, 40
TWO_WAY, EVENT = 0xC0, 0x20


def dubbo(flags: int, number: int, body: bytes, status: int = 0) -> bytes:
    return struct.pack(">HBBqI", 0xDABB, flags, status, number, len(body)) + body


def read(reader: Reader) -> tuple[int, int, int, bytes]:
    """Flags, status, number and body."""
    mark, flags, status, number, length = struct.unpack(">HBBqI", reader.exactly(16))
    assert mark == 0xDABB
    return flags, status, number, reader.exactly(length)


def front(live: Live, server: Server, name: str, table: plan.RouteTable | None = None) -> None:
    chain = http_chain(table or routes(("/", forward("app"))), protocol="rpc", rpc=(known(name),))
    live.apply(cluster("app", server.port), listener("rpc", chain))


def test_every_serialization_passes_as_it_came(live: Live, serve: Serve) -> None:
    """Of bodies that are not hessian nothing is read: neither what they hold nor what they look like."""
    seen: Queue[tuple[int, bytes]] = Queue()

    def answer(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            flags, _, number, body = read(reader)
            seen.put((flags, body))
            connection.sendall(dubbo(flags & 31, number, body[::-1], OK))

    front(live, serve(answer), "dubbo")
    with live.dial("rpc") as client:
        reader = Reader(client)
        for serialization in sorted({*range(32)} - {HESSIAN}):
            # The beginning of a hessian body, JSON, nothing, and bytes of no kind.
            for body in (b"\x052.0.2\x09shop.Cart", b'"2.0.2"\n"shop.Cart"\n', b"", bytes(range(256))):
                client.sendall(dubbo(TWO_WAY | serialization, 1 << 40, body))
                assert read(reader) == (serialization, OK, 1 << 40, body[::-1])
                assert seen.get() == (TWO_WAY | serialization, body)


def test_calls_of_other_serializations_have_no_names_and_go_where_all_go(live: Live, serve: Serve) -> None:
    """A rule for one service takes none of them, whatever their bodies look like; the rest of the table does."""

    def answer_as(name: bytes) -> Callable[[socket.socket], None]:
        def answer(connection: socket.socket) -> None:
            reader = Reader(connection)
            while True:
                flags, _, number, _ = read(reader)
                connection.sendall(dubbo(flags & 31, number, name, OK))

        return answer

    cart, rest = serve(answer_as(b"cart")), serve(answer_as(b"rest"))
    table = routes(("/shop.Cart/", forward("cart")), ("/", forward("rest")))
    chain = http_chain(table, protocol="rpc", rpc=(known("dubbo"),))
    live.apply(cluster("cart", cart.port), cluster("rest", rest.port), listener("rpc", chain))
    texts = ("2.0.2", "shop.Cart", "1.0", "add", "")
    body = b"".join(bytes([len(text)]) + text.encode() for text in texts) + b"HZ"
    with live.dial("rpc") as client:
        reader = Reader(client)
        for serialization, name in ((HESSIAN, b"cart"), (3, b"rest"), (6, b"rest"), (23, b"rest")):
            client.sendall(dubbo(TWO_WAY | serialization, 5, body))
            assert read(reader) == (serialization, OK, 5, name)


def test_a_heartbeat_is_answered_in_either_direction(live: Live, serve: Serve) -> None:
    answers: Queue[tuple[int, int, int, bytes]] = Queue()

    def ask(connection: socket.socket) -> None:
        reader = Reader(connection)
        _, _, number, _ = read(reader)
        connection.sendall(dubbo(TWO_WAY | EVENT | HESSIAN, 77, b"N"))
        answers.put(read(reader))
        connection.sendall(dubbo(HESSIAN, number, b"ok", OK))

    front(live, serve(ask), "dubbo")
    with live.dial("rpc") as client:
        reader = Reader(client)
        client.sendall(dubbo(TWO_WAY | EVENT | HESSIAN, 5, b"N"))
        assert read(reader) == (EVENT | HESSIAN, OK, 5, b"N")
        client.sendall(dubbo(TWO_WAY | HESSIAN, 6, b""))
        assert read(reader) == (HESSIAN, OK, 6, b"ok")
    assert answers.get() == (EVENT | HESSIAN, OK, 77, b"N")


def nobody(connection: socket.socket) -> None:
    connection.recv(1)


def is_over(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_frame_that_is_too_large_is_answered_in_words_that_dubbo_reads(live: Live, serve: Serve) -> None:
    front(live, serve(nobody), "dubbo")
    with live.dial("rpc") as client:
        client.sendall(struct.pack(">HBBqI", 0xDABB, TWO_WAY | HESSIAN, 0, 9, 9 << 20) + bytes(100_000))
        words = b"a frame is larger than the protocol allows"
        assert read(Reader(client)) == (HESSIAN, BAD_REQUEST, 9, struct.pack(">BH", 0x53, len(words)) + words)
        assert is_over(client)


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("dubbo", struct.pack(">HBBqI", 0xDABC, TWO_WAY | HESSIAN, 0, 9, 0)),
        ("thrift", struct.pack(">IIi", 1 << 30, 0x80010001, 3) + b"add" + struct.pack(">i", 1) + bytes(9)),
        ("thrift", struct.pack(">IIi", 20, 0x80010005, 3) + b"add" + struct.pack(">i", 1) + bytes(5)),
        ("thrift", struct.pack(">IIi", 20, 0x80010001, 99) + b"add" + struct.pack(">i", 1) + bytes(5)),
    ],
    ids=["another mark", "too large", "no such type", "a name beyond the frame"],
)
def test_what_has_no_id_that_can_be_believed_ends_its_connection(
    live: Live, serve: Serve, name: str, frame: bytes
) -> None:
    front(live, serve(nobody), name)
    with live.dial("rpc") as client:
        client.sendall(frame)
        assert is_over(client)


def text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def arguments(types: str, values: bytes) -> bytes:
    """The body of a call of `shop.Cart/add`, whose attachments name another path, which is what providers obey, and an interface,
    which they do not look at."""
    pairs = ("path", "shop.Stock", "interface", "shop.Other")
    attachments = b"H" + b"".join(map(text, pairs)) + b"Z"
    return b"".join(map(text, ("2.0.2", "shop.Cart", "1.0", "add", types))) + values + attachments


@pytest.mark.parametrize(
    ("body", "service"),
    [
        (arguments("I", b"\x91"), "shop.Stock"),
        # 30 maps, the one in the other's value.
        (arguments("Ljava/util/Map;", b"H\x01k" * 30 + b"N" + b"Z" * 30), "shop.Stock"),
        # Deeper than anybody writes, and than a stack is.
        (arguments("Ljava/util/Map;", b"H\x01k" * 20_000 + b"N" + b"Z" * 20_000), "shop.Cart"),
        (arguments("Ljava/util/List;", b"W" * 60_000), "shop.Cart"),
        # 15,000 and 30,000 numbers: so many are passed over, and no more.
        (arguments("[I", b"W" + b"\x91" * 15_000 + b"Z"), "shop.Stock"),
        (arguments("[I", b"W" + b"\x91" * 30_000 + b"Z"), "shop.Cart"),
        # A string that is longer than the body says.
        (arguments("Ljava/lang/String;", b"S\xff\xff"), "shop.Cart"),
    ],
    ids=["plain", "nested", "abyss", "lists", "many", "too many", "cut"],
)
def test_arguments_are_passed_over_only_so_far_and_the_call_passes(
    live: Live, serve: Serve, body: bytes, service: str
) -> None:
    seen: Queue[bytes] = Queue()

    def answer_as(name: bytes) -> Callable[[socket.socket], None]:
        def answer(connection: socket.socket) -> None:
            reader = Reader(connection)
            while True:
                _, _, number, came = read(reader)
                seen.put(came)
                connection.sendall(dubbo(HESSIAN, number, name, OK))

        return answer

    names = ("shop.Cart", "shop.Stock")
    servers = [serve(answer_as(name.encode())) for name in names]
    table = routes(*((f"/{name}/add", forward(name)) for name in names))
    chain = http_chain(table, protocol="rpc", rpc=(known("dubbo"),))
    live.apply(
        *(cluster(name, server.port) for name, server in zip(names, servers, strict=True)),
        listener("rpc", chain),
    )
    with live.dial("rpc") as client:
        client.sendall(dubbo(TWO_WAY | HESSIAN, 5, body))
        assert read(Reader(client)) == (HESSIAN, OK, 5, service.encode())
    assert seen.get() == body
