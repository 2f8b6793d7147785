"""Clusters (`envoy.config.cluster.v3.Cluster`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from mainstay.sidecar import plan
from mainstay.sidecar.convert import tls, values
from mainstay.sidecar.convert.endpoints import ISTIO, endpoints, localities
from mainstay.sidecar.convert.exec_check import ExecCheck, command_of
from mainstay.sidecar.convert.filters.table import open_config
from mainstay.sidecar.convert.gathered import Gathered
from mainstay.sidecar.convert.refuse import Known, Refused, at, check, known, unsupported
from mainstay.sidecar.convert.remembered import remembered
from mainstay.sidecar.convert.source import config_source, patience

PROBE_PREFIX = "probe|"
"""Clusters of this name carry the workload's health check; no traffic goes there. From the control plane or from settings."""

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_KNOWN = {
    "name",
    "alt_stat_name",
    "type",
    "eds_cluster_config",
    "load_assignment",
    "connect_timeout",
    "lb_policy",
    "least_request_lb_config",
    "original_dst_lb_config",
    "common_lb_config",
    "circuit_breakers",
    "outlier_detection",
    "typed_extension_protocol_options",
    "http2_protocol_options",
    "http_protocol_options",
    "common_http_protocol_options",
    "max_requests_per_connection",
    "upstream_connection_options",
    "upstream_http_protocol_options",
    "upstream_bind_config",
    "transport_socket",
    "transport_socket_matches",
    "metadata",
    "dns_refresh_rate",
    "respect_dns_ttl",
    "dns_lookup_family",
    "dns_failure_refresh_rate",
    "health_checks",
    "close_connections_on_host_health_failure",
    "cleanup_interval",
    "per_connection_buffer_limit_bytes",
    "typed_dns_resolver_config",
}
_TYPES = ("STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST")
_POLICIES = ("ROUND_ROBIN", "LEAST_REQUEST", "RING_HASH", "RANDOM", "", "MAGLEV", "CLUSTER_PROVIDED")


MAX_PAYLOAD = 1024
"""Bytes of a health check's payload: the engine hears no longer answers."""

_CLUSTER_FIELDS = known("envoy.config.cluster.v3.Cluster", _KNOWN)
_SERVER_HTTP1_FIELDS = Known({"enable_trailers"})
_STATIC_ASSIGNMENT_FIELDS = Known({"cluster_name", "endpoints"})
_HEALTH_CHECK_FIELDS = known(
    "envoy.config.core.v3.HealthCheck",
    {
        "timeout",
        "interval",
        "initial_jitter",
        "interval_jitter",
        "unhealthy_threshold",
        "healthy_threshold",
        "http_health_check",
        "tcp_health_check",
        "grpc_health_check",
        "custom_health_check",
        "no_traffic_interval",
        "reuse_connection",
    },
)
_CLUSTER_COMMON_LB_CONFIG_FIELDS = known(
    "envoy.config.cluster.v3.Cluster.CommonLbConfig",
    {
        "healthy_panic_threshold",
        "locality_weighted_lb_config",
        "update_merge_window",
    },
)
_HTTP_PROTOCOL_OPTIONS_FIELDS = known(
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    {
        "common_http_protocol_options",
        "explicit_http_config",
        "use_downstream_protocol_config",
        "auto_config",
        "upstream_http_protocol_options",
    },
)
_CIRCUIT_BREAKERS_FIELDS = known("envoy.config.cluster.v3.CircuitBreakers", {"thresholds"})
_OUTLIER_DETECTION_FIELDS = known(
    "envoy.config.cluster.v3.OutlierDetection",
    {
        "consecutive_5xx",
        "interval",
        "base_ejection_time",
        "max_ejection_time",
        "max_ejection_percent",
        "enforcing_consecutive_5xx",
        "enforcing_success_rate",
        "consecutive_gateway_failure",
        "enforcing_consecutive_gateway_failure",
        "split_external_local_origin_errors",
        "consecutive_local_origin_failure",
        "enforcing_consecutive_local_origin_failure",
        "enforcing_local_origin_success_rate",
        "enforcing_failure_percentage",
    },
)
_BIND_CONFIG_FIELDS = known("envoy.config.core.v3.BindConfig", {"source_address", "extra_source_addresses"})
_CLUSTER_EDS_CLUSTER_CONFIG_FIELDS = known(
    "envoy.config.cluster.v3.Cluster.EdsClusterConfig", {"eds_config", "service_name"}
)
_HTTP_PROTOCOL_OPTIONS_FIELDS_ = known(
    "envoy.config.core.v3.HttpProtocolOptions",
    {
        "idle_timeout",
        "max_connection_duration",
        "max_stream_duration",
        "max_requests_per_connection",
        "max_headers_count",
    },
)
_CLUSTER_LEAST_REQUEST_LB_CONFIG_FIELDS = known(
    "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig", {"choice_count"}
)
_HEALTH_CHECK_HTTP_HEALTH_CHECK_FIELDS = known(
    "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
    {"host", "path", "request_headers_to_add", "expected_statuses", "codec_client_type"},
)
_HEALTH_CHECK_TCP_HEALTH_CHECK_FIELDS = known(
    "envoy.config.core.v3.HealthCheck.TcpHealthCheck", {"send", "receive"}
)
_HEALTH_CHECK_PAYLOAD_FIELDS = known("envoy.config.core.v3.HealthCheck.Payload", {"text", "binary"})


