"""Bolt v1 as bytes: requests, and a server that says who it is."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from engine_wire import Reader


class Call(NamedTuple):
    """A request as a server sees it."""

    number: int
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    number: int
    status: int
    body: bytes


def header_map(headers: dict[str, str]) -> bytes:
    texts = [text.encode() for pair in headers.items() for text in pair]
    return b"".join(struct.pack(">i", len(text)) + text for text in texts)


def request(number: int, service: str, method: str, body: bytes = b"", **headers: str) -> bytes:
    block = header_map({"service": service, "sofa_head_method_name": method, **headers})
    return struct.pack(">BBHBIBiHHI", 1, 1, 1, 1, number, 11, -1, 0, len(block), len(body)) + block + body


def answer(number: int, status: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBHBIBHHHI", 1, 0, 2, 1, number, 11, status, 0, 0, len(body)) + body


def read_call(reader: Reader) -> Call:
    head = reader.exactly(22)
    (number,) = struct.unpack_from(">I", head, 5)
    class_length, map_length, length = struct.unpack_from(">HHI", head, 14)
    reader.exactly(class_length)
    block, headers, at = reader.exactly(map_length), [], 0
    while at < len(block):
        (size,) = struct.unpack_from(">i", block, at)
        headers.append(block[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return Call(number, dict(zip(headers[::2], headers[1::2], strict=True)), reader.exactly(length))


def read_answer(reader: Reader) -> Answer:
    head = reader.exactly(20)
    number, status = struct.unpack_from(">I", head, 5)[0], struct.unpack_from(">H", head, 10)[0]
    class_length, map_length, length = struct.unpack_from(">HHI", head, 12)
    reader.exactly(class_length + map_length)
    return Answer(number, status, reader.exactly(length))


def called(name: str) -> Callable[[socket.socket], None]:
    """A server that answers with its name, the method, and the body it got."""

    def run(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            call = read_call(reader)
            text = f"{name} {call.headers['sofa_head_method_name']} ".encode()
            connection.sendall(answer(call.number, 0, text + call.body))

    return run


def ask(port: int, *requests: bytes) -> list[Answer]:
    """The answers to requests on one connection, by their numbers."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"".join(requests))
        reader = Reader(connection)
        return sorted(read_answer(reader) for _ in requests)
