"""Small stand-ins: resources and views for the server, and a model proxy over the client machine.

The model proxy takes what it is offered, refuses the bodies it is told to, asks for what its resources refer to, and notes every
moment at which it works with something whose reference it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

import msgspec

from mainstay._proto import pool
from mainstay.model.digest import digest_of_bytes
from mainstay.xds import messages
from mainstay.xds.client.stream import ClientStream
from mainstay.xds.client.types import Command, Judged, Missing, Offered, Refusal, Send, Wanted
from mainstay.xds.messages import Node
from mainstay.xds.types import ORDER, TYPES, Kind, Variant


class SmallRef(msgspec.Struct, frozen=True, order=True):
    kind: Kind
    name: str


class SmallResource(msgspec.Struct, frozen=True):
    kind: Kind
    name: str
    version: bytes
    body: bytes
    refers: tuple[SmallRef, ...] = ()


def make(kind: Kind, name: str, salt: str = "", *refers: tuple[Kind, str]) -> SmallResource:
    """A resource whose body is a real message with a name; what it refers to and `salt` stand in a second, unknown field, so that
    the model proxy can read them back."""
    refs = tuple(SmallRef(*each) for each in sorted(refers))
    content = msgspec.json.encode([salt, refs])
    body = (
        messages.field(1, name.encode())
        + b"\xa2\x3f"
        + bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
        + content
    )
    return SmallResource(kind, name, digest_of_bytes(body), body, refs)


def read_back(body: bytes) -> tuple[str, tuple[SmallRef, ...]]:
    content = body[body.index(b"\xa2\x3f") + 4 :]
    return msgspec.json.decode(content, type=tuple[str, tuple[SmallRef, ...]])


class SmallView:
    """A view out of resources; `beyond` can be had by name only."""

    def __init__(self, *resources: SmallResource, beyond: tuple[SmallResource, ...] = ()) -> None:
        self.resources: dict[Kind, dict[str, SmallResource]] = {kind: {} for kind in ORDER}
        for each in resources:
            self.resources[each.kind][each.name] = each
        self._beyond = {(each.kind, each.name): each for each in beyond}

    def get(self, kind: Kind, name: str) -> SmallResource | None:
        return self.resources[kind].get(name) or self._beyond.get((kind, name))

    def names(self, kind: Kind) -> Set[str]:
        return self.resources[kind].keys()


NODE = messages.encode_node(
    Node("sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local", "web", {"NAMESPACE": "shop"}, "mainstay/0.1")
)


class ModelProxy:
    """See the module."""

    def __init__(
        self,
        variant: Variant = "delta",
        *,
        refuse: Set[bytes] = frozenset(),
        held: Mapping[Kind, Mapping[str, str]] | None = None,
    ) -> None:
        self.client = ClientStream(NODE, lambda: 0.5, variant=variant, held=held)
        self.refuse = set(refuse)
        self.works_with: dict[Kind, dict[str, bytes]] = {kind: {} for kind in ORDER}
        self.lacks: list[str] = []
        self.offers: list[Offered] = []
        self.missing: list[Missing] = []

    def wants(self) -> list[Wanted]:
        """What its resources refer to; clusters and listeners are whatever there is."""
        names: dict[Kind, set[str]] = {
            "endpoint": set(),
            "route": set(),
            "generic_route": set(),
            "secret": set(),
        }
        for held in self.works_with.values():
            for body in held.values():
                for ref in read_back(body)[1]:
                    if ref.kind in names:
                        names[ref.kind].add(ref.name)
        wanted = [Wanted("cluster", wildcard=True), Wanted("listener", wildcard=True)]
        return wanted + [Wanted(kind, frozenset(found)) for kind, found in names.items()]

    def take(self, offered: Offered) -> Judged:
        """Judges an offer and works with what is taken."""
        self.offers.append(offered)
        refused = []
        mine = self.works_with[offered.kind]
        for offer in offered.upserts:
            if offer.body in self.refuse:
                refused.append(Refusal(offer.name, "field", "cannot be taken"))
            else:
                mine[offer.name] = offer.body
        for name in offered.removals:
            mine.pop(name, None)
        self._note_lacks()
        return Judged(offered.token, tuple(refused))

    def drop_unwanted(self) -> None:
        """What nothing refers to any more is no longer asked for, and forgotten."""
        for wanted in self.wants():
            if not wanted.wildcard:
                mine = self.works_with[wanted.kind]
                for name in mine.keys() - wanted.names:
                    del mine[name]

    def _note_lacks(self) -> None:
        clusters = self.works_with["cluster"]
        for kind in ("listener", "route", "generic_route"):
            for name, body in self.works_with[kind].items():
                for ref in read_back(body)[1]:
                    if ref.kind == "cluster" and ref.name not in clusters:
                        self.lacks.append(f"{kind} {name} refers to cluster {ref.name}")


def sent(commands: list[Command]) -> list[bytes]:
    """The messages among commands."""
    return [command.message for command in commands if isinstance(command, Send)]


def url(kind: Kind) -> str:
    return TYPES[kind].url


def parse_delta_response(data: bytes) -> messages.Response:
    return messages.decode_response("delta", data)


def is_real_message(kind: Kind, body: bytes) -> bool:
    """Whether a body is what it says by Protobuf's own reading."""
    return bool(pool.parse(TYPES[kind].message, body))