def cluster(message: Any, gathered: Gathered) -> plan.Cluster:
    check(message, _CLUSTER_FIELDS)
    if not message.name:
        raise Refused("name", "is required")
    http = _http(message)
    matches = []
    for index, match in enumerate(message.transport_socket_matches):
        with at(f"transport_socket_matches[{index}]"):
            labels = {name: value.string_value for name, value in match.match.fields.items()}
            with at("transport_socket"):
                socket = _with_names(tls.upstream(match.transport_socket, gathered), http)
            matches.append(plan.SocketMatch(match.name, tuple(sorted(labels.items())), socket))
    socket = None
    if message.HasField("transport_socket"):
        with at("transport_socket"):
            socket = _with_names(tls.upstream(message.transport_socket, gathered), http)
    keepalive = None
    if message.upstream_connection_options.HasField("tcp_keepalive"):
        keepalive = values.tcp_keepalive(message.upstream_connection_options.tcp_keepalive)
    source: plan.Address | None = None
    if message.HasField("upstream_bind_config"):
        with at("upstream_bind_config"):
            bind = message.upstream_bind_config
            check(bind, _BIND_CONFIG_FIELDS)
            with at("source_address"):
                source = values.socket_address(bind.source_address)
    common = message.common_lb_config
    panic = 50
    if message.HasField("common_lb_config"):
        with at("common_lb_config"):
            check(common, _CLUSTER_COMMON_LB_CONFIG_FIELDS)
            panic = int(values.percentage(common, "healthy_panic_threshold", panic))
    return plan.Cluster(
        name=message.name,
        discovery=_discovery(message, gathered),
        stat_name=message.alt_stat_name,
        load_balancer=_balancer(message),
        locality="weighted" if common.HasField("locality_weighted_lb_config") else "ignore",
        panic_threshold=panic,
        connect_timeout=values.milliseconds(message, "connect_timeout", 5_000) or 5_000,
        http=http.options,
        breakers=_breakers(message.circuit_breakers),
        outlier=_outlier(message.outlier_detection) if message.HasField("outlier_detection") else None,
        tcp_keepalive=keepalive,
        source_address=source,
        socket_matches=tuple(matches),
        tls=socket,
        health_checks=_health_checks(message, gathered),
        labels=_labels(message),
        close_on_health_failure=message.close_connections_on_host_health_failure,
        buffer_limit=values.wrapped(message, "per_connection_buffer_limit_bytes"),
    )


def _discovery(message: Any, gathered: Gathered) -> plan.Discovery:
    kind = message.WhichOneof("cluster_discovery_type")
    if kind == "cluster_type":
        raise Refused("cluster_type", f"{message.cluster_type.name!r} is not supported")
    name = _TYPES[message.type]
    if name == "EDS":
        with at("eds_cluster_config"):
            check(message.eds_cluster_config, _CLUSTER_EDS_CLUSTER_CONFIG_FIELDS)
            service = message.eds_cluster_config.service_name or message.name
            with at("eds_config"):
                source = message.eds_cluster_config.eds_config
                gathered.name("endpoints", service, config_source(source), patience(source))
        return plan.EdsDiscovery(service)
    if name == "ORIGINAL_DST":
        header = message.HasField("original_dst_lb_config") and message.original_dst_lb_config.use_http_header
        return plan.OriginalDestinationDiscovery(
            header, values.milliseconds(message, "cleanup_interval", 5_000) or 5_000
        )
    if name == "LOGICAL_DNS":
        raise Refused("type", "LOGICAL_DNS is not supported yet; use STRICT_DNS")
    with at("load_assignment"):
        if name == "STATIC" and message.load_assignment.HasField("policy"):
            # The policy is that of endpoints which are discovered: so these are, beside their cluster.
            found = endpoints(message.load_assignment)
            _check_static(found.localities)
            return plan.EdsDiscovery(gathered.add_endpoints(found))
        check(message.load_assignment, _STATIC_ASSIGNMENT_FIELDS)
        members = localities(message.load_assignment.endpoints)
    if name == "STRICT_DNS":
        refresh = values.milliseconds(message, "dns_refresh_rate", 5_000) or 5_000
        return plan.StrictDnsDiscovery(members, refresh, message.respect_dns_ttl)
    with at("load_assignment"):
        _check_static(members)
    return plan.StaticDiscovery(members)


