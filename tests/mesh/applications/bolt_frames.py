"""Bolt v1 as bytes, for applications, which have nothing but Python's own library: requests that come, answers that go."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

HEARTBEAT, REQUEST, RESPONSE = 0, 1, 2
"""Codes of commands."""
REQUEST_HEAD, RESPONSE_HEAD = 22, 20

Take = Callable[[int], bytes]
"""So many bytes of a connection, or EOFError."""


class Request(NamedTuple):
    command: int
    one_way: bool
    number: int
    codec: int
    headers: dict[str, str]
    body: bytes


def whole(read: Take) -> Take:
    """Of a file, which gives less at its end."""

    def take(size: int) -> bytes:
        data = read(size)
        if len(data) < size:
            raise EOFError
        return data

    return take


def header_map(headers: dict[str, str]) -> bytes:
    texts = [text.encode() for pair in headers.items() for text in pair]
    return b"".join(struct.pack(">i", len(text)) + text for text in texts)


def read_map(block: bytes) -> dict[str, str]:
    texts, at = [], 0
    while at < len(block):
        (size,) = struct.unpack_from(">i", block, at)
        texts.append(block[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return dict(zip(texts[::2], texts[1::2], strict=True))


def read_request(take: Take) -> Request:
    head = take(REQUEST_HEAD)
    kind, command = struct.unpack_from(">BH", head, 1)
    (number,) = struct.unpack_from(">I", head, 5)
    class_size, map_size, size = struct.unpack_from(">HHI", head, 14)
    take(class_size)
    return Request(command, kind == 2, number, head[9], read_map(take(map_size)), take(size))


def response(to: Request, body: bytes = b"") -> bytes:
    """A success, in the request's codec; of a heartbeat what answers it."""
    command = RESPONSE if to.command == REQUEST else HEARTBEAT
    return struct.pack(">BBHBIBHHHI", 1, 0, command, 1, to.number, to.codec, 0, 0, 0, len(body)) + body


def read_response(take: Take) -> tuple[int, bytes]:
    """Status and body."""
    head = take(RESPONSE_HEAD)
    class_size, map_size, size = struct.unpack_from(">HHI", head, 12)
    take(class_size + map_size)
    return struct.unpack_from(">H", head, 10)[0], take(size)
