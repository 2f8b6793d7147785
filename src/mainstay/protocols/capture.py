"""Takes bytes of connections out of captured files: hexadecimal text, pcap, pcapng.

In: a file's bytes. Out: one `Stream` for each direction of each TCP connection (one for hexadecimal text), in the order
in which they begin. Fragments are joined, segments put in order by their sequence numbers; behind a gap nothing more is
taken, and the stream says so.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

MAX_BYTES = 256 << 20
"""Larger captures are refused: they are not read by people."""

_PCAP = {
    b"\xd4\xc3\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">",
    b"\x4d\x3c\xb2\xa1": "<",
    b"\xa1\xb2\x3c\x4d": ">",
}
_MAX_FRAGMENTS = 128
"""Of one packet."""
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_TCP = 6
_QUOTED = re.compile(r'"([^"]*)"|#.*')
_XXD = re.compile(r"[0-9a-fA-F]+:\s(.*)")
_HEXDUMP = re.compile(r"([0-9a-fA-F]{8,})\s\s([^|]*)\|")
_HEXDUMP_END = re.compile(r"[0-9a-fA-F]{8,}")


class Unreadable(Exception):  # noqa: N818  it reports the author's mistake
    """The file is no capture that is understood."""


class Stream(msgspec.Struct, frozen=True):
    """Bytes in one direction. `name`: `10.0.0.1:34512 → 10.0.0.2:12200`, or empty."""

    name: str
    data: bytes
    has_gap: bool = False


def read_capture(data: bytes) -> list[Stream]:
    """Return the streams of a captured file; raises Unreadable."""
    if len(data) > MAX_BYTES:
        raise Unreadable(f"the file has more than {MAX_BYTES:,} bytes, which are the limit")
    if data[:4] in _PCAP:
        return _streams(_packets_of_pcap(data))
    if data[:4] == _PCAPNG:
        return _streams(_packets_of_pcapng(data))
    return [Stream("", _read_hex(data))]


def _read_hex(data: bytes) -> bytes:
    """Read digits, also as `xxd` and `hexdump -C` print them. By hand one may write texts in quotes, and comments behind #."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        reason = "the file is neither hexadecimal text nor a pcap file: make bytes readable with `xxd`"
        raise Unreadable(reason) from None
    found = bytearray()
    is_dump = False
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.split("#", 1)[0].strip()
        if dumped := _HEXDUMP.match(bare):
            digits, is_dump = dumped[2], True
        elif is_dump and _HEXDUMP_END.fullmatch(bare) and int(bare, 16) == len(found):
            # `hexdump -C` ends with the number of bytes.
            continue
        elif dumped := _XXD.match(bare):
            # Two blanks part the digits from the same bytes as text, which may look like digits.
            digits = dumped[1].split("  ", 1)[0]
        else:
            digits = _QUOTED.sub(lambda quoted: f" {(quoted[1] or '').encode().hex()} ", line)
        try:
            found += bytes.fromhex(digits)
        except ValueError:
            more = "; `hexdump -vC` leaves no lines out" if bare == "*" else ""
            what = f"line {number} is no hexadecimal text, two digits a byte"
            raise Unreadable(f"{what}: {line.strip()[:40]!r}{more}") from None
    return bytes(found)


def _packets_of_pcap(data: bytes) -> Iterator[tuple[int, bytes]]:
    order = _PCAP[data[:4]]
    if len(data) < 24:
        raise Unreadable("the pcap file is cut")
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from(order + "I", data, at + 8)[0]
        yield link, data[at + 16 : at + 16 + length]
        at += 16 + length


def _packets_of_pcapng(data: bytes) -> Iterator[tuple[int, bytes]]:
    order, at = "<", 0
    links: list[int] = []
    while at + 12 <= len(data):
        kind = data[at : at + 4]
        if kind == _PCAPNG:
            order, links = ("<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"), []
        kind_number, length = struct.unpack_from(order + "II", data, at)
        if length < 12:
            return
        there = min(length, len(data) - at)
        if kind_number == 1:
            links.append(struct.unpack_from(order + "H", data, at + 8)[0])
        elif kind_number == 6 and there >= 28:
            interface, _, _, captured = struct.unpack_from(order + "IIII", data, at + 8)
            if interface < len(links):
                yield links[interface], data[at + 28 : at + 28 + captured]
        at += length


_ETHERNET, _RAW, _LINUX, _LINUX2, _NULL = 1, (12, 14, 101, 228, 229), 113, 276, 0


