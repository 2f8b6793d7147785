"""What the server machine is told, what it asks for, and what a view has to be able to do.

In: events, from the wire and from whoever publishes. Out: commands, to be carried out in order. A message is composed only when
the stream's turn comes (`TurnCame`), from the newest view.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from typing import Protocol

import msgspec

from mainstay.xds.messages import Node
from mainstay.xds.types import Kind


class Ref(Protocol):
    """A resource another one needs."""

    @property
    def kind(self) -> Kind: ...
    @property
    def name(self) -> str: ...


class Resource(Protocol):
    """A resource as `compile` makes it: immutable, its bytes shared by all who get it."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> bytes: ...
    @property
    def body(self) -> bytes: ...
    @property
    def refers(self) -> Collection[Ref]: ...


class View(Protocol):
    """What one proxy should have now; consistent in itself.

    It may change between two calls only together with a `ViewChanged` that names what changed.
    """

    def get(self, kind: Kind, name: str) -> Resource | None:
        """A resource, also one outside the scope that may be had by name; None if it does not exist for this proxy."""

    def names(self, kind: Kind) -> Set[str]:
        """What a wildcard brings."""


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end. `identity`: the SPIFFE ID of the client certificate, empty without one. `address` is for logs.
    `expires`: when that certificate ends (Unix ms), 0 if unknown. `insecure`: it came over the plaintext port, where nobody has
    an identity and whoever opened that port accepts it."""

    identity: str = ""
    address: str = ""
    expires: int = 0
    insecure: bool = False


# --- events -------------------------------------------------------------------------------------------------------


class RequestReceived(msgspec.Struct, frozen=True):
    message: bytes


class ViewChanged(msgspec.Struct, frozen=True):
    """There is a new view. `names`: what may differ, by kind (too many names only cost time); None: anything."""

    view: View
    names: Mapping[Kind, Collection[str]] | None = None


class TurnCame(msgspec.Struct, frozen=True):
    """It is this stream's turn: one `Send`, or nothing."""


class WriteFinished(msgspec.Struct, frozen=True):
    """The last message has left our hands."""


class Tick(msgspec.Struct, frozen=True):
    """Time has passed: the time of `SetTimer` came, or a few seconds went by."""


Event = RequestReceived | ViewChanged | TurnCame | WriteFinished | Tick

# --- commands -----------------------------------------------------------------------------------------------------


class Opened(msgspec.Struct, frozen=True):
    """The first request told who the proxy says it is. Nothing is sent before a `ViewChanged`."""

    node: Node


class Work(msgspec.Struct, frozen=True):
    """There is something to send: give the stream a turn, of this class (0 is the most urgent)."""

    urgency: int


class Send(msgspec.Struct, frozen=True):
    """One response. Nothing more is sent before its `WriteFinished`. `is_load`: it is the first of its kind, whose cost only
    the stream's beginning explains."""

    kind: Kind
    message: bytes
    is_load: bool = False


class Demanded(msgspec.Struct, frozen=True):
    """Names were asked for explicitly, or are no longer."""

    kind: Kind
    added: tuple[str, ...]
    removed: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True):
    """The proxy did not take this version; `words` are its own."""

    name: str
    version: bytes
    words: str


class Answered(msgspec.Struct, frozen=True):
    """A verdict on one response: names and versions in force now, and those that were refused."""

    kind: Kind
    accepted: tuple[tuple[str, bytes], ...]
    removed: tuple[str, ...]
    refused: tuple[Refused, ...]


class HealthReported(msgspec.Struct, frozen=True):
    """The proxy reports on its workload."""

    healthy: bool
    reason: str


class ApplicationReported(msgspec.Struct, frozen=True):
    """The proxy tells what its application publishes and wants."""

    text: str


class UnknownType(msgspec.Struct, frozen=True):
    """A type was asked for that we do not serve; told once a stream and type."""

    url: str


class SetTimer(msgspec.Struct, frozen=True):
    """Send a `Tick` at this time (ms); replaces the one before."""

    at: int


class Close(msgspec.Struct, frozen=True):
    """End the stream with this gRPC status."""

    status: int
    reason: str


Command = (
    Opened
    | Work
    | Send
    | Demanded
    | Answered
    | HealthReported
    | ApplicationReported
    | UnknownType
    | SetTimer
    | Close
)


class KindStatus(msgspec.Struct, frozen=True):
    """Of one kind on one stream: how many resources are in force, how many wait to be sent or answered, what was refused."""

    applied: int
    pending: int
    refused: tuple[Refused, ...]
    wildcard: bool
    names: tuple[str, ...]
