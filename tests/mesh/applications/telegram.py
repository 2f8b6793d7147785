"""Both ends of a protocol that only this test's description and these lines know.

`serve`: a post office that is busy for the first try of every fourth telegram. `front`: an HTTP front end that sends one
telegram for each request, every other one by express.

    bytes 0–1 "tg" · 2 kind (1 asks, 2 answers, 7 are you there, 8 I am) · 3–6 size of the whole frame · 7–10 ticket · answers:
    11–12 code · asks: station, verb (a byte tells the length) · notes (two bytes) as `name=value;` · text ·
    adler32 of all before it

All numbers are little-endian.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import sys
import threading
import zlib
from typing import Any, BinaryIO

sys.path.insert(0, os.environ["SHOP"])

from bolt import read
from serving import TIMEOUT_S, VERSION, address_of

ASK, ANSWER, ARE_YOU_THERE, I_AM = 1, 2, 7, 8
FINE, BUSY, UNKNOWN = 0, 3, 4


def frame(kind: int, ticket: int, *parts: bytes) -> bytes:
    rest = b"".join(parts)
    is_summed = kind in (ASK, ANSWER)
    data = b"tg" + struct.pack("<BII", kind, 11 + len(rest) + 4 * is_summed, ticket) + rest
    return data + struct.pack("<I", zlib.adler32(data)) if is_summed else data


def short(text: str) -> bytes:
    return struct.pack("B", len(text)) + text.encode()


def notes(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode()


class Received:
    """One frame, taken apart from the front."""

    def __init__(self, stream: BinaryIO) -> None:
        start = read(stream, 11)
        mark, self.kind, size, self.ticket = struct.unpack("<2sBII", start)
        assert mark == b"tg"
        self._rest = read(stream, size - 11)
        if self.kind in (ASK, ANSWER):
            self._rest, told = self._rest[:-4], self._rest[-4:]
            assert struct.unpack("<I", told) == (zlib.adler32(start + self._rest),), "the sum is wrong"

    def take(self, count: int) -> bytes:
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def sized(self, size: str) -> bytes:
        (length,) = struct.unpack(size, self.take(struct.calcsize(size)))
        return self.take(length)

    def text(self) -> bytes:
        return self._rest


def office() -> None:
    tried: set[bytes] = set()

    def answer(connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while True:
            received = Received(stream)
            if received.kind == ARE_YOU_THERE:
                connection.sendall(frame(I_AM, received.ticket))
                continue
            station, verb, _ = received.sized("B"), received.sized("B"), received.sized("<H")
            text = received.text()
            code = FINE if (station, verb) == (b"post.Office", b"send") else UNKNOWN
            if int(text) % 4 == 0 and text not in tried:
                tried.add(text)
                code = BUSY
            told = f"{VERSION} took {text.decode()}".encode()
            connection.sendall(frame(ANSWER, received.ticket, struct.pack("<H", code), notes(""), told))

    def serve(connection: socket.socket) -> None:
        # Until the caller goes.
        with connection, contextlib.suppress(OSError):
            answer(connection)

    listener = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


class Sender:
    """One telegram at a time over one connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._connection: socket.socket | None = None

    def send(self) -> str:
        with self._lock:
            number = next(self._numbers)
            if self._connection is None:
                self._connection = socket.create_connection(address_of("post"), TIMEOUT_S)
                self._stream = self._connection.makefile("rb")
            priority = "priority=express;" if number % 2 else ""
            asked = (short("post.Office"), short("send"), notes(priority), str(number).encode())
            self._connection.sendall(frame(ASK, number, *asked))
            received = Received(self._stream)
        (code,) = struct.unpack("<H", received.take(2))
        received.sized("<H")
        if (received.kind, received.ticket, code) != (ANSWER, number, FINE):
            raise OSError(f"telegram {number} failed: ticket {received.ticket}, code {code}")
        return received.text().decode()


def front() -> None:
    from serving import serve

    sender = Sender()

    def answer(path: str) -> Any:
        return "ok" if path == "/healthz" else sender.send()

    serve(answer)


{"office": office, "front": front}[sys.argv[1]]()
