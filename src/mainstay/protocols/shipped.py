"""The protocols that come with Mainstay, as the engine takes them: nobody reads a description for them.

In: a protocol's name. Out: its plan, with the SHA-256 of the description that it was made of. The plans are package data
(`tools/generate_protocols.py` writes them, a test holds them current): reading a description costs a sidecar 5 MiB, which those
that know only these protocols do not pay.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from mainstay.sidecar import plan

PLANS = Path(__file__).with_name("plans")


class Shipped(msgspec.Struct, frozen=True):
    """A protocol with the digest of its description's bytes, in hexadecimal."""

    sha256: str
    plan: plan.RpcProtocol


@cache
def shipped_names() -> tuple[str, ...]:
    """Names of the protocols, in order."""
    return tuple(sorted(path.stem for path in PLANS.glob("*.json")))


@cache
def shipped_plan(name: str) -> Shipped | None:
    """The protocol of that name, or `None`."""
    if name not in shipped_names():
        return None
    return msgspec.json.decode((PLANS / f"{name}.json").read_bytes(), type=Shipped)


def shipped_plans() -> tuple[plan.RpcProtocol, ...]:
    """All of them, by name."""
    return tuple(found.plan for name in shipped_names() if (found := shipped_plan(name)))
