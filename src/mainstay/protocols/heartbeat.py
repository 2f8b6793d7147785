"""A protocol's heartbeat as a health check: bytes to say, and how the answer begins.

In: a description. Out: what `envoy.config.core.v3.HealthCheck.TcpHealthCheck` takes, so that any data plane can run the check,
without knowing the protocol. Pure. What is made is what the engine makes on a connection whose first request has the lowest
values that tell its shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.description import Protocol
from mainstay.sidecar import plan

NUMBER = 1
"""The heartbeat's id; 0 means "none" to some peers."""


class HeartbeatCheck(msgspec.Struct, frozen=True):
    """What is said to an endpoint, and the bytes that its answer holds."""

    send: bytes
    receive: bytes


def heartbeat_check(name: str, description: Protocol) -> HeartbeatCheck | None:
    """Return the check; None without heartbeats, with a checksum in all of them, or if answers begin anyhow."""
    protocol = compile_protocol(name, description)
    if protocol.heartbeat is None:
        return None
    template = protocol.heartbeat.templates[0]
    shape = protocol.shapes[template.shape]
    if shape.checksum is not None and not shape.checksum.present:
        return None
    pattern = next(
        each.pattern
        for each in protocol.openings
        if each.shape == template.shape and each.frame == "heartbeat"
    )
    frame = _Frame(shape, pattern)
    for value in template.values:
        frame.put(value.field, value.value)
    frame.put(plan.RpcField(shape.id), NUMBER)
    parts = {part.item: b"".join(map(_bytes_of, part.pieces)) for part in template.parts}
    send = frame.made(parts)
    receive = _beginning(protocol.openings, send)
    return HeartbeatCheck(send, receive) if receive else None


def _bytes_of(piece: plan.RpcPiece) -> bytes:
    assert isinstance(piece, plan.BytesPiece), "only an error reply has a message and a status"
    return piece.value


def _beginning(openings: Sequence[plan.RpcOpening], send: bytes) -> bytes:
    """How an answer to `send` begins: all bytes that are given from the first on."""
    for opening in openings:
        pattern = opening.pattern
        if opening.frame != "heartbeat_answer":
            continue
        given = next((at for at, mask in enumerate(pattern.mask) if mask != 0xFF), len(pattern.mask))
        # The answer of the same version: of what requests and answers both begin with, it has the heartbeat's.
        if given and pattern.value[0] == send[0]:
            return pattern.value[:given]
    return b""


class _Frame:
    """A frame while its numbers are filled in."""

    def __init__(self, shape: plan.RpcShape, pattern: plan.RpcPattern) -> None:
        self.shape, self.numbers = shape, dict.fromkeys((item.name for item in shape.items), 0)
        # What first bytes tell apart: versions, kinds.
        given = bytes(value & mask for value, mask in zip(pattern.value, pattern.mask, strict=True))
        at = 0
        for item in shape.items:
            width = _width(item)
            if width is None:
                break
            order = "little" if item.little_endian else "big"
            self.numbers[item.name] = int.from_bytes(given[at : at + width].ljust(width, b"\0"), order)  # type: ignore[arg-type]
            at += width

    def put(self, field: plan.RpcField, value: int) -> None:
        item = next(item for item in self.shape.items if item.name == field.item)
        width = (_width(item) or 0) * 8
        count = field.count or width
        mask = (1 << count) - 1 << field.at
        self.numbers[field.item] = self.numbers[field.item] & ~mask | value << field.at & mask

    def made(self, parts: dict[str, bytes]) -> bytes:
        for item in self.shape.items:
            if isinstance(item.size, plan.RpcTold):
                by = item.size.by
                self.numbers[by.item] = (len(parts.get(item.name, b"")) - by.plus) // by.times
        absent = self.shape.checksum.item if self.shape.checksum else None
        size = sum(
            _width(item) or len(parts.get(item.name, b"")) for item in self.shape.items if item.name != absent
        )
        if self.shape.size is not None:
            told = self.shape.size
            self.numbers[told.item] = (size - told.plus) // told.times
        return b"".join(self._bytes(item, parts) for item in self.shape.items if item.name != absent)

    def _bytes(self, item: plan.RpcItem, parts: dict[str, bytes]) -> bytes:
        if isinstance(item.size, plan.RpcMagic):
            return item.size.value
        if isinstance(item.size, plan.RpcNumber):
            order = "little" if item.little_endian else "big"
            return self.numbers[item.name].to_bytes(item.size.bytes, order)  # type: ignore[arg-type]
        return parts.get(item.name, b"")


def _width(item: plan.RpcItem) -> int | None:
    if isinstance(item.size, plan.RpcMagic):
        return len(item.size.value)
    return item.size.bytes if isinstance(item.size, plan.RpcNumber) else None
