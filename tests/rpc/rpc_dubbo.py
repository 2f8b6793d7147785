"""Dubbo 2 with hessian2 as bytes: requests, and a server that says who it is."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from engine_wire import Reader

OK = 20


class Answer(NamedTuple):
    number: int
    status: int
    text: str
    """What the server said; empty if it is no text."""


def string(text: str) -> bytes:
    """A short string of hessian2."""
    assert len(text) < 32
    return bytes([len(text)]) + text.encode()


def request(number: int, service: str, method: str, attachments: Mapping[str, str] | None = None) -> bytes:
    """A call without arguments."""
    pairs = b"".join(string(name) + string(value) for name, value in (attachments or {}).items())
    body = b"".join(map(string, ("2.0.2", service, "1.0", method, ""))) + b"H" + pairs + b"Z"
    return struct.pack(">HBBqI", 0xDABB, 0xC2, 0, number, len(body)) + body


def read_answer(reader: Reader) -> Answer:
    _, _, status, number, length = struct.unpack(">HBBqI", reader.exactly(16))
    body = reader.exactly(length)
    # A value (1), which is a short string.
    text = body[2 : 2 + body[1]].decode() if body[:1] == b"\x91" else ""
    return Answer(number, status, text)


def called(name: str) -> Callable[[socket.socket], None]:
    """A server that answers with its name."""

    def run(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            _, _, _, number, length = struct.unpack(">HBBqI", reader.exactly(16))
            reader.exactly(length)
            body = b"\x91" + string(name)
            connection.sendall(struct.pack(">HBBqI", 0xDABB, 2, OK, number, len(body)) + body)

    return run


def ask(port: int, *requests: bytes) -> list[Answer]:
    """The answers to requests on one connection, by their numbers."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(b"".join(requests))
        reader = Reader(connection)
        return sorted(read_answer(reader) for _ in requests)
