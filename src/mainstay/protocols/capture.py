"""Takes bytes of connections out of captured files: hexadecimal text, pcap, pcapng.

In: a file's bytes. Out: one `Stream` for each direction of each TCP connection (one for hexadecimal text), in the order
in which they begin. Segments are put in order by their sequence numbers; behind a gap nothing more is taken, and the
stream says so.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterator

import msgspec

MAX_BYTES = 256 << 20
"""Larger captures are refused: they are not read by people."""

_PCAP = {
    b"\xd4\xc3\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">",
    b"\x4d\x3c\xb2\xa1": "<",
    b"\xa1\xb2\x3c\x4d": ">",
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_TCP = 6
_HEX_LINE = re.compile(
    r"(?:[0-9a-fA-F]+:\s|[0-9a-fA-F]{8}\s{2})?((?:[0-9a-fA-F]{2}){1,8}(?:\s{1,2}(?:[0-9a-fA-F]{2}){1,8})*)"
)


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
        raise Unreadable(f"the file has {len(data):,} bytes; {MAX_BYTES:,} are the limit")
    if data[:4] in _PCAP:
        return _streams(_packets_of_pcap(data))
    if data[:4] == _PCAPNG:
        return _streams(_packets_of_pcapng(data))
    return [Stream("", _read_hex(data))]


def _read_hex(data: bytes) -> bytes:
    """Read digits, also as `xxd` and `hexdump -C` print them; lines that begin with # are comments."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise Unreadable("the file is neither hexadecimal text nor a pcap file") from None
    found = bytearray()
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.split("#", 1)[0].strip()
        if not bare:
            continue
        if "|" in bare or re.match(r"[0-9a-fA-F]+:\s", bare):
            match = _HEX_LINE.match(bare)
            digits = match[1] if match else ""
        else:
            digits = bare
        try:
            found += bytes.fromhex(digits)
        except ValueError:
            raise Unreadable(f"line {number} is no hexadecimal text: {bare[:40]!r}") from None
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
        if length < 12 or at + length > len(data):
            return
        if kind_number == 1:
            links.append(struct.unpack_from(order + "H", data, at + 8)[0])
        elif kind_number == 6 and length >= 32:
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


def _segment(packet: bytes) -> tuple[str, str, bytes] | None:
    """Source and destination address and the TCP segment of an IP packet."""
    if packet[:1] and packet[0] >> 4 == 4 and len(packet) >= 20 and packet[9] == _TCP:
        start, total = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        source, target = packet[12:16], packet[16:20]
        # Offloading leaves 0 for what is longer than a packet can be.
        segment = packet[start : total or None]
    elif packet[:1] and packet[0] >> 4 == 6 and len(packet) >= 40 and packet[6] == _TCP:
        source, target = packet[8:24], packet[24:40]
        segment = packet[40 : 40 + int.from_bytes(packet[4:6], "big") or None]
    else:
        return None
    return str(ipaddress.ip_address(source)), str(ipaddress.ip_address(target)), segment


class _Direction:
    """Segments of one direction, by sequence number."""

    def __init__(self) -> None:
        self.next: int | None = None
        self.early: dict[int, bytes] = {}
        self.data = bytearray()

    def take(self, sequence: int, begins: bool, payload: bytes) -> None:
        if begins:
            sequence = (sequence + 1) & 0xFFFFFFFF
        if self.next is None or begins:
            self.next = sequence
        if payload:
            known = self.early.get(sequence, b"")
            self.early[sequence] = max(known, payload, key=len)
        self._join()

    def _join(self) -> None:
        while self.early:
            assert self.next is not None
            # How far behind (positive) or ahead (negative) a segment begins, around the wrap.
            behind = {start: (self.next - start + (1 << 31)) % (1 << 32) - (1 << 31) for start in self.early}
            start = next((start for start, distance in behind.items() if distance >= 0), None)
            if start is None:
                return
            fresh = self.early.pop(start)[behind[start] :]
            self.data += fresh
            self.next = (self.next + len(fresh)) & 0xFFFFFFFF


def _streams(packets: Iterator[tuple[int, bytes]]) -> list[Stream]:
    directions: dict[str, _Direction] = {}
    for link, packet in packets:
        found = _segment(_network(link, packet))
        if found is None or len(found[2]) < 20:
            continue
        source, target, segment = found
        ports = struct.unpack_from(">HH", segment)
        sequence = int.from_bytes(segment[4:8], "big")
        payload = segment[(segment[12] >> 4) * 4 :]
        name = f"{_address(source, ports[0])} → {_address(target, ports[1])}"
        directions.setdefault(name, _Direction()).take(sequence, bool(segment[13] & 2), payload)
    return [
        Stream(name, bytes(each.data), bool(each.early))
        for name, each in directions.items()
        if each.data or each.early
    ]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
