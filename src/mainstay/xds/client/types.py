"""What the client machine is told, and what it asks for.

In: events, from the link (bytes, ends of streams, time) and from the sidecar (what is wanted, verdicts). Out: commands, to be
carried out in order.
"""

from __future__ import annotations

import msgspec

from mainstay.xds.types import Kind

# --- events -------------------------------------------------------------------------------------------------------


class Started(msgspec.Struct, frozen=True):
    """Connect from now on."""


class Wanted(msgspec.Struct, frozen=True):
    """All that is wanted of a kind from now on; it replaces what was wanted before.

    `wildcard` asks for whatever the server has for us. `wait` > 0: a name that got no answer within so many ms of being
    asked for is reported as `Missing` (0: wait for ever).
    """

    kind: Kind
    names: frozenset[str] = frozenset()
    wildcard: bool = False
    wait: int = 0


class Received(msgspec.Struct, frozen=True):
    """One message of the open stream."""

    message: bytes


class Refusal(msgspec.Struct, frozen=True):
    """A resource that cannot be taken; the last good version stays. `path`: field path, empty for the whole."""

    name: str
    path: str
    reason: str


class Judged(msgspec.Struct, frozen=True):
    """The verdict on an `Offered`, by its token. What is not refused has been taken."""

    token: int
    refused: tuple[Refusal, ...] = ()


class Closed(msgspec.Struct, frozen=True):
    """The stream is over: gRPC status and words."""

    status: int
    message: str


class Moved(msgspec.Struct, frozen=True):
    """Whoever carries the calls has given up the open one, to go on over another connection: no failure, so there is no wait."""


class HealthChanged(msgspec.Struct, frozen=True):
    """The workload's health, to be told to the control plane now and after each reconnect."""

    healthy: bool
    reason: str = ""


class ApplicationChanged(msgspec.Struct, frozen=True):
    """What the application publishes and wants, as text, to be told to the control plane now and after each reconnect."""

    text: str


class TimerFired(msgspec.Struct, frozen=True):
    """The time of the last `SetTimer` has come (being early is harmless)."""


class Stopped(msgspec.Struct, frozen=True):
    """End the stream and do not reconnect."""


Event = (
    Started
    | Wanted
    | Received
    | Judged
    | Closed
    | Moved
    | HealthChanged
    | ApplicationChanged
    | TimerFired
    | Stopped
)

# --- commands -----------------------------------------------------------------------------------------------------


class Open(msgspec.Struct, frozen=True):
    """Open a call of this gRPC path. `Send`s that follow belong to it; do not wait for the server's head."""

    path: str


class Send(msgspec.Struct, frozen=True):
    message: bytes


class Cancel(msgspec.Struct, frozen=True):
    """End the call; no `Closed` is expected for it (one that comes is harmless)."""


class SetTimer(msgspec.Struct, frozen=True):
    """Send `TimerFired` at this time (ms, same clock as `now`); replaces the one before."""

    at: int


class Offer(msgspec.Struct, frozen=True):
    """One resource. `body`: the serialised message of the kind's type; `version`: the server's, or in SotW our digest."""

    name: str
    version: str
    body: bytes


class Offered(msgspec.Struct, frozen=True):
    """One response, to be taken or refused resource by resource; answer with `Judged`.

    `upserts` leaves out what is held unchanged; both may be empty (an answer all the same: the server has nothing).
    `removals` may name what never was there: the server says that it does not exist.
    """

    token: int
    kind: Kind
    upserts: tuple[Offer, ...]
    removals: tuple[str, ...]


class Missing(msgspec.Struct, frozen=True):
    """The server did not answer for these names in time (`Wanted.wait`); told once per stream and name."""

    kind: Kind
    names: tuple[str, ...]


class Lost(msgspec.Struct, frozen=True):
    """The stream ended (status and words of the server, or of the connection); the next attempt is at `retry_at`. `refused`: the
    server does not want this client as it is."""

    status: int
    message: str
    retry_at: int
    refused: bool = False


Command = Open | Send | Cancel | SetTimer | Offered | Missing | Lost
