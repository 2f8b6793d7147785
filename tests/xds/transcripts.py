"""Transcripts of server streams, as data: what it receives, what it sends. Run on the machine, and on the server over real gRPC.

`Receives.nonce` and `.version` may be "last": those of the newest response of the kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from model_mesh import SmallView, make

from mainstay.xds.types import Kind, Variant


@dataclass(frozen=True)
class Shows:
    """The publisher gives a view; `names` None: anything may have changed."""

    view: SmallView
    names: dict[Kind, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Receives:
    """A request. SotW uses `names`, delta `names` as what is subscribed to."""

    kind: Kind
    names: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    held: dict[str, str] = field(default_factory=dict)
    nonce: str = ""
    version: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Sends:
    """A response: names with the salt of what they hold."""

    kind: Kind
    resources: dict[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class SendsNothing:
    pass


@dataclass(frozen=True)
class Waits:
    ms: int


@dataclass(frozen=True)
class Ends:
    status: int


Step = Shows | Receives | Sends | SendsNothing | Waits | Ends


@dataclass(frozen=True)
class Transcript:
    name: str
    variant: Variant
    steps: tuple[Step, ...]
    only: Kind | None = None

    @property
    def is_timed(self) -> bool:
        return any(isinstance(step, Waits) for step in self.steps)


def ack(kind: Kind, *names: str, variant: Variant = "delta") -> Receives:
    return Receives(kind, names if variant == "sotw" else (), nonce="last", version="last")


def nack(kind: Kind, error: str, *names: str, version: str = "") -> Receives:
    return Receives(kind, names, nonce="last", version=version, error=error)


A = make("cluster", "a", "1")
A2 = make("cluster", "a", "2")
A3 = make("cluster", "a", "3")
B = make("cluster", "b", "1")
B2 = make("cluster", "b", "2")
EDS_A = make("endpoint", "ea", "1")
EDS_A2 = make("endpoint", "ea", "2")
WITH_EDS = make("cluster", "a", "1", ("endpoint", "ea"))
TO_A = make("route", "r", "to a", ("cluster", "a"))
TO_B = make("route", "r", "to b", ("cluster", "b"))
LISTENER = make("listener", "l", "1", ("route", "r"))
CALLS_TO_A = make("generic_route", "r", "to a", ("cluster", "a"))
CALLS_TO_B = make("generic_route", "r", "to b", ("cluster", "b"))
CALLS = make("listener", "l", "1", ("generic_route", "r"))

TRANSCRIPTS: tuple[Transcript, ...] = (
    Transcript(
        "delta wildcard gets all, then only what changed",
        "delta",
        (
            Shows(SmallView(A, B)),
            Receives("cluster"),
            Sends("cluster", {"a": "1", "b": "1"}),
            ack("cluster"),
            SendsNothing(),
            Shows(SmallView(A2, B), {"cluster": ("a",)}),
            Sends("cluster", {"a": "2"}),
            ack("cluster"),
            Shows(SmallView(B)),
            Sends("cluster", removed=("a",)),
        ),
    ),
    Transcript(
        "an empty wildcard is answered all the same",
        "delta",
        (Shows(SmallView()), Receives("cluster"), Sends("cluster"), ack("cluster"), SendsNothing()),
    ),
    Transcript(
        "sotw wildcard gets all every time",
        "sotw",
        (
            Shows(SmallView(A, B)),
            Receives("cluster"),
            Sends("cluster", {"a": "1", "b": "1"}),
            ack("cluster", variant="sotw"),
            SendsNothing(),
            Shows(SmallView(A2, B)),
            Sends("cluster", {"a": "2", "b": "1"}),
            ack("cluster", variant="sotw"),
            Shows(SmallView(B)),
            Sends("cluster", {"b": "1"}),
        ),
    ),
    Transcript(
        "sotw of partial state sends what changed only, and says nothing of what does not exist",
        "sotw",
        (
            Shows(SmallView(EDS_A)),
            Receives("endpoint", ("ea", "unknown")),
            Sends("endpoint", {"ea": "1"}),
            ack("endpoint", "ea", "unknown", variant="sotw"),
            SendsNothing(),
            Shows(SmallView(EDS_A, make("endpoint", "eb", "1")), {"endpoint": ("eb",)}),
            SendsNothing(),
            Receives("endpoint", ("ea", "eb"), nonce="last", version="last"),
            Sends("endpoint", {"eb": "1"}),
        ),
    ),
    Transcript(
        "a stale nonce is ignored in sotw, subscriptions included",
        "sotw",
        (
            Shows(SmallView(EDS_A)),
            Receives("endpoint", ("ea",)),
            Sends("endpoint", {"ea": "1"}),
            ack("endpoint", "ea", variant="sotw"),
            Shows(SmallView(EDS_A2)),
            Sends("endpoint", {"ea": "2"}),
            Receives("endpoint", ("ea", "eb"), nonce="1"),
            SendsNothing(),
            Receives("endpoint", ("ea",), nonce="last", version="last"),
            SendsNothing(),
        ),
    ),
    Transcript(
        "a stale nonce still subscribes in delta, and is no verdict",
        "delta",
        (
            Shows(SmallView(EDS_A, make("endpoint", "eb", "1"))),
            Receives("endpoint", ("ea",)),
            Sends("endpoint", {"ea": "1"}),
            Receives("endpoint", ("eb",), nonce="77"),
            SendsNothing(),
            ack("endpoint"),
            Sends("endpoint", {"eb": "1"}),
        ),
    ),
    Transcript(
        "one response waits for its verdict, and the newest state follows it",
        "delta",
        (
            Shows(SmallView(A)),
            Receives("cluster"),
            Sends("cluster", {"a": "1"}),
            Shows(SmallView(A2)),
            SendsNothing(),
            Shows(SmallView(A3)),
            SendsNothing(),
            ack("cluster"),
            Sends("cluster", {"a": "3"}),
        ),
    ),
    Transcript(
        "an unknown name is answered with a removal, once",
        "delta",
        (
            Shows(SmallView()),
            Receives("endpoint", ("nowhere",)),
            Sends("endpoint", removed=("nowhere",)),
            ack("endpoint"),
            SendsNothing(),
            Shows(SmallView(make("endpoint", "nowhere", "1")), {"endpoint": ("nowhere",)}),
            Sends("endpoint", {"nowhere": "1"}),
        ),
    ),
    Transcript(
        "a name asked for again is answered, though nothing changed",
        "delta",
        (
            Shows(SmallView(EDS_A)),
            Receives("endpoint", ("ea",)),
            Sends("endpoint", {"ea": "1"}),
            ack("endpoint"),
            Receives("endpoint", ("ea",)),
            Sends("endpoint", {"ea": "1"}),
        ),
    ),
    Transcript(
        "a name that was left is no longer told of",
        "delta",
        (
            Shows(SmallView(EDS_A)),
            Receives("endpoint", ("ea",)),
            Sends("endpoint", {"ea": "1"}),
            ack("endpoint"),
            Receives("endpoint", unsubscribe=("ea",)),
            SendsNothing(),
            Shows(SmallView(EDS_A2)),
            SendsNothing(),
        ),
    ),
    Transcript(
        "a name left while the wildcard covers it is told anew",
        "delta",
        (
            Shows(SmallView(A)),
            Receives("cluster", ("*", "a", "b")),
            Sends("cluster", {"a": "1"}, removed=("b",)),
            ack("cluster"),
            Receives("cluster", unsubscribe=("a", "b")),
            Sends("cluster", {"a": "1"}, removed=("b",)),
        ),
    ),
    Transcript(
        "the wildcard can be left, named resources stay",
        "delta",
        (
            Shows(SmallView(A, B)),
            Receives("cluster", ("*", "a")),
            Sends("cluster", {"a": "1", "b": "1"}),
            ack("cluster"),
            Receives("cluster", unsubscribe=("*",)),
            SendsNothing(),
            Shows(SmallView(A2, B2)),
            Sends("cluster", {"a": "2"}),
        ),
    ),
    Transcript(
        "a name beyond the scope is had by asking for it",
        "delta",
        (
            Shows(SmallView(A, beyond=(B,))),
            Receives("cluster"),
            Sends("cluster", {"a": "1"}),
            ack("cluster"),
            Receives("cluster", ("b",)),
            Sends("cluster", {"b": "1"}),
        ),
    ),
    Transcript(
        "sotw: an empty list after names unsubscribes all, and is no wildcard",
        "sotw",
        (
            Shows(SmallView(A, B)),
            Receives("cluster", ("a",)),
            Sends("cluster", {"a": "1"}),
            Receives("cluster", (), nonce="last", version="last"),
            SendsNothing(),
            Shows(SmallView(A2, B2)),
            SendsNothing(),
        ),
    ),
    Transcript(
        "resuming delta gets the difference only",
        "delta",
        (
            Shows(SmallView(A2, B)),
            Receives("cluster", held={"a": A.version.hex(), "b": B.version.hex(), "gone": "00"}),
            Receives("route"),
            Receives("generic_route"),
            Receives("listener", held={"x": "0102"}),
            Sends("cluster", {"a": "2"}),
            ack("cluster"),
            Sends("listener", removed=("x",)),
            ack("listener"),
            Sends("cluster", removed=("gone",)),
        ),
    ),
    Transcript(
        "resuming delta with everything held is silent",
        "delta",
        (
            Shows(SmallView(A, EDS_A)),
            Receives("cluster", held={"a": A.version.hex()}),
            Receives("endpoint", ("ea",), held={"ea": EDS_A.version.hex()}),
            SendsNothing(),
            Shows(SmallView(A2, EDS_A)),
            Sends("cluster", {"a": "2"}),
        ),
    ),
    Transcript(
        "a nack names its resource: the others count as taken, the refused version is not sent again",
        "delta",
        (
            Shows(SmallView(A, B)),
            Receives("cluster"),
            Sends("cluster", {"a": "1", "b": "1"}),
            nack("cluster", "b: lb_policy: unknown"),
            SendsNothing(),
            Shows(SmallView(A, B)),
            SendsNothing(),
            Shows(SmallView(A, B2)),
            Sends("cluster", {"b": "2"}),
        ),
    ),
    Transcript(
        "a nack without names refuses the whole response",
        "delta",
        (
            Shows(SmallView(A, B)),
            Receives("cluster"),
            Sends("cluster", {"a": "1", "b": "1"}),
            nack("cluster", "Internal error"),
            Shows(SmallView(A2, B)),
            Sends("cluster", {"a": "2"}),
        ),
    ),
    Transcript(
        "sotw after a nack lists the last good version",
        "sotw",
        (
            Shows(SmallView(A, B)),
            Receives("cluster"),
            Sends("cluster", {"a": "1", "b": "1"}),
            ack("cluster", variant="sotw"),
            Shows(SmallView(A2, B)),
            Sends("cluster", {"a": "2", "b": "1"}),
            nack("cluster", "a: bad"),
            SendsNothing(),
            Shows(SmallView(A2, B2)),
            Sends("cluster", {"a": "1", "b": "2"}),
        ),
    ),
    Transcript(
        "a new cluster comes before the route to it, the old one goes after the route is taken",
        "delta",
        (
            Shows(SmallView(A, TO_A, LISTENER)),
            Receives("cluster"),
            Receives("listener"),
            Receives("route", ("r",)),
            Sends("cluster", {"a": "1"}),
            Sends("listener", {"l": "1"}),
            ack("listener"),
            ack("cluster"),
            Sends("route", {"r": "to a"}),
            ack("route"),
            Shows(SmallView(B, TO_B, LISTENER)),
            Sends("cluster", {"b": "1"}),
            SendsNothing(),
            ack("cluster"),
            Sends("route", {"r": "to b"}),
            SendsNothing(),
            ack("route"),
            Sends("cluster", removed=("a",)),
        ),
    ),
    Transcript(
        "routes of RPC keep the order of HTTP's",
        "delta",
        (
            Shows(SmallView(A, CALLS_TO_A, CALLS)),
            Receives("cluster"),
            Receives("listener"),
            Receives("generic_route", ("r",)),
            Sends("cluster", {"a": "1"}),
            Sends("listener", {"l": "1"}),
            ack("listener"),
            ack("cluster"),
            Sends("generic_route", {"r": "to a"}),
            ack("generic_route"),
            Shows(SmallView(B, CALLS_TO_B, CALLS)),
            Sends("cluster", {"b": "1"}),
            SendsNothing(),
            ack("cluster"),
            Sends("generic_route", {"r": "to b"}),
            SendsNothing(),
            ack("generic_route"),
            Sends("cluster", removed=("a",)),
        ),
    ),
    Transcript(
        "make before break in sotw too",
        "sotw",
        (
            Shows(SmallView(A, TO_A)),
            Receives("cluster"),
            Receives("route", ("r",)),
            Sends("cluster", {"a": "1"}),
            ack("cluster", variant="sotw"),
            Sends("route", {"r": "to a"}),
            ack("route", "r", variant="sotw"),
            Shows(SmallView(B, TO_B)),
            Sends("cluster", {"a": "1", "b": "1"}),
            ack("cluster", variant="sotw"),
            Sends("route", {"r": "to b"}),
            ack("route", "r", variant="sotw"),
            Receives("listener"),
            Sends("cluster", {"b": "1"}),
            Sends("listener"),
        ),
    ),
    Transcript(
        "a route waits for the endpoints of its cluster",
        "delta",
        (
            Shows(SmallView(WITH_EDS, EDS_A, TO_A)),
            Receives("cluster"),
            Receives("route", ("r",)),
            Sends("cluster", {"a": "1"}),
            Receives("endpoint", ("ea",)),
            ack("cluster"),
            Sends("endpoint", {"ea": "1"}),
            SendsNothing(),
            ack("endpoint"),
            Sends("route", {"r": "to a"}),
        ),
    ),
    Transcript(
        "a route whose cluster is not answered for goes out after fifteen seconds",
        "delta",
        (
            Shows(SmallView(A, TO_A)),
            Receives("cluster"),
            Receives("route", ("r",)),
            Sends("cluster", {"a": "1"}),
            SendsNothing(),
            Waits(14_999),
            SendsNothing(),
            Waits(1),
            Sends("route", {"r": "to a"}),
        ),
    ),
    Transcript(
        "a proxy that never answers is given up after a minute",
        "delta",
        (
            Shows(SmallView(A)),
            Receives("cluster"),
            Sends("cluster", {"a": "1"}),
            Waits(59_999),
            SendsNothing(),
            Waits(1),
            Ends(14),
        ),
    ),
    Transcript(
        "views are withheld until there is one",
        "delta",
        (Receives("cluster"), SendsNothing(), Shows(SmallView(A)), Sends("cluster", {"a": "1"})),
    ),
    Transcript(
        "a single service speaks its own kind only",
        "delta",
        (
            Shows(SmallView(WITH_EDS, EDS_A)),
            Receives("endpoint", ("ea",)),
            Sends("endpoint", {"ea": "1"}),
            ack("endpoint"),
            Receives("cluster"),
            SendsNothing(),
        ),
        only="endpoint",
    ),
)
