"""Bolt v1 for tests of whole sidecars: calls by service, method and header, and a server that says who it is."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import NamedTuple

import engine_bolt
from engine_wire import Reader


class Answer(NamedTuple):
    number: int
    status: int
    body: bytes


def request(number: int, service: str, method: str, body: bytes = b"", **headers: str) -> bytes:
    return engine_bolt.call(number, method, body, service=service, headers=headers)


def read_answer(reader: Reader) -> Answer:
    found = engine_bolt.read_answer(reader)
    return Answer(found.number, found.status, found.body)


def called(name: str) -> Callable[[socket.socket], None]:
    """A server that answers with its name, the method, and the body it got."""

    def run(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            call = engine_bolt.read_call(reader)
            text = f"{name} {call.method} ".encode()
            connection.sendall(engine_bolt.answer(call.number, body=text + call.body))

    return run


def ask(port: int, *requests: bytes) -> list[Answer]:
    """The answers to requests on one connection, by their numbers."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"".join(requests))
        reader = Reader(connection)
        return sorted(read_answer(reader) for _ in requests)
