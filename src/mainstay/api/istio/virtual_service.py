"""VirtualService as authors write it (networking.istio.io; source: istio/api virtual_service.proto).

In: YAML or JSON, through the decoder. Out: ``VirtualService``, read by ``translate/virtual_service``. Fields that Mainstay
does not act on yet are marked and refused by path.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from mainstay.api.define import (
    Anything,
    Count,
    Duration,
    Labels,
    Length,
    NotYet,
    OneOf,
    Part,
    Pattern,
    Port,
    Range,
    Unit,
)

Percentage = Annotated[float, Range(0, 100), Unit("percent")]


class StringMatch(Part, frozen=True):
    """How a text must look. In headers and query parameters, no field at all means that the name must be present."""

    exclusive: ClassVar = (OneOf(("exact", "prefix", "regex"), optional=True),)
    exact: Annotated[str | None, "The whole text."] = None
    prefix: Annotated[str | None, "The beginning of the text."] = None
    regex: Annotated[str | None, "RE2 expression that matches the whole text."] = None


class PortSelector(Part, frozen=True):
    """A port of a service."""

    number: Annotated[Port, "Port number as clients use it."]


class Destination(Part, frozen=True):
    """A service, or a subset of one."""

    host: Annotated[
        str, "Host of the service; a short name is completed with the object's namespace.", Length(1, 253)
    ]
    subset: Annotated[str | None, "Name of a subset in the host's DestinationRule."] = None
    port: Annotated[
        PortSelector | None, "Port; may be left out where the service has one or the client's fits."
    ] = None


class HeaderOperations(Part, frozen=True):
    """Changes to headers. Values may use Envoy's command operators, e.g. `%REQ(x-id)%`."""

    set: Annotated[Labels, "Replace or create."] = {}
    add: Annotated[Labels, "Append a value."] = {}
    remove: Annotated[tuple[str, ...], "Delete."] = ()


class Headers(Part, frozen=True):
    """Header changes of both directions."""

    request: Annotated[HeaderOperations | None, "Changes before forwarding."] = None
    response: Annotated[HeaderOperations | None, "Changes before answering."] = None


class HTTPRouteDestination(Part, frozen=True):
    """A destination with its share of the requests."""

    destination: Annotated[Destination, "Where to send requests."]
    weight: Annotated[Count, "Share relative to the other destinations; one alone gets everything."] = 0
    headers: Annotated[Headers | None, "Header changes for this destination only."] = None


class HTTPMatchRequest(Part, frozen=True):
    """Conditions on one request, all of which must hold."""

    name: Annotated[str | None, "Name, shown in logs."] = None
    uri: Annotated[StringMatch | None, "Path, without the query."] = None
    scheme: Annotated[StringMatch | None, "`http` or `https`."] = None
    method: Annotated[StringMatch | None, "Method; compared with case."] = None
    authority: Annotated[StringMatch | None, "Authority (Host header)."] = None
    headers: Annotated[dict[str, StringMatch], "Headers by lower-case name."] = {}
    port: Annotated[Port | None, "Service port the client uses."] = None
    source_labels: Annotated[Labels, "Labels of the client's workload (sidecars only)."] = {}
    gateways: Annotated[
        tuple[str, ...], "Gateways (or `mesh`) for which this match counts; replaces the object's."
    ] = ()
    query_params: Annotated[dict[str, StringMatch], "Query parameters by name; `prefix` is not allowed."] = {}
    ignore_uri_case: Annotated[bool, "Compare `uri` (exact and prefix) without case."] = False
    without_headers: Annotated[dict[str, StringMatch], "Headers that must not match."] = {}
    source_namespace: Annotated[str | None, "Namespace of the client's workload (sidecars only)."] = None
    stat_prefix: Annotated[str | None, "Prefix of statistics.", NotYet("statistics per route")] = None


class HTTPRedirect(Part, frozen=True):
    """Answer with a redirect."""

    exclusive: ClassVar = (
        OneOf(("port", "derivePort"), optional=True),
        OneOf(("uri", "prefixRewrite"), optional=True),
    )
    uri: Annotated[str | None, "New path; also replaces the query if it has one."] = None
    prefix_rewrite: Annotated[str | None, "Replaces the matched prefix of the path."] = None
    authority: Annotated[str | None, "New authority."] = None
    scheme: Annotated[Literal["http", "https"] | None, "New scheme."] = None
    port: Annotated[Port | None, "New port."] = None
    derive_port: Annotated[
        Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None, "Where the new port comes from."
    ] = None
    redirect_code: Annotated[int, "301, 302, 303, 307 or 308.", Range(301, 308)] = 301


