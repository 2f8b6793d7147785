"""SOFABolt as bytes, both versions: what callers and servers of the live tests write and read."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from engine_bolt import header_map, read_map
from engine_wire import Reader

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

RESPONSE, REQUEST, ONE_WAY = 0, 1, 2
HEARTBEAT, CALL, ANSWER = 0, 1, 2


class Frame(NamedTuple):
    """One frame of either version. `status` of a request is its timeout."""

    kind: int
    command: int
    number: int
    status: int = 0
    header: bytes = b""
    body: bytes = b""
    version: int = 1
    ver1: int = 0
    switch: int = 0
    codec: int = 11

    @property
    def has_checksum(self) -> bool:
        return self.ver1 == 2 and self.switch == 1

    def raw(self) -> bytes:
        front = bytes([self.version, *([self.ver1] if self.version == 2 else []), self.kind])
        front += struct.pack(">HBIB", self.command, 1, self.number, self.codec)
        front += bytes([self.switch]) if self.version == 2 else b""
        front += struct.pack(">H" if self.kind == RESPONSE else ">i", self.status)
        front += struct.pack(">HHI", 0, len(self.header), len(self.body)) + self.header + self.body
        return front + (struct.pack(">I", zlib.crc32(front)) if self.has_checksum else b"")

    @property
    def headers(self) -> dict[str, str]:
        return read_map(self.header)

    def answer(self, status: int = 0, body: bytes = b"") -> bytes:
        """What a server says to this request, in its own version and with a checksum if it had one."""
        return self._replace(kind=RESPONSE, command=ANSWER, status=status, header=b"", body=body).raw()


def request(
    number: int,
    method: str = "add",
    body: bytes = b"",
    *,
    patience: int = -1,
    version: int = 1,
    ver1: int = 0,
    switch: int = 0,
) -> Frame:
    """Of the service `shop.Cart:1.0`."""
    headers = header_map({"service": "shop.Cart:1.0", "sofa_head_method_name": method})
    return Frame(REQUEST, CALL, number, patience, headers, body, version, ver1, switch)


def request_v2(
    number: int, method: str = "add", body: bytes = b"", *, ver1: int = 2, switch: int = 1
) -> Frame:
    return request(number, method, body, version=2, ver1=ver1, switch=switch)


def read(reader: Reader) -> Frame:
    """The next frame, whose checksum must be right."""
    front = reader.exactly(1)
    version = front[0]
    assert version in (1, 2), version
    front += reader.exactly(1 if version == 1 else 2)
    kind = front[-1]
    front += reader.exactly({1: 8, 2: 9}[version] + (2 if kind == RESPONSE else 4) + 8)
    at = version + 1
    command, _, number, codec = struct.unpack_from(">HBIB", front, at)
    switch, ver1 = (front[at + 8], front[1]) if version == 2 else (0, 0)
    status = struct.unpack_from(">H" if kind == RESPONSE else ">i", front, at + 7 + version)[0]
    classes, headers, length = struct.unpack(">HHI", front[-8:])
    class_name, header, body = (reader.exactly(size) for size in (classes, headers, length))
    if ver1 == 2 and switch & 1:
        (told,) = struct.unpack(">I", reader.exactly(4))
        assert told == zlib.crc32(front + class_name + header + body), "a wrong checksum"
    return Frame(kind, command, number, status, header, body, version, ver1, switch, codec)


def answering(act: Callable[[Frame], bytes | None]) -> Callable[[socket.socket], None]:
    """A server that says what `act` gives for each frame."""

    def serve(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            if answer := act(read(reader)):
                connection.sendall(answer)

    return serve


def echo(frame: Frame) -> bytes | None:
    return frame.answer(0, frame.body) if frame.kind == REQUEST else None
