"""What descriptions can say and no protocol that comes with Mainstay does, through a live engine: fresh files, and frames that
these lines write and read by themselves."""

from __future__ import annotations

import functools
import operator
import struct
import threading
import zlib
from queue import Queue
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from engine_live import PATIENCE
from engine_plans import cluster, forward, http_chain, listener, routes
from engine_wire import Reader

from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.read import read_descriptions
from mainstay.sidecar import plan
from waiting import until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from engine_live import Live, Server

    Serve = Callable[..., Server]

RELIC = """
apiVersion: mainstay.dev/v1alpha1
kind: Protocol
metadata: {name: relic}
spec:
  detection: declared-only
  fields:
  - {name: magic, magic: "5245"}
  - {name: flags, size: 1, bits: [{name: kind, at: 0, count: 2}, {name: beat, at: 7}]}
  - {name: words, size: 2, byteOrder: little}
  - {name: number, size: 8}
  - {name: code, size: 1, when: {kind: [1]}}
  - {name: headersSize, size: 2}
  - {name: bodySize, size: 4}
  - {name: options, length: {field: words, times: 4}}
  - {name: headers, length: {field: headersSize, plus: -2}}
  - {name: check, size: SIZE}
  - {name: body, length: {field: bodySize}}
  kinds:
  - {kind: request, when: {kind: [0], beat: [0]}}
  - {kind: response, when: {kind: [1], beat: [0]}}
  - {kind: oneWay, when: {kind: [2], beat: [0]}}
  - {kind: heartbeat, when: {kind: [0], beat: [1]}}
  - {kind: heartbeatAnswer, when: {kind: [1], beat: [1]}}
  id: number
  body: {field: body}
  checksum: {field: check, algorithm: ALGORITHM, from: magic, to: headers}
  headers: {field: headers, duplicates: first, pairs: {countBytes: 1, nameBytes: 1, valueBytes: 2, byteOrder: little}}
  service: [{header: To, before: "#"}]
  method: [{header: To, after: "#"}]
  attributes: {relic-options: [{field: options}]}
  status:
    field: code
    outcomes: [{values: [0], outcome: success}, {values: [7], outcome: notFound}]
  errorReply:
    set: {kind: 1}
    statuses: [{outcome: notFound, status: 7}, {outcome: callerError, status: 8}]
    other: 9
    parts: {body: [{message: {lengthBytes: 2}}]}
"""
ASKS, ANSWERS, TELLS = 0, 1, 2
BEAT = 0x80


def crc32c(data: bytes) -> int:
    """Bit by bit, by its polynomial alone."""
    word = 0xFFFFFFFF
    for byte in data:
        word ^= byte
        for _ in range(8):
            word = word >> 1 ^ (0x82F63B78 if word & 1 else 0)
    return word ^ 0xFFFFFFFF


SUMS: dict[str, tuple[int, Callable[[bytes], int]]] = {
    "crc32": (4, zlib.crc32),
    "crc32c": (4, crc32c),
    "adler32": (4, zlib.adler32),
    "sum": (2, lambda data: sum(data) & 0xFFFF),
    "xor": (1, lambda data: functools.reduce(operator.xor, data, 0)),
}


