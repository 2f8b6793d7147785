"""Configuration as the engine takes it: twins of the Rust structs in `engine/src/plan/`, which document every field.

In: what `convert` makes of xDS. Out: MessagePack maps by field name. Invariant: fields and tags equal those of the Rust side
(a test compares them). Durations are integer milliseconds; `None` means unlimited or unset, as the Rust side says; 0 is
never "endless". Imports msgspec and nothing of protobuf, so that the control plane's front may use it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

# --- addresses ------------------------------------------------------------------------------------------------------


class Socket(msgspec.Struct, frozen=True, tag_field="kind", tag="socket"):
    ip: str
    port: int


class Pipe(msgspec.Struct, frozen=True, tag_field="kind", tag="pipe"):
    path: str


class NamedAddress(msgspec.Struct, frozen=True, tag_field="kind", tag="name"):
    host: str
    port: int


Address = Socket | Pipe | NamedAddress


class AddressRange(msgspec.Struct, frozen=True):
    ip: str
    prefix: int


# --- matches --------------------------------------------------------------------------------------------------------


class ExactText(msgspec.Struct, frozen=True, tag_field="kind", tag="exact"):
    text: str


class PrefixText(msgspec.Struct, frozen=True, tag_field="kind", tag="prefix"):
    text: str


class SuffixText(msgspec.Struct, frozen=True, tag_field="kind", tag="suffix"):
    text: str


class ContainsText(msgspec.Struct, frozen=True, tag_field="kind", tag="contains"):
    text: str


class RegexText(msgspec.Struct, frozen=True, tag_field="kind", tag="regex"):
    text: str


StringTest = ExactText | PrefixText | SuffixText | ContainsText | RegexText


class StringMatch(msgspec.Struct, frozen=True):
    test: StringTest
    ignore_case: bool = False


class PresentTest(msgspec.Struct, frozen=True, tag_field="kind", tag="present"):
    present: bool


class TextTest(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    matches: StringMatch


class RangeTest(msgspec.Struct, frozen=True, tag_field="kind", tag="range"):
    start: int
    end: int


class HeaderMatch(msgspec.Struct, frozen=True):
    name: str
    test: PresentTest | TextTest | RangeTest
    invert: bool = False
    absent_as_empty: bool = False


class QueryMatch(msgspec.Struct, frozen=True):
    name: str
    test: PresentTest | TextTest


class Fraction(msgspec.Struct, frozen=True):
    numerator: int
    denominator: int


# --- filters --------------------------------------------------------------------------------------------------------


class TokenBucket(msgspec.Struct, frozen=True):
    max_tokens: int
    tokens_per_fill: int
    fill_interval: int


class AnyPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="any"):
    pass


class AllPermissions(msgspec.Struct, frozen=True, tag_field="kind", tag="all"):
    of: tuple[RbacPermission, ...]


class AnyOfPermissions(msgspec.Struct, frozen=True, tag_field="kind", tag="any_of"):
    of: tuple[RbacPermission, ...]


class NotPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="not"):
    of: RbacPermission


class HeaderPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="header"):
    matches: HeaderMatch


class PathPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="path"):
    matches: StringMatch


class DestinationIpPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="destination_ip"):
    range: AddressRange


class DestinationPortPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="destination_port"):
    port: int


class DestinationPortRangePermission(
    msgspec.Struct, frozen=True, tag_field="kind", tag="destination_port_range"
):
    start: int
    end: int


class ServerNamePermission(msgspec.Struct, frozen=True, tag_field="kind", tag="server_name"):
    matches: StringMatch


RbacPermission = (
    AnyPermission
    | AllPermissions
    | AnyOfPermissions
    | NotPermission
    | HeaderPermission
    | PathPermission
    | DestinationIpPermission
    | DestinationPortPermission
    | DestinationPortRangePermission
    | ServerNamePermission
)


class AnyPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="any"):
    pass


class AllPrincipals(msgspec.Struct, frozen=True, tag_field="kind", tag="all"):
    of: tuple[RbacPrincipal, ...]


class AnyOfPrincipals(msgspec.Struct, frozen=True, tag_field="kind", tag="any_of"):
    of: tuple[RbacPrincipal, ...]


class NotPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="not"):
    of: RbacPrincipal


class AuthenticatedPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="authenticated"):
    name: StringMatch | None


class DirectRemoteIpPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="direct_remote_ip"):
    range: AddressRange


class RemoteIpPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="remote_ip"):
    range: AddressRange


class HeaderPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="header"):
    matches: HeaderMatch


class PathPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="path"):
    matches: StringMatch


RbacPrincipal = (
    AnyPrincipal
    | AllPrincipals
    | AnyOfPrincipals
    | NotPrincipal
    | AuthenticatedPrincipal
    | DirectRemoteIpPrincipal
    | RemoteIpPrincipal
    | HeaderPrincipal
    | PathPrincipal
)


class RbacPolicy(msgspec.Struct, frozen=True):
    name: str
    permissions: tuple[RbacPermission, ...]
    principals: tuple[RbacPrincipal, ...]


class RbacRules(msgspec.Struct, frozen=True):
    allow: bool
    policies: tuple[RbacPolicy, ...]


HeaderChangeKind = Literal[
    "append_if_exists_or_add", "add_if_absent", "overwrite_if_exists_or_add", "overwrite_if_exists"
]


class HeaderChange(msgspec.Struct, frozen=True):
    name: str
    value: str
    action: HeaderChangeKind = "append_if_exists_or_add"
    keep_empty: bool = False


class RouteHeaders(msgspec.Struct, frozen=True):
    request: tuple[HeaderChange, ...] = ()
    response: tuple[HeaderChange, ...] = ()
    request_remove: tuple[str, ...] = ()
    response_remove: tuple[str, ...] = ()


class RbacFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="rbac"):
    rules: RbacRules | None
    shadow_rules: RbacRules | None


class LocalRateLimitFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="local_rate_limit"):
    stat_prefix: str
    bucket: TokenBucket | None
    enabled: Fraction
    enforced: Fraction
    status: int
    response_headers: tuple[HeaderChange, ...]
    draft_headers: bool


class HeaderMutationFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="header_mutation"):
    headers: RouteHeaders


class DisabledFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="disabled"):
    pass


HttpFilterConfig = RbacFilter | LocalRateLimitFilter | HeaderMutationFilter | DisabledFilter


class HttpFilter(msgspec.Struct, frozen=True):
    name: str
    config: HttpFilterConfig
    disabled: bool = False


class NetworkRbacFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="rbac"):
    rules: RbacRules | None
    shadow_rules: RbacRules | None
    stat_prefix: str


NetworkFilterConfig = NetworkRbacFilter


class NetworkFilter(msgspec.Struct, frozen=True):
    name: str
    config: NetworkFilterConfig


FilterOverrides = tuple[tuple[str, HttpFilterConfig], ...]

# --- routes ---------------------------------------------------------------------------------------------------------


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


# --- access logs ----------------------------------------------------------------------------------------------------


class FileSink(msgspec.Struct, frozen=True, tag_field="kind", tag="file"):
    path: str


class StdoutSink(msgspec.Struct, frozen=True, tag_field="kind", tag="stdout"):
    pass


class StderrSink(msgspec.Struct, frozen=True, tag_field="kind", tag="stderr"):
    pass


class JsonField(msgspec.Struct, frozen=True):
    name: str
    value: str = ""
    fields: tuple[JsonField, ...] = ()


class TextFormat(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    format: str


class JsonFormat(msgspec.Struct, frozen=True, tag_field="kind", tag="json"):
    fields: tuple[JsonField, ...]
    omit_empty: bool


class AccessLog(msgspec.Struct, frozen=True):
    sink: FileSink | StdoutSink | StderrSink
    format: TextFormat | JsonFormat


# --- TLS ------------------------------------------------------------------------------------------------------------

TlsVersion = Literal["1.2", "1.3"]


class AlternativeNames(msgspec.Struct, frozen=True):
    any_of: tuple[StringMatch, ...] = ()


class DownstreamTls(msgspec.Struct, frozen=True):
    certificates: tuple[str, ...]
    validation: str | None
    alternative_names: AlternativeNames
    require_client_certificate: bool
    application_protocols: tuple[str, ...]
    min_version: TlsVersion = "1.2"
    max_version: TlsVersion = "1.3"


class UpstreamTls(msgspec.Struct, frozen=True):
    certificates: tuple[str, ...]
    validation: str | None
    alternative_names: AlternativeNames
    server_name: str
    auto_server_name: bool
    auto_san_validation: bool
    application_protocols: tuple[str, ...]
    min_version: TlsVersion = "1.2"
    max_version: TlsVersion = "1.3"


class CertificateChain(msgspec.Struct, frozen=True):
    certificates: bytes
    key: bytes
    key_id: int | None = None

    def __repr__(self) -> str:
        return "CertificateChain(…)"


class TrustDomainBundle(msgspec.Struct, frozen=True):
    domain: str
    roots: bytes


class ValidationContext(msgspec.Struct, frozen=True):
    roots: bytes
    domains: tuple[TrustDomainBundle, ...] = ()


class CertificateMaterial(msgspec.Struct, frozen=True, tag_field="kind", tag="certificate"):
    chain: CertificateChain


class ValidationMaterial(msgspec.Struct, frozen=True, tag_field="kind", tag="validation"):
    context: ValidationContext


class Secret(msgspec.Struct, frozen=True):
    name: str
    material: CertificateMaterial | ValidationMaterial

    def __repr__(self) -> str:
        return f"Secret({self.name}, …)"


# --- clusters and endpoints -----------------------------------------------------------------------------------------

Health = Literal["healthy", "unhealthy", "draining", "degraded"]
Labels = tuple[tuple[str, str], ...]


class Locality(msgspec.Struct, frozen=True):
    region: str = ""
    zone: str = ""
    sub_zone: str = ""


class Endpoint(msgspec.Struct, frozen=True):
    address: Address
    hostname: str = ""
    weight: int = 1
    health: Health = "healthy"
    socket_labels: Labels = ()
    labels: Labels = ()
    takes_http1_in_http2: bool = False


class LocalityEndpoints(msgspec.Struct, frozen=True):
    locality: Locality
    priority: int
    weight: int
    endpoints: tuple[Endpoint, ...]


class Endpoints(msgspec.Struct, frozen=True):
    service: str
    localities: tuple[LocalityEndpoints, ...]
    overprovisioning: int = 140
    drop_percent: float = 0.0


class StaticDiscovery(msgspec.Struct, frozen=True, tag_field="kind", tag="static"):
    localities: tuple[LocalityEndpoints, ...]


class StrictDnsDiscovery(msgspec.Struct, frozen=True, tag_field="kind", tag="strict_dns"):
    localities: tuple[LocalityEndpoints, ...]
    refresh: int
    respect_ttl: bool


class EdsDiscovery(msgspec.Struct, frozen=True, tag_field="kind", tag="eds"):
    service: str


class OriginalDestinationDiscovery(msgspec.Struct, frozen=True, tag_field="kind", tag="original_destination"):
    header: bool
    cleanup_interval: int


Discovery = StaticDiscovery | StrictDnsDiscovery | EdsDiscovery | OriginalDestinationDiscovery


class RoundRobin(msgspec.Struct, frozen=True, tag_field="kind", tag="round_robin"):
    pass


class LeastRequest(msgspec.Struct, frozen=True, tag_field="kind", tag="least_request"):
    choices: int


class RandomChoice(msgspec.Struct, frozen=True, tag_field="kind", tag="random"):
    pass


class ClusterProvided(msgspec.Struct, frozen=True, tag_field="kind", tag="cluster_provided"):
    pass


LoadBalancer = RoundRobin | LeastRequest | RandomChoice | ClusterProvided


class Http1Options(msgspec.Struct, frozen=True):
    accept_http_10: bool = False
    absolute_url: bool = True
    enable_trailers: bool = False
    max_headers: int = 100


class Http2Options(msgspec.Struct, frozen=True):
    max_concurrent_streams: int = 256
    stream_window: int = 262_144
    connection_window: int = 1_048_576
    keepalive_interval: int | None = None
    keepalive_timeout: int | None = None


class UpstreamHttp(msgspec.Struct, frozen=True):
    protocol: Literal["http1", "http2", "downstream", "auto"] = "http1"
    http2: Http2Options = Http2Options()
    idle_timeout: int | None = 3_600_000
    max_connection_duration: int | None = None
    max_stream_duration: int | None = None
    max_requests_per_connection: int | None = None
    max_response_headers_bytes: int = 61_440
    max_response_headers: int = 100


class Thresholds(msgspec.Struct, frozen=True):
    max_connections: int | None = 1_024
    max_pending: int | None = 1_024
    max_requests: int | None = 1_024
    max_retries: int | None = 3
    retry_budget_percent: float | None = None
    retry_budget_minimum: int = 3


class CircuitBreakers(msgspec.Struct, frozen=True):
    default: Thresholds = Thresholds()
    high: Thresholds = Thresholds()


class OutlierDetection(msgspec.Struct, frozen=True):
    consecutive_5xx: int | None
    consecutive_gateway_failure: int | None
    consecutive_local_origin_failure: int | None
    split_local_origin: bool
    interval: int
    base_ejection_time: int
    max_ejection_time: int
    max_ejection_percent: int
    enforcing_consecutive_5xx: int
    enforcing_consecutive_gateway_failure: int
    enforcing_consecutive_local_origin_failure: int


class TcpKeepalive(msgspec.Struct, frozen=True):
    probes: int | None = None
    time: int | None = None
    interval: int | None = None


class SocketMatch(msgspec.Struct, frozen=True):
    name: str
    labels: Labels
    tls: UpstreamTls | None


class HttpHealthCheck(msgspec.Struct, frozen=True, tag_field="kind", tag="http"):
    host: str
    path: str
    headers: Labels
    statuses: tuple[tuple[int, int], ...]
    http2: bool


class TcpHealthCheck(msgspec.Struct, frozen=True, tag_field="kind", tag="tcp"):
    pass


class GrpcHealthCheck(msgspec.Struct, frozen=True, tag_field="kind", tag="grpc"):
    service: str
    authority: str


HealthCheckKind = HttpHealthCheck | TcpHealthCheck | GrpcHealthCheck


class HealthCheck(msgspec.Struct, frozen=True):
    check: HealthCheckKind
    timeout: int
    interval: int
    initial_delay: int
    healthy_threshold: int
    unhealthy_threshold: int
    enabled: Fraction


class Cluster(msgspec.Struct, frozen=True):
    name: str
    discovery: Discovery
    stat_name: str = ""
    load_balancer: LoadBalancer = RoundRobin()
    locality: Literal["ignore", "weighted"] = "ignore"
    panic_threshold: int = 50
    connect_timeout: int = 5_000
    http: UpstreamHttp = UpstreamHttp()
    breakers: CircuitBreakers = CircuitBreakers()
    outlier: OutlierDetection | None = None
    tcp_keepalive: TcpKeepalive | None = None
    source_address: Address | None = None
    socket_matches: tuple[SocketMatch, ...] = ()
    tls: UpstreamTls | None = None
    health_checks: tuple[HealthCheck, ...] = ()
    labels: Labels = ()
    close_on_health_failure: bool = False


# --- listeners ------------------------------------------------------------------------------------------------------


class OriginalDestinationFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="original_destination"):
    pass


class TlsInspector(msgspec.Struct, frozen=True, tag_field="kind", tag="tls_inspector"):
    disabled_ports: tuple[tuple[int, int], ...] = ()


class HttpInspector(msgspec.Struct, frozen=True, tag_field="kind", tag="http_inspector"):
    disabled_ports: tuple[tuple[int, int], ...] = ()


ListenerFilter = OriginalDestinationFilter | TlsInspector | HttpInspector


class ChainMatch(msgspec.Struct, frozen=True):
    destination_port: int | None = None
    destination_ranges: tuple[AddressRange, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    direct_source_ranges: tuple[AddressRange, ...] = ()
    source_type: str = "any"
    source_ranges: tuple[AddressRange, ...] = ()
    source_ports: tuple[int, ...] = ()


class NamedRoutes(msgspec.Struct, frozen=True, tag_field="kind", tag="named"):
    name: str


class InlineRoutes(msgspec.Struct, frozen=True, tag_field="kind", tag="inline"):
    table: RouteTable


class ClientCertificate(msgspec.Struct, frozen=True):
    subject: bool = False
    cert: bool = False
    chain: bool = False
    dns: bool = False
    uri: bool = False


class HttpConnectionManager(msgspec.Struct, frozen=True):
    stat_prefix: str
    routes: NamedRoutes | InlineRoutes
    protocol: Literal["auto", "http1", "http2"] = "auto"
    filters: tuple[HttpFilter, ...] = ()
    access_logs: tuple[AccessLog, ...] = ()
    use_remote_address: bool = False
    xff_trusted_hops: int = 0
    skip_xff_append: bool = False
    via: str = ""
    server_name: str | None = "envoy"
    server_name_if_absent: bool = False
    normalize_path: bool = False
    merge_slashes: bool = False
    escaped_slashes: Literal["keep", "reject", "unescape_and_forward", "unescape_and_redirect"] = "keep"
    strip_any_host_port: bool = False
    strip_matching_host_port: bool = False
    forward_client_certificate: Literal[
        "sanitize", "forward_only", "append_forward", "sanitize_set", "always_forward_only"
    ] = "sanitize"
    client_certificate_details: ClientCertificate = ClientCertificate()
    request_timeout: int | None = None
    request_headers_timeout: int | None = 10_000
    stream_idle_timeout: int | None = 300_000
    idle_timeout: int | None = 3_600_000
    max_connection_duration: int | None = None
    max_stream_duration: int | None = None
    drain_timeout: int = 5_000
    max_requests_per_connection: int | None = None
    max_request_headers_bytes: int = 61_440
    max_request_headers: int = 100
    http1: Http1Options = Http1Options()
    http2: Http2Options = Http2Options()
    upgrades: tuple[str, ...] = ()
    generate_request_id: bool = True
    preserve_external_request_id: bool = False
    always_set_request_id_in_response: bool = False
    add_user_agent: bool = False
    proxy_100_continue: bool = False
    tracing: float | None = None
    stream_error_on_invalid_http: bool = False


class TcpTarget(msgspec.Struct, frozen=True):
    cluster: str
    weight: int = 1


class TcpProxy(msgspec.Struct, frozen=True):
    stat_prefix: str
    targets: tuple[TcpTarget, ...]
    idle_timeout: int | None = 3_600_000
    max_connection_duration: int | None = None
    max_connect_attempts: int = 1
    access_logs: tuple[AccessLog, ...] = ()


class HttpTerminal(msgspec.Struct, frozen=True, tag_field="kind", tag="http"):
    manager: HttpConnectionManager


class TcpTerminal(msgspec.Struct, frozen=True, tag_field="kind", tag="tcp"):
    proxy: TcpProxy


class FilterChain(msgspec.Struct, frozen=True):
    name: str
    terminal: HttpTerminal | TcpTerminal
    matches: ChainMatch = ChainMatch()
    tls: DownstreamTls | None = None
    handshake_timeout: int | None = None
    network_filters: tuple[NetworkFilter, ...] = ()


class Listener(msgspec.Struct, frozen=True):
    name: str
    address: Address
    chains: tuple[FilterChain, ...]
    bind: bool = True
    use_original_destination: bool = False
    transparent: bool = False
    direction: Literal["unspecified", "inbound", "outbound"] = "unspecified"
    listener_filters: tuple[ListenerFilter, ...] = ()
    detection_timeout: int | None = 15_000
    continue_on_detection_timeout: bool = False
    default_chain: FilterChain | None = None
    stat_prefix: str = ""
    connection_limit: int | None = None
    tcp_keepalive: TcpKeepalive | None = None
    buffer_limit: int | None = None
    access_logs: tuple[AccessLog, ...] = ()
    accepts_http1_in_http2: bool = False


# --- settings -------------------------------------------------------------------------------------------------------


class LocalWorkload(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    principal: str = ""
    app: str = ""
    version: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    cluster: str = ""


class EngineSettings(msgspec.Struct, frozen=True):
    node_id: str
    workers: int = 1
    admin: Address | None = None
    metrics: Address | None = None
    health: Address | None = None
    admin_beyond_loopback: bool = False
    max_connections: int | None = None
    node_cluster: str = ""
    version: str = ""
    workload: LocalWorkload = LocalWorkload()


Resource = Secret | Endpoints | Cluster | RouteTable | Listener

encode = msgspec.msgpack.Encoder().encode
"""A plan struct as the engine takes it."""
