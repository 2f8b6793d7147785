"""Clusters (`envoy.config.cluster.v3.Cluster`)."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay.sidecar.plan.address import Address, TcpKeepalive
from mainstay.sidecar.plan.endpoints import Labels, LocalityEndpoints
from mainstay.sidecar.plan.http import Http2Options
from mainstay.sidecar.plan.matching import Fraction
from mainstay.sidecar.plan.tls import UpstreamTls


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


class CheckBytes(msgspec.Struct, frozen=True):
    bytes_: bytes = msgspec.field(name="bytes")


class TcpHealthCheck(msgspec.Struct, frozen=True, tag_field="kind", tag="tcp"):
    send: bytes = b""
    receive: tuple[CheckBytes, ...] = ()


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
    buffer_limit: int | None = None
