"""Who calls whom, over which protocol, and what each of them can do: the table of docs/rpc-peers.md."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

CAPABILITIES = {
    "sync": "a call that waits",
    "one way": "a call that nobody answers",
    "future": "a call whose answer is fetched later",
    "callback": "a call whose answer is delivered",
    "exception": "the service's own exception reaches the caller",
    "timeout": "the caller's own timeout, and after it the next call",
    "sidecar's timeout": "the route's timeout, told in the protocol's words",
    "8 MiB": "a body of 8 MiB there and back",
    "1,000 calls": "so many at a time on one connection",
    "canary by header": "a call with a header goes to the other provider",
    "restart": "a provider that died and came back",
    "retry": "no call is lost when one of two providers is killed",
}
"""What each pair is put through, and what that means."""


class Side(NamedTuple):
    """A program: its family, and in what protocol of the family's."""

    family: str
    protocol: str


@dataclass(frozen=True)
class Pair:
    name: str
    """For people: it is the heading of the table's row."""

    wire: str
    """The description or native codec by which the engine reads it, or `tri`, which is gRPC."""

    client: Side
    provider: Side
    options: dict[str, str | int] = field(default_factory=dict)
    """Sent with each command."""

    exception: str = "IllegalStateException: broken"
    """What the caller is told of the service's exception: a pattern."""

    timeout: str = "imeout"
    late: str = "imeout"
    """What the caller says of its own timeout, and of the sidecar's."""

    header: str = "x-user"
    """How a header that the caller sets is called on the wire."""

    large: str = "sync"
    """The way of calling that manages large bodies."""

    together: str = "future"
    """The way of calling many at a time."""

    burst: int = 1_000
    """Calls at a time."""

    lacks: dict[str, str] = field(default_factory=dict)
    """Capabilities that a peer does not have, with the reason."""

    notes: dict[str, str] = field(default_factory=dict)
    """What a peer has, but not quite."""

    @property
    def key(self) -> str:
        return re.sub(r"\W+", "-", self.name.replace("→", "to")).strip("-")

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.client.family, self.provider.family)))


_SOFA, _BOLT = Side("sofa-java", "sofa"), Side("sofa-java", "bolt")
_NODE, _NODE_CRC = Side("node", "bolt"), Side("node", "bolt22")
_AS_NODE = {
    "one way": "sofa-rpc-node waits for an answer to every call",
    "canary by header": "sofa-rpc-node writes nothing but the service's name in front of a hessian body",
}
_THROWN = "RpcServerException: .*broken"
_FROM_NODE: dict[str, Any] = {
    "timeout": "RpcResponseTimeoutError|Server exception",
    "late": "Server exception",
}
"""sofa-rpc-node does not look at the status."""


_THRIFT: dict[str, Any] = {
    "exception": "RefusedError: broken",
    "timeout": "TTransportException: read timeout",
    "late": "TApplicationException",
    "lacks": {
        "future": "Thrift's Python clients only wait",
        "callback": "Thrift's Python clients only wait",
        "canary by header": "Thrift's frames carry no headers",
    },
    "notes": {
        "1,000 calls": "Thrift's clients have one call in flight on a connection: a thousand calls on 64"
    },
}


def _alike(name: str, family: str, wire: str, **more: Any) -> Pair:
    """Client and provider of one family."""
    return Pair(name, wire, Side(family, wire), Side(family, wire), **more)


def _bolt_java(name: str, version: int) -> Pair:
    return Pair(
        name,
        "bolt",
        _BOLT,
        _BOLT,
        options={"version": version},
        exception="InvokeServerException",
        timeout="InvokeTimeoutException",
        together="callback",
    )


PAIRS = (
    _alike("Thrift (Python)", "thrift", "thrift", **_THRIFT),
    _alike("Thrift (Python), compact", "thrift", "thrift-compact", **_THRIFT),
    _alike(
        "SOFARPC Python (anthunder)",
        "anthunder",
        "bolt",
        exception="ServerError: .*UNKNOWN",
        timeout="ServerError: .*TIMEOUT|TimeoutError",
        late="ServerError: .*TIMEOUT",
        large="future",
    ),
    Pair(
        "SOFARPC Java", "bolt", _SOFA, _SOFA, header="rpc_req_baggage.x-user", timeout="SofaTimeOutException"
    ),
    _bolt_java("Bolt Java, version 2 with checksums", 22),
    _bolt_java("Bolt Java, version 2 without checksums", 21),
    Pair("SOFARPC Node", "bolt", _NODE, _NODE, exception=_THROWN, lacks=_AS_NODE, **_FROM_NODE),
    Pair(
        "SOFARPC Node, version 2 with checksums",
        "bolt",
        _NODE_CRC,
        _NODE,
        exception=_THROWN,
        lacks=_AS_NODE,
        **_FROM_NODE,
    ),
    Pair("SOFARPC Node → Java", "bolt", _NODE, _SOFA, exception="broken", lacks=_AS_NODE, **_FROM_NODE),
    Pair(
        "SOFARPC Java → Node",
        "bolt",
        _SOFA,
        _NODE,
        header="rpc_req_baggage.x-user",
        exception="RpcServerException",
        notes={"exception": "Java tells the class of Node's exception, which it cannot read"},
    ),
    _alike("Dubbo Java", "dubbo-java", "dubbo"),
    _alike(
        "Dubbo Java, Triple",
        "dubbo-java",
        "tri",
        burst=100,
        notes={
            "1,000 calls": "100 at a time: under more, Dubbo 3.3.6 mixes up its own HTTP/2 frames, also without a mesh"
        },
    ),
    Pair(
        "dubbo-remoting (Node) → Dubbo Java",
        "dubbo",
        Side("node", "dubbo"),
        Side("dubbo-java", "dubbo"),
        exception="broken",
        timeout="RpcResponseTimeoutError",
        late="timeout",
        lacks={"one way": _AS_NODE["one way"]},
    ),
)
