"""Frames written for readers: hexadecimal digits and what stands for more of them.

    "text"      its bytes                      2:"text"    behind their number, in 2 bytes
    2#name      how long the part `name` is    name{ … }   that part
    $id         the call's id                  crc32       the checksum of all in front of it

In: such texts. Out: bytes, or how long they are and where the id stands, to compare with what a proxy made of them. Numbers are
big-endian.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

_TOKEN = re.compile(
    r'\s*(?:(?P<text>(?:(?P<width>\d):)?"(?P<inside>[^"]*)")|(?P<length>(?P<size>\d)\#(?P<of>\w+))'
    r"|(?P<part>\w+)\{(?P<body>[^}]*)\}|(?P<id>\$id)|(?P<crc>crc32)|(?P<hex>(?:[0-9a-f]{2})+)(?![\w#:{]))"
)


class Frame(NamedTuple):
    """`id_at` is negative where there is none."""

    data: bytes
    id_at: int
    id_bytes: int

    def number_in(self, seen: bytes) -> int:
        """The id in bytes that are to be this frame."""
        return int.from_bytes(seen[self.id_at : self.id_at + self.id_bytes], "big") if self.id_at >= 0 else 0


def frame(text: str, number: int = 0, id_bytes: int = 4) -> Frame:
    """The frame of a call with this id; ValueError says what cannot be read."""
    parts = {
        found["part"]: frame(found["body"], number, id_bytes) for found in _tokens(text) if found["part"]
    }
    data, id_at = bytearray(), -1
    for found in _tokens(text):
        if found["text"]:
            inside = found["inside"].encode()
            data += len(inside).to_bytes(int(found["width"]), "big") if found["width"] else b""
            data += inside
        elif found["length"]:
            data += len(parts[found["of"]].data).to_bytes(int(found["size"]), "big")
        elif found["part"]:
            part = parts[found["part"]]
            id_at = len(data) + part.id_at if part.id_at >= 0 else id_at
            data += part.data
        elif found["id"]:
            id_at = len(data)
            data += number.to_bytes(id_bytes, "big")
        elif found["crc"]:
            data += zlib.crc32(data).to_bytes(4, "big")
        else:
            data += bytes.fromhex(found["hex"])
    return Frame(bytes(data), id_at, id_bytes)


def _tokens(text: str) -> list[re.Match[str]]:
    found, at, text = [], 0, text.rstrip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"{text[at : at + 30]!r} is nothing that a frame is written with")
        found.append(token)
        at = token.end()
    return found
