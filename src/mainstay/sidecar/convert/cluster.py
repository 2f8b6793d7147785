"""Clusters (`envoy.config.cluster.v3.Cluster`): where endpoints come from, and how one is chosen. The rest has files of its own:
`upstream_http`, `protection`, `health_check`, `tls`."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import tls, values
from mainstay.sidecar.convert.endpoints import ISTIO, endpoints, localities
from mainstay.sidecar.convert.gathered import Gathered
from mainstay.sidecar.convert.health_check import health_checks
from mainstay.sidecar.convert.protection import circuit_breakers, outlier_detection
from mainstay.sidecar.convert.refuse import Known, Refused, at, check, known
from mainstay.sidecar.convert.source import config_source, patience
from mainstay.sidecar.convert.upstream_http import upstream_http, with_names

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
_CLUSTER_FIELDS = known("envoy.config.cluster.v3.Cluster", _KNOWN)
_STATIC_ASSIGNMENT_FIELDS = Known({"cluster_name", "endpoints"})
_CLUSTER_COMMON_LB_CONFIG_FIELDS = known(
    "envoy.config.cluster.v3.Cluster.CommonLbConfig",
    {
        "healthy_panic_threshold",
        "locality_weighted_lb_config",
        "update_merge_window",
    },
)
_BIND_CONFIG_FIELDS = known("envoy.config.core.v3.BindConfig", {"source_address", "extra_source_addresses"})
_CLUSTER_EDS_CLUSTER_CONFIG_FIELDS = known(
    "envoy.config.cluster.v3.Cluster.EdsClusterConfig", {"eds_config", "service_name"}
)
_CLUSTER_LEAST_REQUEST_LB_CONFIG_FIELDS = known(
    "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig", {"choice_count"}
)


def cluster(message: Any, gathered: Gathered) -> plan.Cluster:
    check(message, _CLUSTER_FIELDS)
    if not message.name:
        raise Refused("name", "is required")
    http = upstream_http(message)
    matches = []
    for index, match in enumerate(message.transport_socket_matches):
        with at(f"transport_socket_matches[{index}]"):
            labels = {name: value.string_value for name, value in match.match.fields.items()}
            with at("transport_socket"):
                socket = with_names(tls.upstream(match.transport_socket, gathered), http)
            matches.append(plan.SocketMatch(match.name, tuple(sorted(labels.items())), socket))
    socket = None
    if message.HasField("transport_socket"):
        with at("transport_socket"):
            socket = with_names(tls.upstream(message.transport_socket, gathered), http)
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
        breakers=circuit_breakers(message.circuit_breakers),
        outlier=outlier_detection(message.outlier_detection)
        if message.HasField("outlier_detection")
        else None,
        tcp_keepalive=keepalive,
        source_address=source,
        socket_matches=tuple(matches),
        tls=socket,
        health_checks=health_checks(message, gathered),
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


def _labels(message: Any) -> plan.Labels:
    """Service host, name and namespace from Istio's cluster metadata (`services`: the first)."""
    if ISTIO not in message.metadata.filter_metadata:
        return ()
    services = message.metadata.filter_metadata[ISTIO].fields.get("services")
    if services is None or not services.list_value.values:
        return ()
    first = services.list_value.values[0].struct_value.fields
    return tuple((name, first[name].string_value) for name in ("host", "name", "namespace") if name in first)
