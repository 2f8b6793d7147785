"""What every xDS server has to keep to, as rules (see `steps`)."""

from __future__ import annotations

from .steps import (
    ADS,
    DELTA,
    SOTW,
    Ack,
    AskUnknown,
    Expect,
    Have,
    InOrder,
    Kind,
    Nack,
    Quiet,
    Reconnect,
    Rule,
    Settle,
    Step,
    Subscribe,
    Want,
)

A, A2, B, B2, C = "cluster a@1", "cluster a@2", "cluster b@1", "cluster b@2", "cluster c@1"
EA, EA2, EB, EB2 = "endpoint a@1", "endpoint a@2", "endpoint b@1", "endpoint b@2"


def known(
    kind: Kind, resources: tuple[str, ...], brings: tuple[str, ...], names: tuple[str, ...] = ()
) -> tuple[Step, ...]:
    """What the server has, what is wanted of it, what that brings, and that it is taken: how most rules begin."""
    return Have(resources), Want(kind, names), Expect(kind, brings), Ack(kind)


RULES: tuple[Rule, ...] = (
    # --- subscriptions ---
    Rule(
        "a first request without names brings everything",
        "How the client specifies what resources to return",
        (Have((A, B)), Want("cluster"), Expect("cluster", ("a@1", "b@1"))),
    ),
    Rule(
        "the name * brings everything",
        "How the client specifies what resources to return",
        (Have((A, B)), Want("cluster", ("*",)), Expect("cluster", ("a@1", "b@1"))),
    ),
    Rule(
        "the wildcard holds for listeners as for clusters",
        "How the client specifies what resources to return",
        (Have(("listener l@1", "listener m@1")), Want("listener"), Expect("listener", ("l@1", "m@1"))),
    ),
    Rule(
        "names bring what they name and nothing else",
        "How the client specifies what resources to return",
        (Have((A, B, C)), Want("cluster", ("a", "c")), Expect("cluster", ("a@1", "c@1"))),
    ),
    Rule(
        "a name asked for later is answered though nothing changed",
        "How the client specifies what resources to return",
        (
            *known("endpoint", (EA, EB), ("a@1",), names=("a",)),
            Want("endpoint", ("a", "b")),
            Expect("endpoint", ("b@1",)),
        ),
    ),
    Rule(
        "a name given up is no longer told of",
        "Unsubscribing From Resources",
        (
            *known("endpoint", (EA, EB), ("a@1", "b@1"), names=("a", "b")),
            Want("endpoint", ("a",)),
            Settle("endpoint"),
            Have((EA, EB2)),
            Settle("endpoint"),
        ),
    ),
    Rule(
        "a name given up and asked for again is answered",
        "Unsubscribing From Resources",
        (
            *known("endpoint", (EA, EB), ("a@1", "b@1"), names=("a", "b")),
            Want("endpoint", ("a",)),
            Settle("endpoint"),
            Want("endpoint", ("a", "b")),
            Expect("endpoint", ("b@1",)),
        ),
    ),
    Rule(
        "after names an empty list ends the subscription",
        "How the client specifies what resources to return",
        (
            *known("cluster", (A, B), ("a@1",), names=("a",)),
            Want("cluster", ()),
            Settle("cluster"),
            Have((A2, B2)),
            Quiet("cluster", empty=True),
        ),
    ),
    Rule(
        "a wildcard can be changed for names",
        "How the client specifies what resources to return",
        (
            *known("cluster", (A, B), ("a@1", "b@1")),
            Want("cluster", ("*", "a")),
            Expect("cluster", ("a@1", "b@1")),
            Ack("cluster"),
            Want("cluster", ("a",)),
            Settle("cluster"),
            Have((A2, B2, C)),
            Expect("cluster", ("a@2",)),
        ),
        variants=SOTW,
    ),
    Rule(
        "the wildcard is told beside names",
        "How the client specifies what resources to return",
        (
            *known("cluster", (A, B), ("a@1",), names=("a",)),
            Want("cluster", ("*", "a")),
            Expect("cluster", ("a@1", "b@1")),
        ),
        variants=SOTW,
    ),
    Rule(
        "of a wildcard given up only the names stay",
        "How the client specifies what resources to return",
        (
            *known("cluster", (A, B), ("a@1", "b@1")),
            Subscribe("cluster", ("a",)),
            Expect("cluster", ("a@1",)),
            Ack("cluster"),
            Subscribe("cluster", leave=("*",)),
            Settle("cluster"),
            Have((A2, B2, C)),
            Expect("cluster", ("a@2",)),
        ),
        variants=DELTA,
    ),
    Rule(
        "a wildcard may be begun after names",
        "How the client specifies what resources to return",
        (
            *known("cluster", (A, B), ("a@1",), names=("a",)),
            Subscribe("cluster", ("*",)),
            Expect("cluster", ("b@1",)),
        ),
        variants=DELTA,
    ),
    Rule(
        "what is asked for again is sent again",
        "Subscribing to Resources",
        (
            *known("endpoint", (EA,), ("a@1",), names=("a",)),
            Subscribe("endpoint", ("a",)),
            Expect("endpoint", ("a@1",)),
        ),
        variants=DELTA,
    ),
    Rule(
        "a name given up that the wildcard covers is told",
        "Unsubscribing from Resources",
        (
            *known("cluster", (A, B), ("a@1", "b@1"), names=("*", "a")),
            Subscribe("cluster", leave=("a",)),
            Expect("cluster", ("a@1",)),
        ),
        variants=DELTA,
    ),
    Rule(
        "giving up what was never asked for does no harm",
        "Unsubscribing from Resources",
        (
            *known("endpoint", (EA,), ("a@1",), names=("a",)),
            Subscribe("endpoint", leave=("b", "c")),
            Settle("endpoint"),
            Have((EA2,)),
            Expect("endpoint", ("a@2",)),
        ),
        variants=DELTA,
    ),
    Rule(
        "a name that stands in a request twice is answered once",
        "Duplicate Resource Names",
        (
            Have((EA,)),
            Subscribe("endpoint", ("a", "a")),
            Expect("endpoint", ("a@1",)),
            Ack("endpoint"),
            Quiet("endpoint"),
        ),
        variants=DELTA,
    ),
    # --- what does not exist, and what comes to an end ---
    Rule(
        "a name that does not exist is said to be none",
        "Knowing When a Requested Resource Does Not Exist",
        (Have((EA,)), Want("endpoint", ("a", "none")), Expect("endpoint", ("a@1",), gone=("none",))),
        variants=DELTA,
    ),
    Rule(
        "a name that comes into being is sent",
        "Knowing When a Requested Resource Does Not Exist",
        (
            Have((EA,)),
            Want("endpoint", ("a", "b")),
            Expect("endpoint", ("a@1",), or_gone=("b",)),
            Ack("endpoint"),
            Have((EA, EB)),
            Expect("endpoint", ("b@1",)),
        ),
    ),
    Rule(
        "a cluster that goes is told",
        "Deleting Resources",
        (
            *known("cluster", (A, B), ("a@1", "b@1")),
            Have((A,)),
            Expect("cluster", (), gone=("b",)),
        ),
        variants=DELTA,
    ),
    Rule(
        "a cluster that goes is missing from the whole",
        "Deleting Resources",
        (
            *known("cluster", (A, B), ("a@1", "b@1")),
            Have((A,)),
            Expect("cluster", ("a@1",), gone=("b",)),
        ),
        variants=SOTW,
    ),
    Rule(
        "the last cluster that goes leaves an empty whole",
        "Deleting Resources",
        (
            *known("cluster", (A,), ("a@1",)),
            Have(()),
            Expect("cluster", (), gone=("a",)),
        ),
    ),
    # --- updates ---
    Rule(
        "a change brings the whole state of clusters",
        "Grouping Resources into Responses",
        (
            *known("cluster", (A, B), ("a@1", "b@1")),
            Have((A, B2)),
            Expect("cluster", ("a@1", "b@2")),
        ),
        variants=SOTW,
    ),
    Rule(
        "a change brings what changed",
        "Grouping Resources into Responses",
        (
            *known("cluster", (A, B), ("a@1", "b@1")),
            Have((A, B2)),
            Expect("cluster", ("b@2",)),
        ),
        variants=DELTA,
    ),
    Rule(
        "a change of endpoints is sent",
        "When to send an update",
        (
            *known("endpoint", (EA, EB), ("a@1", "b@1"), names=("a", "b")),
            Have((EA2, EB)),
            Expect("endpoint", ("a@2",)),
        ),
    ),
    Rule(
        "what is taken is not sent again",
        "When to send an update",
        (
            *known("cluster", (A,), ("a@1",)),
            Quiet("cluster"),
        ),
    ),
    Rule(
        "a change of one kind sends nothing of another",
        "Aggregated Discovery Service",
        (
            *known("cluster", (A, EA), ("a@1",)),
            Want("endpoint", ("a",)),
            Expect("endpoint", ("a@1",)),
            Ack("endpoint"),
            Have((A, EA2)),
            Expect("endpoint", ("a@2",)),
            Quiet("cluster", empty=True),
        ),
        variants=DELTA,
    ),
    Rule(
        "secrets come by name, and anew when they change",
        "Resource Types",
        (
            *known("secret", ("secret s@1", "secret t@1"), ("s@1",), names=("s",)),
            Have(("secret s@2", "secret t@2")),
            Expect("secret", ("s@2",)),
        ),
    ),
    # --- verdicts and nonces ---
    Rule(
        "what is refused is not sent again",
        "ACK and NACK semantics summary",
        (Have((A,)), Want("cluster"), Expect("cluster", ("a@1",)), Nack("cluster", "a"), Quiet("cluster")),
    ),
    Rule(
        "after a refusal the next version is sent",
        "NACK",
        (
            Have((A,)),
            Want("cluster"),
            Expect("cluster", ("a@1",)),
            Nack("cluster", "a"),
            Have((A2,)),
            Expect("cluster", ("a@2",)),
            Ack("cluster"),
            Quiet("cluster"),
        ),
    ),
    Rule(
        "a refusal of one kind does not stop another",
        "Aggregated Discovery Service",
        (
            Have((A, "listener l@1")),
            Want("listener"),
            Expect("listener", ("l@1",)),
            Nack("listener", "l"),
            Want("cluster"),
            Expect("cluster", ("a@1",)),
        ),
    ),
    Rule(
        "a request with a stale nonce is passed over",
        "Resource updates",
        (
            *known("endpoint", (EA, EB), ("a@1",), names=("a",)),
            Have((EA2, EB)),
            Expect("endpoint", ("a@2",)),
            Want("endpoint", ("b",), stale=True),
            Quiet("endpoint"),
        ),
        variants=SOTW,
    ),
    Rule(
        "a subscription counts though its nonce is stale",
        "Incremental xDS",
        (
            *known("endpoint", (EA, EB), ("a@1",), names=("a",)),
            Have((EA2, EB)),
            Expect("endpoint", ("a@2",)),
            Subscribe("endpoint", ("b",), stale=True),
            Ack("endpoint"),
            Expect("endpoint", ("b@1",)),
        ),
        variants=DELTA,
    ),
    # --- reconnection ---
    Rule(
        "a new stream knows nothing of the former one",
        "Basic Protocol Overview",
        (
            *known("endpoint", (EA,), ("a@1",), names=("a",)),
            Reconnect(),
            Want("endpoint", ("a",)),
            Expect("endpoint", ("a@1",)),
        ),
    ),
    Rule(
        "what the client brings along is not sent again",
        "Incremental xDS",
        (
            *known("cluster", (A, B), ("a@1", "b@1")),
            Reconnect(),
            Have((A, B2)),
            Want("cluster", resume=True),
            Expect("cluster", ("b@2",)),
        ),
        variants=DELTA,
    ),
    Rule(
        "what went while the client was away is told",
        "Incremental xDS",
        (
            *known("cluster", (A, B), ("a@1", "b@1")),
            Reconnect(),
            Have((A,)),
            Want("cluster", resume=True),
            Expect("cluster", (), gone=("b",)),
        ),
        variants=DELTA,
    ),
    Rule(
        "a client that lacks nothing is told nothing",
        "Incremental xDS",
        (
            *known("cluster", (A, B), ("a@1", "b@1")),
            Reconnect(),
            Want("cluster", resume=True),
            Quiet("cluster", empty=True),
        ),
        variants=DELTA,
    ),
    Rule(
        "a version told of names does not keep new names from coming",
        "ACK/NACK and resource type instance version",
        (
            *known("endpoint", (EA, EB), ("a@1",), names=("a",)),
            Reconnect(),
            Want("endpoint", ("a", "b"), resume=True),
            Expect("endpoint", ("b@1",)),
        ),
    ),
    # --- the rest ---
    Rule(
        "a type that nobody has does not end the stream",
        "Aggregated Discovery Service",
        (Have((A,)), AskUnknown(), Want("cluster"), Expect("cluster", ("a@1",))),
        streams=ADS,
    ),
    Rule(
        "routes move before their cluster goes",
        "Eventual consistency considerations",
        (
            *known("cluster", ("cluster a@1>a", EA, "route r@1>a", "listener l@1>r"), ("a@1>a",)),
            Want("endpoint", ("a", "b")),
            Expect("endpoint", ("a@1",), or_gone=("b",)),
            Ack("endpoint"),
            Want("listener"),
            Expect("listener", ("l@1>r",)),
            Ack("listener"),
            Want("route", ("r",)),
            Expect("route", ("r@1>a",)),
            Ack("route"),
            Have(("cluster b@1>b", EB, "route r@2>b", "listener l@1>r")),
            InOrder(("cluster b@1>b", "endpoint b@1", "route r@2>b", "-cluster a")),
        ),
        streams=ADS,
    ),
)
