"""Route tables (`envoy.config.route.v3.RouteConfiguration`)."""

from __future__ import annotations

import msgspec

from mainstay.sidecar.plan.extension import FilterOverrides
from mainstay.sidecar.plan.headers import RouteHeaders
from mainstay.sidecar.plan.matching import Fraction, HeaderMatch, QueryMatch


class PrefixPath(msgspec.Struct, frozen=True, tag_field="kind", tag="prefix"):
    text: str


class ExactPath(msgspec.Struct, frozen=True, tag_field="kind", tag="exact"):
    text: str


class RegexPath(msgspec.Struct, frozen=True, tag_field="kind", tag="regex"):
    text: str


class SeparatedPrefixPath(msgspec.Struct, frozen=True, tag_field="kind", tag="separated_prefix"):
    text: str


PathMatch = PrefixPath | ExactPath | RegexPath | SeparatedPrefixPath


class RouteMatch(msgspec.Struct, frozen=True):
    path: PathMatch
    ignore_case: bool = False
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    grpc_only: bool = False
    fraction: Fraction | None = None


class PrefixRewrite(msgspec.Struct, frozen=True, tag_field="kind", tag="prefix"):
    text: str


class RegexRewrite(msgspec.Struct, frozen=True, tag_field="kind", tag="regex"):
    pattern: str
    substitution: str


PathRewrite = PrefixRewrite | RegexRewrite


class LiteralHost(msgspec.Struct, frozen=True, tag_field="kind", tag="literal"):
    text: str


class EndpointHost(msgspec.Struct, frozen=True, tag_field="kind", tag="endpoint"):
    pass


class HeaderHost(msgspec.Struct, frozen=True, tag_field="kind", tag="header"):
    name: str


class PathRegexHost(msgspec.Struct, frozen=True, tag_field="kind", tag="path_regex"):
    pattern: str
    substitution: str


HostRewrite = LiteralHost | EndpointHost | HeaderHost | PathRegexHost


class BackOff(msgspec.Struct, frozen=True):
    base: int
    max: int


class RetryPolicy(msgspec.Struct, frozen=True):
    retry_on: tuple[str, ...]
    attempts: int
    per_try_timeout: int | None
    per_try_idle_timeout: int | None
    back_off: BackOff
    retriable_statuses: tuple[int, ...]
    retriable_headers: tuple[HeaderMatch, ...]
    retriable_request_headers: tuple[HeaderMatch, ...]
    avoid_previous_hosts: bool
    host_selection_attempts: int


class Mirror(msgspec.Struct, frozen=True):
    cluster: str
    fraction: Fraction | None
    shadow_host: bool


class InternalRedirect(msgspec.Struct, frozen=True):
    max_redirects: int
    statuses: tuple[int, ...]


class WeightedCluster(msgspec.Struct, frozen=True):
    name: str
    weight: int
    headers: RouteHeaders
    host_rewrite: str | None
    filters: FilterOverrides


class OneCluster(msgspec.Struct, frozen=True, tag_field="kind", tag="cluster"):
    name: str


class HeaderCluster(msgspec.Struct, frozen=True, tag_field="kind", tag="header"):
    name: str


class WeightedClusters(msgspec.Struct, frozen=True, tag_field="kind", tag="weighted"):
    clusters: tuple[WeightedCluster, ...]


Upstreams = OneCluster | HeaderCluster | WeightedClusters


class Redirect(msgspec.Struct, frozen=True):
    scheme: str
    host: str
    port: int | None
    path: str | None
    path_rewrite: PathRewrite | None
    status: int
    strip_query: bool


class DirectResponse(msgspec.Struct, frozen=True):
    status: int
    body: bytes


class ForwardAction(msgspec.Struct, frozen=True, tag_field="kind", tag="forward"):
    upstreams: Upstreams
    path_rewrite: PathRewrite | None
    host_rewrite: HostRewrite | None
    append_forwarded_host: bool
    timeout: int | None
    idle_timeout: int | None
    unlimited_idle: bool
    max_duration: int | None
    grpc_timeout_max: int | None
    retry: RetryPolicy | None
    mirrors: tuple[Mirror, ...]
    upgrades: tuple[tuple[str, bool], ...]
    cluster_not_found_status: int
    high_priority: bool
    internal_redirect: InternalRedirect | None


class RedirectAction(msgspec.Struct, frozen=True, tag_field="kind", tag="redirect"):
    redirect: Redirect


class RespondAction(msgspec.Struct, frozen=True, tag_field="kind", tag="respond"):
    response: DirectResponse


class NonForwardingAction(msgspec.Struct, frozen=True, tag_field="kind", tag="non_forwarding"):
    pass


RouteAction = ForwardAction | RedirectAction | RespondAction | NonForwardingAction


class Route(msgspec.Struct, frozen=True):
    name: str
    matches: RouteMatch
    action: RouteAction
    headers: RouteHeaders = RouteHeaders()
    filters: FilterOverrides = ()
    operation: str = ""


class VirtualHost(msgspec.Struct, frozen=True):
    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    headers: RouteHeaders = RouteHeaders()
    retry: RetryPolicy | None = None
    mirrors: tuple[Mirror, ...] = ()
    send_attempt_count: bool = False
    return_attempt_count: bool = False
    require_tls: bool = False
    filters: FilterOverrides = ()


class RouteTable(msgspec.Struct, frozen=True):
    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    headers: RouteHeaders = RouteHeaders()
    ignore_port: bool = False
    most_specific_headers_win: bool = False
    internal_only_headers: tuple[str, ...] = ()
    case_sensitive: bool = False
