"""The native codecs: protocols whose frames no description can say, and whose codec the engine has in Rust.

In: nothing. Out: their names, what they are, and the first bytes that tell them. The table is the engine's; what is here is
package data (`tools/generate_protocols.py` writes it, a test holds it current), so that a control plane needs no
engine to know it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from mainstay.protocols.shipped import shipped_names
from mainstay.sidecar import plan

TABLE = Path(__file__).with_name("native.json")


@cache
def native_codecs() -> tuple[plan.RpcNative, ...]:
    """All of them, in the engine's order."""
    return msgspec.json.decode(TABLE.read_bytes(), type=tuple[plan.RpcNative, ...])


def native_codec(name: str) -> plan.RpcNative | None:
    """The codec of that name, or `None`."""
    return next((codec for codec in native_codecs() if codec.name == name), None)


def protocols_had() -> tuple[str, ...]:
    """The names of all protocols that come with Mainstay, described and native: what a sidecar of this version has."""
    return tuple(sorted({*shipped_names(), *(codec.name for codec in native_codecs())}))