def _check_static(members: tuple[plan.LocalityEndpoints, ...]) -> None:
    for locality in members:
        for endpoint in locality.endpoints:
            if isinstance(endpoint.address, plan.NamedAddress):
                reason = f"{endpoint.address.host!r} is a name; a STATIC cluster takes addresses"
                raise Refused("endpoints", reason)


def _balancer(message: Any) -> plan.LoadBalancer:
    match _POLICIES[message.lb_policy] if message.lb_policy < len(_POLICIES) else "":
        case "ROUND_ROBIN":
            return plan.RoundRobin()
        case "LEAST_REQUEST":
            with at("least_request_lb_config"):
                check(message.least_request_lb_config, _CLUSTER_LEAST_REQUEST_LB_CONFIG_FIELDS)
            choices = values.wrapped(message.least_request_lb_config, "choice_count", 2)
            return plan.LeastRequest(max(2, choices))
        case "RANDOM":
            return plan.RandomChoice()
        case "CLUSTER_PROVIDED":
            return plan.ClusterProvided()
        case other:
            raise Refused("lb_policy", f"{other or message.lb_policy} is not supported")


class _Http(NamedTuple):
    """Options of HTTP, and what they say of TLS: the server's name is the request's host, and the certificate must have it."""

    options: plan.UpstreamHttp
    auto_sni: bool = False
    auto_san: bool = False


def _http(message: Any) -> _Http:
    options = message.typed_extension_protocol_options
    for name in options:
        if name != HTTP_OPTIONS:
            unsupported(f"typed_extension_protocol_options[{name!r}]")
    if HTTP_OPTIONS in options:
        return _http_options(options[HTTP_OPTIONS])
    # The deprecated fields of the cluster itself.
    protocol: Any = "http1"
    http2 = plan.Http2Options()
    if message.HasField("http2_protocol_options"):
        protocol, http2 = "http2", http2_options(message.http2_protocol_options)
    _check_http1(message)
    most = values.wrapped(message, "max_requests_per_connection") or None
    return _follow(message, _common(message.common_http_protocol_options, protocol, http2, most))


@remembered
def _http_options(message: Any) -> _Http:
    with at(f"typed_extension_protocol_options[{HTTP_OPTIONS!r}]"):
        kind, found = open_config(message, "")
        if kind != HTTP_OPTIONS:
            raise Refused("", f"is a {kind}")
        check(found, _HTTP_PROTOCOL_OPTIONS_FIELDS)
        protocol: Any = "http1"
        http2 = plan.Http2Options()
        match found.WhichOneof("upstream_protocol_options"):
            case "explicit_http_config":
                _check_http1(found.explicit_http_config)
                if found.explicit_http_config.HasField("http2_protocol_options"):
                    protocol = "http2"
                    http2 = http2_options(found.explicit_http_config.http2_protocol_options)
            case "use_downstream_protocol_config":
                _check_http1(found.use_downstream_protocol_config)
                protocol = "downstream"
                http2 = http2_options(found.use_downstream_protocol_config.http2_protocol_options)
            case "auto_config":
                _check_http1(found.auto_config)
                protocol, http2 = "auto", http2_options(found.auto_config.http2_protocol_options)
        return _follow(found, _common(found.common_http_protocol_options, protocol, http2, None))


def _common(common: Any, protocol: Any, http2: plan.Http2Options, most: int | None) -> plan.UpstreamHttp:
    with at("common_http_protocol_options"):
        check(common, _HTTP_PROTOCOL_OPTIONS_FIELDS_)
    return plan.UpstreamHttp(
        protocol=protocol,
        http2=http2,
        idle_timeout=values.limit(common, "idle_timeout", 3_600_000),
        max_connection_duration=values.limit(common, "max_connection_duration", None),
        max_stream_duration=values.limit(common, "max_stream_duration", None),
        max_requests_per_connection=values.wrapped(common, "max_requests_per_connection") or most,
        max_response_headers=values.wrapped(common, "max_headers_count", 100),
    )