def _network(link: int, packet: bytes) -> bytes:
    """What lies behind the link layer: an IP packet, or nothing."""
    if link == _ETHERNET:
        at = 12
        while packet[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
            at += 4
        return packet[at + 2 :] if packet[at : at + 2] in (b"\x08\x00", b"\x86\xdd") else b""
    if link in _RAW:
        return packet
    if link == _LINUX:
        return packet[16:]
    if link == _LINUX2:
        return packet[20:]
    if link == _NULL:
        return packet[4:]
    raise Unreadable(
        f"link type {link} is not known; capture with `tcpdump -i any` or on an Ethernet interface"
    )


class _Packet(NamedTuple):
    """An IP packet that carries TCP, or a fragment of one."""

    source: str
    target: str
    data: bytes
    identity: int = 0
    at: int = 0
    has_more: bool = False


def _packet(packet: bytes) -> _Packet | None:
    if packet[:1] and packet[0] >> 4 == 4 and len(packet) >= 20 and packet[9] == _TCP:
        start, total = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        fragment = int.from_bytes(packet[6:8], "big")
        # Offloading leaves a total of 0 for what is longer than a packet can be.
        return _Packet(
            _host(packet[12:16]),
            _host(packet[16:20]),
            packet[start : total or None],
            int.from_bytes(packet[4:6], "big"),
            (fragment & 0x1FFF) * 8,
            bool(fragment & 0x2000),
        )
    if packet[:1] and packet[0] >> 4 == 6 and len(packet) >= 40 and packet[6] == _TCP:
        length = int.from_bytes(packet[4:6], "big")
        return _Packet(
            _host(packet[8:24]), _host(packet[24:40]), packet[40 : 40 + length if length else None]
        )
    return None


def _host(address: bytes) -> str:
    return str(ipaddress.ip_address(address))


def _joined(packets: Iterator[tuple[int, bytes]]) -> Iterator[_Packet]:
    """Packets with a TCP segment, those of several fragments when the last of them is there."""
    waiting: dict[tuple[str, str, int], list[_Packet]] = {}
    for link, raw in packets:
        packet = _packet(_network(link, raw))
        if packet is None:
            continue
        if not packet.at and not packet.has_more:
            yield packet
            continue
        name = packet.source, packet.target, packet.identity
        pieces = sorted([*waiting.pop(name, ()), packet], key=lambda piece: piece.at)
        data = b""
        for piece in pieces:
            if piece.at <= len(data):
                data += piece.data[len(data) - piece.at :]
        if not pieces[-1].has_more and len(data) == pieces[-1].at + len(pieces[-1].data):
            yield packet._replace(data=data)
        elif len(pieces) <= _MAX_FRAGMENTS:
            waiting[name] = pieces


class _Direction:
    """Segments of one direction, by sequence number."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.has_gap = False
        self._begun: int | None = None
        """The sequence number of this connection's first byte; later ones count from it, around the wrap."""
        self._last = 0
        self._segments: list[tuple[int, bytes]] = []

    def take(self, sequence: int, begins: bool, payload: bytes) -> None:
        if begins:
            sequence = (sequence + 1) & 0xFFFFFFFF
            if sequence != self._begun:
                # Another connection between the same ports.
                self.end()
                self._begun = sequence
        if self._begun is None:
            self._begun = sequence
        if payload:
            ahead = (sequence - self._begun - self._last + (1 << 31)) % (1 << 32) - (1 << 31)
            self._last += ahead
            self._segments.append((self._last, payload))

    def end(self) -> None:
        """Joins the segments of the connection."""
        at = 0
        for start, payload in sorted(self._segments, key=lambda segment: segment[0]):
            if start > at or self.has_gap:
                self.has_gap = True
                break
            fresh = payload[at - start :]
            self.data += fresh
            at += len(fresh)
        self._begun, self._last, self._segments = None, 0, []


def _streams(packets: Iterator[tuple[int, bytes]]) -> list[Stream]:
    directions: dict[str, _Direction] = {}
    for source, target, segment, *_ in _joined(packets):
        if len(segment) < 20:
            continue
        ports = struct.unpack_from(">HH", segment)
        sequence = int.from_bytes(segment[4:8], "big")
        payload = segment[(segment[12] >> 4) * 4 :]
        name = f"{_address(source, ports[0])} → {_address(target, ports[1])}"
        directions.setdefault(name, _Direction()).take(sequence, bool(segment[13] & 2), payload)
    for each in directions.values():
        each.end()
    return [
        Stream(name, bytes(each.data), each.has_gap)
        for name, each in directions.items()
        if each.data or each.has_gap
    ]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
