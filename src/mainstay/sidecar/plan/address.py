"""Where something listens or is reached, and how its socket is kept."""

from __future__ import annotations

import msgspec


class Socket(msgspec.Struct, frozen=True, tag_field="kind", tag="socket"):
    ip: str
    port: int


class Pipe(msgspec.Struct, frozen=True, tag_field="kind", tag="pipe"):
    path: str


class NamedAddress(msgspec.Struct, frozen=True, tag_field="kind", tag="name"):
    host: str
    port: int


Address = Socket | Pipe | NamedAddress


class AddressRange(msgspec.Struct, frozen=True):
    ip: str
    prefix: int


class TcpKeepalive(msgspec.Struct, frozen=True):
    probes: int | None = None
    time: int | None = None
    interval: int | None = None