def _check_http1(message: Any) -> None:
    """HTTP/1 towards a server has no options yet; that it is spoken can be said, and that trailers pass, which they do."""
    with at("http_protocol_options"):
        check(
            message.http_protocol_options,
            _SERVER_HTTP1_FIELDS,
            "is not supported: HTTP/1 towards a server has no options yet",
        )


def _follow(message: Any, options: plan.UpstreamHttp) -> _Http:
    found = message.upstream_http_protocol_options
    return _Http(options, found.auto_sni, found.auto_san_validation)


def _with_names(socket: plan.UpstreamTls | None, http: _Http) -> plan.UpstreamTls | None:
    if socket is None or not (http.auto_sni or http.auto_san):
        return socket
    return msgspec.structs.replace(
        socket,
        auto_server_name=http.auto_sni,
        auto_san_validation=http.auto_san or socket.auto_san_validation,
    )


def http2_options(message: Any) -> plan.Http2Options:
    """`envoy.config.core.v3.Http2ProtocolOptions`; windows are capped at 16 MiB so that a peer cannot make us hold more."""
    most = 16 * 1024 * 1024
    keepalive = message.connection_keepalive if message.HasField("connection_keepalive") else None
    return plan.Http2Options(
        values.wrapped(message, "max_concurrent_streams", 1_024),
        min(most, values.wrapped(message, "initial_stream_window_size", 262_144)),
        min(most, values.wrapped(message, "initial_connection_window_size", 1_048_576)),
        values.limit(keepalive, "interval", None) if keepalive is not None else None,
        values.limit(keepalive, "timeout", None) if keepalive is not None else None,
    )


@remembered
def _breakers(message: Any) -> plan.CircuitBreakers:
    default, high = plan.Thresholds(), plan.Thresholds()
    with at("circuit_breakers"):
        check(message, _CIRCUIT_BREAKERS_FIELDS)
        for index, threshold in enumerate(message.thresholds):
            with at(f"thresholds[{index}]"):
                if threshold.priority == 1:
                    high = _threshold(threshold)
                else:
                    default = _threshold(threshold)
    return plan.CircuitBreakers(default, high)


_NO_LIMIT = 1 << 31
"""Istio writes 2^32-1 for "no limit"; whatever is beyond any machine counts as that."""


_THRESHOLDS_FIELDS = known(
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
    {
        "priority",
        "max_connections",
        "max_pending_requests",
        "max_requests",
        "max_retries",
        "retry_budget",
        "track_remaining",
    },
)


def _threshold(message: Any) -> plan.Thresholds:
    check(message, _THRESHOLDS_FIELDS)

    def of(field: str, default: int) -> int | None:
        value = values.wrapped(message, field, default)
        return None if value >= _NO_LIMIT else int(value)

    budget = message.retry_budget if message.HasField("retry_budget") else None
    percent = None
    if budget is not None:
        with at("retry_budget"):
            percent = values.percentage(budget, "budget_percent", 20.0)
    return plan.Thresholds(
        of("max_connections", 1_024),
        of("max_pending_requests", 1_024),
        of("max_requests", 1_024),
        of("max_retries", 3),
        percent,
        values.wrapped(budget, "min_retry_concurrency", 3) if budget is not None else 3,
    )


@remembered
def _outlier(found: Any) -> plan.OutlierDetection:
    with at("outlier_detection"):
        check(
            found,
            _OUTLIER_DETECTION_FIELDS,
        )
        for field in (
            "enforcing_success_rate",
            "enforcing_local_origin_success_rate",
            "enforcing_failure_percentage",
        ):
            # Istio writes 0 to switch it off; Envoy's default of 100 needs more hosts than our first users have.
            if values.wrapped(found, field, 0) > 0:
                unsupported(field, "success-rate outlier detection is not supported yet; set it to 0")
    base = values.milliseconds(found, "base_ejection_time", 30_000) or 30_000
    return plan.OutlierDetection(
        values.wrapped(found, "consecutive_5xx", 5) or None,
        values.wrapped(found, "consecutive_gateway_failure", 5) or None,
        values.wrapped(found, "consecutive_local_origin_failure", 5) or None,
        found.split_external_local_origin_errors,
        values.milliseconds(found, "interval", 10_000) or 10_000,
        base,
        max(base, values.milliseconds(found, "max_ejection_time", 300_000) or 300_000),
        values.wrapped(found, "max_ejection_percent", 10),
        values.wrapped(found, "enforcing_consecutive_5xx", 100),
        values.wrapped(found, "enforcing_consecutive_gateway_failure", 0),
        values.wrapped(found, "enforcing_consecutive_local_origin_failure", 100),
    )


