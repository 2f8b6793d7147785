"""The words of a rule. A rule is a name, where it stands written, and steps; `client` and `server` carry them out.

Resources are written `a@1` (name and version of the content), `a@1>b` (it refers to b: a cluster to its endpoints, a route to a
cluster, a listener to a route), `a@!` (content that no client can take). Names are those of the xDS protocol's document:
https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["cluster", "endpoint", "listener", "route", "secret"]
Variant = Literal["sotw", "delta"]
Streams = Literal["ads", "single"]

BOTH: tuple[Variant, ...] = ("sotw", "delta")
SOTW: tuple[Variant, ...] = ("sotw",)
DELTA: tuple[Variant, ...] = ("delta",)
ADS: tuple[Streams, ...] = ("ads",)
ANY: tuple[Streams, ...] = ("ads", "single")


class Step(msgspec.Struct, frozen=True):
    """One word of a rule."""


class Rule(msgspec.Struct, frozen=True):
    """`source`: section of the protocol's document. `variants`, `streams`: where it can be tried at all."""

    name: str
    source: str
    steps: tuple[Step, ...]
    variants: tuple[Variant, ...] = BOTH
    streams: tuple[Streams, ...] = ANY


# --- the tester is a client -----------------------------------------------------------------------------------------


class Have(Step, frozen=True):
    """From now on the server has exactly this: texts such as `cluster a@1`."""

    resources: tuple[str, ...]


class Want(Step, frozen=True):
    """All names that are wanted of a kind from now on (`*` among them or not). SotW sends the list, delta the difference; the
    first request of a kind without names is the old form of the wildcard. `resume` tells the versions of the former stream;
    `stale` sends the nonce of the response before the last."""

    kind: Kind
    names: tuple[str, ...] = ()
    resume: bool = False
    stale: bool = False


class Subscribe(Step, frozen=True):
    """One delta request as it stands."""

    kind: Kind
    names: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    stale: bool = False


class Ack(Step, frozen=True):
    """Takes the last response of a kind."""

    kind: Kind


class Nack(Step, frozen=True):
    """Refuses it, naming a resource."""

    kind: Kind
    name: str


class Expect(Step, frozen=True):
    """Responses of a kind come until all of this has come, and nothing else does: resources, and names that are gone. In SotW a
    kind of full state has to come whole, and what is `gone` is not in it. `or_gone`: names that may be said to be none."""

    kind: Kind
    resources: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    or_gone: tuple[str, ...] = ()


class Quiet(Step, frozen=True):
    """No response of a kind comes. `empty`: one that says nothing may come."""

    kind: Kind
    empty: bool = False


class Settle(Step, frozen=True):
    """Takes whatever comes of a kind, for a while: the server has seen the last request then. Only what is wanted comes."""

    kind: Kind


class Reconnect(Step, frozen=True):
    """Ends the streams and begins new ones; what is held is remembered for `Want.resume`."""


class AskUnknown(Step, frozen=True):
    """Asks for a type that nobody has."""


class InOrder(Step, frozen=True):
    """Takes all that comes, until all of this has come: `route r@2>b`, or `-cluster a` for a removal. It comes in this order."""

    events: tuple[str, ...]


# --- the tester is a server -----------------------------------------------------------------------------------------


class Subscribed(Step, frozen=True):
    """The client comes to want exactly these names of a kind, or `at_least` these; `*` is the wildcard in either form."""

    kind: Kind
    names: tuple[str, ...] = ("*",)
    at_least: bool = False


class Send(Step, frozen=True):
    """A response. `gone`: names removed (delta). `twice`: its first resource stands in it twice. `wrapped`: SotW resources inside
    `envoy.service.discovery.v3.Resource`. `heartbeat`: without bodies."""

    kind: Kind
    resources: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    twice: bool = False
    wrapped: bool = False
    heartbeat: bool = False


class SendSpoilt(Step, frozen=True):
    """A response with one resource that cannot be read: `bytes`, or of another `type`, or under another `name` (delta)."""

    kind: Kind
    how: Literal["bytes", "type", "name"]


class SendUnknown(Step, frozen=True):
    """A response of a type that was not asked for."""


class Acked(Step, frozen=True):
    """The last response of a kind is taken."""

    kind: Kind


class Nacked(Step, frozen=True):
    """It is refused, in words that hold these; SotW: at the last version that was taken."""

    kind: Kind
    words: tuple[str, ...] = ()


class Serves(Step, frozen=True):
    """Requests through the listener come to be answered by this application (`a`, `b`); from then on without a gap."""

    application: str
    at_once: bool = False
    """It does so already."""


class Closed(Step, frozen=True):
    """Nothing listens (any more)."""

    at_once: bool = False


class Drop(Step, frozen=True):
    """The server ends all streams."""


class Resumes(Step, frozen=True):
    """The first request of a kind on the new stream: no nonce, the version last taken (SotW), the versions held (delta)."""

    kind: Kind
    names: tuple[str, ...] = ("*",)
    held: tuple[str, ...] = ()
    """Resources whose versions are told."""
