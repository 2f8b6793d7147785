"""RPCRoute: where calls of described protocols go; Gateway API's GRPCRoute for protocols that are not gRPC.

In: YAML or JSON, through the decoder. Out: ``RPCRoute``, read by ``translate``. Fields have GRPCRoute's names and meaning; what
it lacks and RPC needs (subsets, retries by outcome, replies) has names of its own.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from mainstay.api.define import Count, Duration, Length, OneOf, Part, Pattern, Port, Range, Unit
from mainstay.api.object import NAMESPACE
from mainstay.model.rpc import OutcomeName

MatchType = Literal["Exact", "RegularExpression"]

SERVICE_NAME = Pattern(
    r"[A-Za-z0-9_]([-A-Za-z0-9_.:@$/]{0,251}[A-Za-z0-9_])?", "a host, or the name of an RPC service"
)


class RPCParentReference(Part, frozen=True):
    """A mesh service whose callers use the route."""

    name: Annotated[
        str, "Service's host, completed with the namespace if short; or an RPC service's name.", SERVICE_NAME
    ]
    namespace: Annotated[
        str | None,
        "Namespace that completes a short name; the route's if absent. A route for a service of another namespace"
        " counts for callers of its own namespace only.",
        NAMESPACE,
    ] = None
    port: Annotated[Port | None, "Port of the service; all that speak RPC if absent."] = None


class RPCMethodMatch(Part, frozen=True):
    """Which service and method is called."""

    type: Annotated[MatchType, "How both are compared; an expression (RE2) has to match the whole text."] = (
        "Exact"
    )
    service: Annotated[str | None, "RPC service, with case; every one if absent.", Length(1, 1024)] = None
    method: Annotated[str | None, "Method, with case; every one if absent.", Length(1, 1024)] = None


class RPCHeaderMatch(Part, frozen=True, kw_only=True):
    """A header or attribute of the call."""

    type: Annotated[MatchType, "How the value is compared."] = "Exact"
    name: Annotated[str, "Name, without regard to case.", Length(1, 256)]
    value: Annotated[str, "Value.", Length(1, 4096)]


class RPCRouteMatch(Part, frozen=True):
    """Conditions on one call, all of which must hold."""

    method: Annotated[RPCMethodMatch | None, "Service and method; every one if absent."] = None
    headers: Annotated[tuple[RPCHeaderMatch, ...], "Headers and attributes.", Length(0, 16)] = ()


class RPCHeader(Part, frozen=True):
    """A header with its value."""

    name: Annotated[str, "Name.", Length(1, 256)]
    value: Annotated[str, "Value.", Length(0, 4096)]


class RPCHeaderModifier(Part, frozen=True):
    """Changes to the header map of a frame."""

    set: Annotated[tuple[RPCHeader, ...], "Replace or create.", Length(0, 16)] = ()
    add: Annotated[tuple[RPCHeader, ...], "Append a value.", Length(0, 16)] = ()
    remove: Annotated[tuple[str, ...], "Delete.", Length(0, 16)] = ()


class RPCBackend(Part, frozen=True):
    """A service, or a subset of one."""

    name: Annotated[
        str, "Service's host, completed with the namespace if short; or an RPC service's name.", SERVICE_NAME
    ]
    namespace: Annotated[
        str | None, "Namespace that completes a short name; the route's if absent.", NAMESPACE
    ] = None
    port: Annotated[Port | None, "Port; may be left out where the service has one or the caller's fits."] = (
        None
    )
    subset: Annotated[str | None, "Name of a subset in the host's DestinationRule."] = None


class RPCMirror(Part, frozen=True):
    """Copies of calls, whose answers are dropped."""

    backend_ref: Annotated[RPCBackend, "Where copies go."]
    percent: Annotated[float, "Share that is copied.", Range(0, 100), Unit("percent")] = 100.0


class RPCReply(Part, frozen=True):
    """Answer without a destination."""

    outcome: Annotated[OutcomeName, "What callers are told, in the protocol's own status."]


class RPCRouteFilter(Part, frozen=True):
    """Something done with calls that match."""

    exclusive: ClassVar[tuple[OneOf, ...]] = (
        OneOf(("requestHeaderModifier", "responseHeaderModifier", "requestMirror", "reply")),
    )
    type: Annotated[
        Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "Reply"],
        "Which of the fields below is given.",
    ]
    request_header_modifier: Annotated[RPCHeaderModifier | None, "Changes before forwarding."] = None
    response_header_modifier: Annotated[RPCHeaderModifier | None, "Changes before answering."] = None
    request_mirror: Annotated[RPCMirror | None, "Copies of the calls."] = None
    reply: Annotated[RPCReply | None, "Answer, and forward nothing."] = None


class RPCBackendRef(RPCBackend, frozen=True):
    """A destination with its share of the calls."""

    weight: Annotated[Count, "Share relative to the other destinations.", Range(0, 1_000_000)] = 1
    filters: Annotated[
        tuple[RPCRouteFilter, ...], "Header changes for this destination only.", Length(0, 16)
    ] = ()


class RPCTimeouts(Part, frozen=True):
    """Limits of time; the caller's own deadline counts too, if it is shorter."""

    request: Annotated[Duration | None, "Limit of the whole call; none if absent or 0s."] = None
    backend_request: Annotated[Duration | None, "Limit of one attempt."] = None


class RPCRetry(Part, frozen=True):
    """What is tried again. A call of which nothing was written is always; one-way calls never are."""

    attempts: Annotated[Count, "Retries beside the first attempt; 0 switches them off.", Range(0, 100)] = 2
    outcomes: Annotated[
        tuple[OutcomeName, ...], "Answers after which the call is tried again.", Length(0, 8)
    ] = ("overloaded", "unreached")
    idempotent: Annotated[
        bool,
        "Calls may happen twice: connections that end in the middle of a call are a reason too, and outcomes other than"
        " `overloaded` and `unreached` are allowed.",
    ] = False
    backoff: Annotated[Duration | None, "Base of the exponential back-off."] = None


class RPCRouteRule(Part, frozen=True):
    """Any of its matches (none: every call), then its destinations."""

    name: Annotated[str | None, "Name, shown in logs.", Length(1, 253)] = None
    matches: Annotated[tuple[RPCRouteMatch, ...], "Conditions, any of which suffices.", Length(0, 64)] = ()
    filters: Annotated[tuple[RPCRouteFilter, ...], "What else is done.", Length(0, 16)] = ()
    backend_refs: Annotated[
        tuple[RPCBackendRef, ...],
        "Destinations by weight; without any, calls go to the service that was called.",
        Length(0, 100),
    ] = ()
    timeouts: Annotated[RPCTimeouts | None, "Limits of time."] = None
    retry: Annotated[RPCRetry | None, "Retries; two on what was not begun and on `overloaded` if absent."] = (
        None
    )


class RPCRoute(Part, frozen=True, kw_only=True):
    """How calls of described RPC protocols (Bolt, Dubbo, Thrift, your own) to a service are routed: by RPC service, method,
    headers and attributes. Calls that no rule takes go where the service's VirtualService says, else to the service."""

    parent_refs: Annotated[
        tuple[RPCParentReference, ...], "Services whose callers use the route.", Length(1, 32)
    ]
    rules: Annotated[
        tuple[RPCRouteRule, ...], "Rules; the most specific match of all routes wins.", Length(1, 64)
    ]