class HTTPBody(Part, frozen=True):
    """Content of a direct response."""

    exclusive: ClassVar = (OneOf(("string", "bytes")),)
    string: Annotated[str | None, "Text.", Length(0, 1 << 20)] = None
    bytes: Annotated[
        str | None,
        "Base64.",
        Pattern(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", "base64 with padding"),
    ] = None


class HTTPDirectResponse(Part, frozen=True):
    """Answer without any destination."""

    status: Annotated[int, "HTTP status.", Range(200, 599)]
    body: Annotated[HTTPBody | None, "Content, at most 1 MiB; none if absent."] = None


class RegexRewrite(Part, frozen=True):
    """Rewrite of the path by a regular expression."""

    match: Annotated[str, "RE2 expression; every occurrence is replaced.", Length(1, 1024)]
    rewrite: Annotated[str, "Replacement, with `\\1` for the first group."] = ""


class HTTPRewrite(Part, frozen=True):
    """Changes of path and authority before forwarding."""

    exclusive: ClassVar = (OneOf(("uri", "uriRegexRewrite"), optional=True),)
    uri: Annotated[str | None, "Replaces the matched prefix, or the whole path of another match."] = None
    authority: Annotated[str | None, "Replaces the authority."] = None
    uri_regex_rewrite: Annotated[RegexRewrite | None, "Replaces parts of the path."] = None


class HTTPRetry(Part, frozen=True):
    """Retries of failed requests."""

    attempts: Annotated[Count, "Retries beside the first attempt; 0 switches retries off."]
    per_try_timeout: Annotated[Duration | None, "Limit of one attempt."] = None
    retry_on: Annotated[str | None, "Conditions and statuses, separated by commas."] = None
    retry_remote_localities: Annotated[bool | None, "Retry in other localities."] = None
    retry_ignore_previous_hosts: Annotated[bool | None, "Avoid endpoints that have failed; the default."] = (
        None
    )
    backoff: Annotated[Duration | None, "Base of the exponential back-off."] = None


class Percent(Part, frozen=True):
    """A share of requests."""

    value: Annotated[Percentage, "0 to 100, in steps of 0.0001."] = 0.0


class HTTPMirrorPolicy(Part, frozen=True):
    """A copy of the requests."""

    destination: Annotated[Destination, "Where the copies go; their answers are dropped."]
    percentage: Annotated[Percent | None, "Share that is copied; all if absent."] = None


class HTTPRoute(Part, frozen=True):
    """One rule: any of its matches (none: every request), then one action."""

    exclusive: ClassVar = (
        OneOf(("route", "redirect", "directResponse", "delegate")),
        OneOf(("mirror", "mirrors"), optional=True),
    )
    name: Annotated[str | None, "Name, shown in logs."] = None
    match: Annotated[tuple[HTTPMatchRequest, ...], "Conditions, any of which suffices."] = ()
    route: Annotated[tuple[HTTPRouteDestination, ...], "Destinations by weight.", Length(1, 100)] = ()
    redirect: Annotated[HTTPRedirect | None, "Answer with a redirect."] = None
    direct_response: Annotated[HTTPDirectResponse | None, "Answer directly."] = None
    delegate: Annotated[Anything, "Rules in another VirtualService.", NotYet("delegation of routes")] = None
    rewrite: Annotated[HTTPRewrite | None, "Changes before forwarding."] = None
    timeout: Annotated[Duration | None, "Limit of the whole exchange; none if absent or 0s."] = None
    retries: Annotated[HTTPRetry | None, "Retries; Istio's default of two if absent."] = None
    fault: Annotated[Anything, "Injected delays and failures.", NotYet("fault injection")] = None
    mirror: Annotated[Destination | None, "Where copies of requests go."] = None
    mirror_percentage: Annotated[Percent | None, "Share that `mirror` copies; all if absent."] = None
    mirror_percent: Annotated[
        int | None, "Old form.", NotYet("the deprecated form; write mirrorPercentage")
    ] = None
    mirrors: Annotated[tuple[HTTPMirrorPolicy, ...], "Copies to several destinations."] = ()
    cors_policy: Annotated[Anything, "Cross-origin rules.", NotYet("cross-origin resource sharing")] = None
    headers: Annotated[Headers | None, "Header changes."] = None


class L4MatchAttributes(Part, frozen=True):
    """Conditions on one connection, all of which must hold."""

    destination_subnets: Annotated[tuple[str, ...], "IP addresses or CIDR blocks of the destination."] = ()
    port: Annotated[Port | None, "Service port the client uses."] = None
    source_subnet: Annotated[str | None, "Old field.", NotYet("matching of client addresses")] = None
    source_labels: Annotated[Labels, "Labels of the client's workload."] = {}
    gateways: Annotated[tuple[str, ...], "Gateways (or `mesh`) for which this match counts."] = ()
    source_namespace: Annotated[str | None, "Namespace of the client's workload."] = None


class RouteDestination(Part, frozen=True):
    """A destination with its share of the connections."""

    destination: Annotated[Destination, "Where to send connections."]
    weight: Annotated[Count, "Share relative to the other destinations."] = 0


class TCPRoute(Part, frozen=True, kw_only=True):
    """One rule for connections."""

    match: Annotated[tuple[L4MatchAttributes, ...], "Conditions, any of which suffices."] = ()
    route: Annotated[tuple[RouteDestination, ...], "Destinations by weight.", Length(1, 100)]


class VirtualService(Part, frozen=True):
    """How requests and connections for hosts are routed: ordered rules, of which the first fitting one wins."""

    hosts: Annotated[
        tuple[str, ...], "Hosts the rules are for: names, short names, `*.suffix` or `*`.", Length(1, 1024)
    ]
    gateways: Annotated[
        tuple[str, ...],
        "Where the rules apply: `namespace/name` of Gateways, and `mesh` for sidecars (the default).",
    ] = ()
    http: Annotated[tuple[HTTPRoute, ...], "Rules for HTTP and gRPC.", Length(0, 4096)] = ()
    tls: Annotated[
        Anything, "Rules for TLS by server name.", NotYet("routing of TLS by server name in VirtualServices")
    ] = None
    tcp: Annotated[tuple[TCPRoute, ...], "Rules for connections.", Length(0, 4096)] = ()
    export_to: Annotated[
        tuple[str, ...], "Namespaces whose clients use the rules: `.`, `*` or names; all if absent."
    ] = ()