class Frame(NamedTuple):
    """`check`: which sum it has. `code` of answers alone."""

    flags: int
    number: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    options: bytes = b""
    code: int = 0
    check: str = "crc32c"

    def raw(self, spoil: int = 0) -> bytes:
        block = bytes([len(self.headers)])
        for name, value in self.headers:
            block += (
                struct.pack("<B", len(name)) + name.encode() + struct.pack("<H", len(value)) + value.encode()
            )
        front = b"RE" + bytes([self.flags]) + struct.pack("<H", len(self.options) // 4)
        front += struct.pack(">Q", self.number) + bytes([self.code] if self.flags & 3 == ANSWERS else [])
        front += struct.pack(">HI", len(block) + 2, len(self.body)) + self.options + block
        width, reckon = SUMS[self.check]
        return front + (reckon(front) ^ spoil).to_bytes(width) + self.body


def read(reader: Reader, check: str = "crc32c") -> Frame:
    """The next frame, whose sum must be right."""
    front = reader.exactly(13)
    flags, words, number = (
        front[2],
        struct.unpack_from("<H", front, 3)[0],
        struct.unpack_from(">Q", front, 5)[0],
    )
    code = reader.exactly(1 if flags & 3 == ANSWERS else 0)
    sizes = reader.exactly(6)
    headers_size, body_size = struct.unpack(">HI", sizes)
    options, block = reader.exactly(4 * words), reader.exactly(headers_size - 2)
    width, reckon = SUMS[check]
    assert reader.exactly(width) == reckon(front + code + sizes + options + block).to_bytes(width)
    headers, at = [], 1
    for _ in range(block[0]):
        name = block[at + 1 : at + 1 + block[at]].decode()
        at += 1 + len(name)
        (size,) = struct.unpack_from("<H", block, at)
        headers.append((name, block[at + 2 : at + 2 + size].decode()))
        at += 2 + size
    assert at == len(block)
    return Frame(
        flags, number, tuple(headers), reader.exactly(body_size), options, code[0] if code else 0, check
    )


def described(check: str = "crc32c", **changes: str) -> plan.RpcProtocol:
    text = RELIC.replace("ALGORITHM", check).replace("SIZE", str(SUMS[check][0]))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (found,), problems = read_descriptions([("relic.yaml", text)])
    assert not problems
    return compile_protocol(found.name, found.description)


class Provider:
    """Echoes, and keeps what it saw."""

    def __init__(self, check: str = "crc32c") -> None:
        self.check = check
        self.seen: list[Frame] = []

    def __call__(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            frame = read(reader, self.check)
            self.seen.append(frame)
            if frame.flags == ASKS:
                connection.sendall(frame._replace(flags=ANSWERS, headers=(("From", "provider"),)).raw())


TO = ("To", "shop.Cart#add")


def front(live: Live, server: Server, protocol: plan.RpcProtocol, **more: Any) -> None:
    table = routes(("/shop.Cart/", forward("app")))
    (host,) = table.virtual_hosts
    (route,) = host.routes
    changes = plan.RouteHeaders(
        request=(plan.HeaderChange("x-via", "%REQ(relic-options)%"),), request_remove=("secret",)
    )
    host = plan.VirtualHost(
        host.name, host.domains, (plan.Route(route.name, route.matches, route.action, changes),)
    )
    chain = http_chain(plan.RouteTable("routes", (host,)), protocol="rpc", rpc=(protocol,), **more)
    live.apply(cluster("app", server.port), listener("rpc", chain))


def is_over(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("check", SUMS)
def test_words_bits_counts_and_sums_are_read_and_written_anew(live: Live, serve: Serve, check: str) -> None:
    provider = Provider(check)
    front(live, serve(provider), described(check))
    number = 0xFEDCBA9876543210
    sent = Frame(ASKS, number, (TO, ("Secret", "s"), ("Kept", "k")), b"tea", b"opti", check=check)
    with live.dial("rpc") as client:
        reader = Reader(client)
        client.sendall(sent.raw())
        answer = read(reader, check)
        assert answer == Frame(ANSWERS, number, (("From", "provider"),), b"tea", b"opti", check=check)
        # Nobody said what a heartbeat's answer is like, so there is none; and what is told is not answered.
        client.sendall(Frame(ASKS | BEAT, 5, check=check).raw() + sent._replace(flags=TELLS, number=6).raw())
        client.sendall(sent._replace(number=7, headers=(("To", "shop.Stock#list"),)).raw())
        refused = read(reader, check)
    assert (refused.flags, refused.number, refused.code, refused.headers) == (ANSWERS, 7, 7, ())
    assert refused.body == struct.pack(">H", len(refused.body) - 2) + b"no route for this call"
    until(lambda: len(provider.seen) == 2, "what is told")
    first, told = provider.seen
    assert first._replace(number=number) == sent._replace(headers=(TO, ("Kept", "k"), ("x-via", "opti")))
    assert (told.flags, told.body) == (TELLS, b"tea")


@pytest.mark.parametrize("size", [3, 200_000], ids=["whole", "in pieces"])
def test_a_sum_over_what_is_in_front_of_the_body_is_verified(live: Live, serve: Serve, size: int) -> None:
    provider = Provider()
    front(live, serve(provider), described())
    frame = Frame(ASKS, 1, (TO,), b"b" * size)
    with live.dial("rpc") as client:
        client.sendall(frame.raw())
        assert read(Reader(client)).body == frame.body
        client.sendall(frame._replace(number=2).raw(spoil=1))
        answer = read(Reader(client))
        assert (answer.number, answer.code) == (2, 8)
        assert b"a checksum is wrong" in answer.body
        assert is_over(client)
    assert len(provider.seen) == 1


def test_a_sum_that_nobody_is_to_verify_is_made_anew_all_the_same(live: Live, serve: Serve) -> None:
    provider = Provider()
    front(live, serve(provider), described(**{"to: headers}": "to: headers, verify: false}"}))
    with live.dial("rpc") as client:
        client.sendall(Frame(ASKS, 1, (TO,), b"tea").raw(spoil=1))
        assert read(Reader(client)).body == b"tea"


HEARTBEAT = """
  heartbeat:
    send: {set: {beat: 1}}
    answer: {set: {kind: 1, beat: 1}}
    interval: 30ms
    longestInterval: 60ms
    timeout: WITHIN
    misses: 2
"""


def test_heartbeats_are_made_and_answered_as_described(live: Live, serve: Serve) -> None:
    beats: Queue[Frame] = Queue()

    def provide(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            frame = read(reader)
            if frame.flags == ASKS | BEAT:
                beats.put(frame)
            connection.sendall(frame._replace(flags=frame.flags | ANSWERS, headers=()).raw())

    text = "  errorReply:"
    protocol = described(**{text: HEARTBEAT.replace("WITHIN", "5s") + text})
    front(live, serve(provide), protocol)
    with live.dial("rpc") as client:
        reader = Reader(client)
        client.sendall(Frame(ASKS | BEAT, 77).raw())
        assert read(reader) == Frame(ANSWERS | BEAT, 77)
        client.sendall(Frame(ASKS, 1, (TO,), b"tea").raw())
        assert read(reader).body == b"tea"
        for _ in range(3):
            beat = beats.get(timeout=PATIENCE)
            assert beat == Frame(ASKS | BEAT, beat.number)
        client.sendall(Frame(ASKS, 2, (TO,), b"more").raw())
        assert read(reader).body == b"more"


def test_a_provider_that_answers_no_heartbeat_is_left(live: Live, serve: Serve) -> None:
    left = threading.Event()

    def provide(connection: socket.socket) -> None:
        reader = Reader(connection)
        try:
            while True:
                read(reader)
        finally:
            left.set()

    text = "  errorReply:"
    front(live, serve(provide), described(**{text: HEARTBEAT.replace("WITHIN", "20ms") + text}))
    with live.dial("rpc") as client:
        client.sendall(Frame(ASKS, 1, (TO,), b"tea").raw())
        assert read(Reader(client)).code == 9
    assert left.wait(PATIENCE)


def test_of_equal_headers_the_first_is_believed_where_the_peers_do(live: Live, serve: Serve) -> None:
    provider = Provider()
    front(live, serve(provider), described())
    both = (TO, ("To", "shop.Stock#list"))
    with live.dial("rpc") as client:
        reader = Reader(client)
        client.sendall(Frame(ASKS, 1, both).raw())
        assert read(reader).code == 0
        client.sendall(Frame(ASKS, 2, both, options=b"opti").raw())
        assert read(reader).code == 0
    plain, changed = (frame.headers for frame in provider.seen)
    assert plain == both, "what nobody changed leaves as it came: the provider believes the same one"
    assert changed == (TO, ("x-via", "opti"))


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (b"\x02\x01a\x01\x00b", "a header map is cut"),
        (b"\x01\x01a\x01\x00bc", "longer than its pairs"),
        (b"\x01\x09a", "a header map is cut"),
    ],
)
def test_a_count_that_is_wrong_is_answered(live: Live, serve: Serve, block: bytes, words: str) -> None:
    front(live, serve(Provider()), described())
    start = b"RE\x00\x00\x00" + struct.pack(">QHI", 1, len(block) + 2, 0) + block
    with live.dial("rpc") as client:
        client.sendall(start + crc32c(start).to_bytes(4))
        answer = read(Reader(client))
        assert (answer.code, answer.number) == (8, 1)
        assert words.encode() in answer.body
        assert is_over(client)