def _health_checks(message: Any, gathered: Gathered) -> tuple[plan.HealthCheck, ...]:
    found = []
    for index, each in enumerate(message.health_checks):
        with at(f"health_checks[{index}]"):
            if each.WhichOneof("health_checker") == "custom_health_check":
                gathered.command = _command(message.name, each)
            else:
                found.append(health_check(each))
    return tuple(found)


def _command(cluster: str, message: Any) -> ExecCheck:
    check(message, _HEALTH_CHECK_FIELDS)
    if not cluster.startswith(PROBE_PREFIX):
        raise Refused("custom_health_check", "is not supported; only a workload's own probe may be a command")
    with at("custom_health_check"):
        command = command_of(message.custom_health_check)
    return ExecCheck(
        command,
        values.milliseconds(message, "timeout", 1_000) or 1_000,
        values.milliseconds(message, "interval", 10_000) or 10_000,
        values.milliseconds(message, "initial_jitter", 0) or 0,
        max(1, values.wrapped(message, "healthy_threshold", 1)),
        max(1, values.wrapped(message, "unhealthy_threshold", 1)),
    )


def health_check(message: Any) -> plan.HealthCheck:
    """`envoy.config.core.v3.HealthCheck`: HTTP, TCP connect and gRPC."""
    check(
        message,
        _HEALTH_CHECK_FIELDS,
    )
    kind: plan.HealthCheckKind
    match message.WhichOneof("health_checker"):
        case "http_health_check":
            http = message.http_health_check
            with at("http_health_check"):
                check(http, _HEALTH_CHECK_HTTP_HEALTH_CHECK_FIELDS)
            headers = tuple(
                (each.header.key.lower(), each.header.value) for each in http.request_headers_to_add
            )
            statuses = tuple((each.start, each.end) for each in http.expected_statuses)
            kind = plan.HttpHealthCheck(http.host, http.path, headers, statuses, http.codec_client_type == 1)
        case "tcp_health_check":
            with at("tcp_health_check"):
                check(message.tcp_health_check, _HEALTH_CHECK_TCP_HEALTH_CHECK_FIELDS)
                kind = _tcp_check(message.tcp_health_check)
        case "grpc_health_check":
            kind = plan.GrpcHealthCheck(
                message.grpc_health_check.service_name, message.grpc_health_check.authority
            )
        case other:
            raise Refused(other or "health_checker", "is not supported" if other else "is required")
    return plan.HealthCheck(
        kind,
        values.milliseconds(message, "timeout", 1_000) or 1_000,
        values.milliseconds(message, "interval", 10_000) or 10_000,
        values.milliseconds(message, "initial_jitter", 0) or 0,
        max(1, values.wrapped(message, "healthy_threshold", 1)),
        max(1, values.wrapped(message, "unhealthy_threshold", 1)),
        plan.Fraction(100, 100),
    )


def _tcp_check(message: Any) -> plan.TcpHealthCheck:
    """What is said and heard; as in Envoy, nothing is said where nothing is to be heard."""
    receive = []
    for index, payload in enumerate(message.receive):
        with at(f"receive[{index}]"):
            receive.append(plan.CheckBytes(_payload(payload)))
    if not message.HasField("send"):
        return plan.TcpHealthCheck(b"", tuple(receive))
    with at("send"):
        return plan.TcpHealthCheck(_payload(message.send), tuple(receive))


def _payload(message: Any) -> bytes:
    """Hexadecimal text, or bytes."""
    check(message, _HEALTH_CHECK_PAYLOAD_FIELDS)
    if message.WhichOneof("payload") == "binary":
        payload: bytes = message.binary
    else:
        try:
            payload = bytes.fromhex(message.text)
        except ValueError:
            raise Refused("text", f"{message.text!r} is not hexadecimal") from None
    if not 0 < len(payload) <= MAX_PAYLOAD:
        raise Refused("", f"has 1 to {MAX_PAYLOAD} bytes")
    return payload


def _labels(message: Any) -> plan.Labels:
    """Service host, name and namespace from Istio's cluster metadata (`services`: the first)."""
    if ISTIO not in message.metadata.filter_metadata:
        return ()
    services = message.metadata.filter_metadata[ISTIO].fields.get("services")
    if services is None or not services.list_value.values:
        return ()
    first = services.list_value.values[0].struct_value.fields
    return tuple((name, first[name].string_value) for name in ("host", "name", "namespace") if name in first)
