"""Bolt v1 as bytes, with header maps: what a test writes and reads on a socket, and small providers."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from engine_wire import Reader

from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.read import shipped
from mainstay.sidecar import plan

if TYPE_CHECKING:
    import socket

REQUEST, ONE_WAY = 1, 2
SUCCESS, ERROR, DENIED, BUSY, NOT_FOUND, TIMEOUT, CLOSED = 0, 1, 2, 4, 6, 7, 16
HEARTBEAT = struct.pack(">BBHBIBiHHI", 1, 1, 0, 1, 7, 1, -1, 0, 0, 0)

Headers = dict[str, str]


@cache
def known(name: str) -> plan.RpcProtocol:
    """The plan of a protocol that comes with Mainstay."""
    return next(compile_protocol(each.name, each.description) for each in shipped() if each.name == name)


class Call(NamedTuple):
    number: int
    one_way: bool
    headers: Headers
    body: bytes

    @property
    def method(self) -> str:
        return self.headers["sofa_head_method_name"]


class Answer(NamedTuple):
    number: int
    status: int
    headers: Headers
    body: bytes


def header_map(headers: Headers) -> bytes:
    texts = [text.encode() for pair in headers.items() for text in pair]
    return b"".join(struct.pack(">i", len(text)) + text for text in texts)


def read_map(block: bytes) -> Headers:
    texts, at = [], 0
    while at < len(block):
        (size,) = struct.unpack_from(">i", block, at)
        texts.append(block[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return dict(zip(texts[::2], texts[1::2], strict=True))


def call(
    number: int,
    method: str = "add",
    body: bytes = b"",
    *,
    service: str = "shop.Cart:1.0",
    headers: Headers | None = None,
    kind: int = REQUEST,
    timeout: int = -1,
) -> bytes:
    block = header_map({"service": service, "sofa_head_method_name": method} | (headers or {}))
    head = struct.pack(">BBHBIBiHHI", 1, kind, 1, 1, number, 11, timeout, 0, len(block), len(body))
    return head + block + body


def answer(number: int, status: int = SUCCESS, body: bytes = b"", headers: Headers | None = None) -> bytes:
    block = header_map(headers or {})
    return struct.pack(">BBHBIBHHHI", 1, 0, 2, 1, number, 11, status, 0, len(block), len(body)) + block + body


def read_call(reader: Reader) -> Call:
    """The next request; heartbeats are answered."""
    while True:
        head = reader.exactly(22)
        kind, command = struct.unpack_from(">BH", head, 1)
        (number,) = struct.unpack_from(">I", head, 5)
        class_length, map_length, length = struct.unpack_from(">HHI", head, 14)
        reader.exactly(class_length)
        block, body = reader.exactly(map_length), reader.exactly(length)
        if command:
            return Call(number, kind == ONE_WAY, read_map(block), body)
        reader.connection.sendall(struct.pack(">BBHBIBHHHI", 1, 0, 0, 1, number, 1, 0, 0, 0, 0))


def read_answer(reader: Reader) -> Answer:
    head = reader.exactly(20)
    number, status = struct.unpack_from(">I", head, 5)[0], struct.unpack_from(">H", head, 10)[0]
    class_length, map_length, length = struct.unpack_from(">HHI", head, 12)
    reader.exactly(class_length)
    return Answer(number, status, read_map(reader.exactly(map_length)), reader.exactly(length))


class Provider:
    """Answers with its name, keeps what it saw. `statuses`: what it answers by method, success where none is given."""

    def __init__(self, name: str = "", **statuses: int) -> None:
        self.name, self.statuses = name, statuses
        self.calls: list[Call] = []
        self.came = threading.Semaphore(0)
        self.release: threading.Event | None = None
        """If given, answers wait for it."""
        self.headers: Headers = {}

    def __call__(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            seen = read_call(reader)
            self.calls.append(seen)
            self.came.release()
            if self.release is not None:
                self.release.wait(10)
            if not seen.one_way:
                status = self.statuses.get(seen.method, SUCCESS)
                connection.sendall(answer(seen.number, status, self.name.encode(), self.headers))


def ask(dial: Callable[[], socket.socket], *calls: bytes) -> list[Answer]:
    """The answers to calls on one connection, one after the other."""
    with dial() as client:
        reader, answers = Reader(client), []
        for each in calls:
            client.sendall(each)
            answers.append(read_answer(reader))
        return answers
