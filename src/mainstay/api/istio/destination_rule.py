"""DestinationRule as authors write it (networking.istio.io; source: istio/api destination_rule.proto).

In: YAML or JSON, through the decoder. Out: ``DestinationRule``, read by ``translate/destination_rule``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from mainstay.api.define import (
    Anything,
    Count,
    Duration,
    Labels,
    Length,
    NotYet,
    NotYetValue,
    OneOf,
    Part,
    Range,
    Unit,
)
from mainstay.api.istio.selector import WorkloadSelector
from mainstay.api.istio.virtual_service import PortSelector

Percent = Annotated[int, Range(0, 100), Unit("percent")]


class LoadBalancerSettings(Part, frozen=True):
    """How endpoints are chosen."""

    exclusive: ClassVar = (OneOf(("simple", "consistentHash"), optional=True),)
    simple: Annotated[
        Literal["UNSPECIFIED", "LEAST_CONN", "LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"] | None,
        "Algorithm; LEAST_REQUEST if absent. PASSTHROUGH keeps the address the client dialled.",
        NotYetValue(("LEAST_CONN",), "the deprecated name; write LEAST_REQUEST"),
    ] = None
    consistent_hash: Annotated[Anything, "Choice by hash.", NotYet("consistent hashing")] = None
    locality_lb_setting: Annotated[Anything, "Preferences of localities.", NotYet("locality preferences")] = (
        None
    )
    zone_aware_lb_setting: Annotated[Anything, "Zone-aware balancing.", NotYet("zone-aware balancing")] = None
    warmup_duration_secs: Annotated[Anything, "Old form of warmup.", NotYet("slow start of endpoints")] = None
    warmup: Annotated[Anything, "Slow start of new endpoints.", NotYet("slow start of endpoints")] = None


class TcpKeepalive(Part, frozen=True):
    """TCP keep-alive; what is absent is left to the operating system."""

    probes: Annotated[Count | None, "Unanswered probes before the connection is dropped."] = None
    time: Annotated[Duration | None, "Idle time before the first probe, whole seconds."] = None
    interval: Annotated[Duration | None, "Time between probes, whole seconds."] = None


class TCPSettings(Part, frozen=True):
    """Limits of connections."""

    max_connections: Annotated[Count | None, "Connections to all endpoints together; 0 means no limit."] = (
        None
    )
    connect_timeout: Annotated[Duration | None, "Limit of connecting; the mesh's (10 s) if absent."] = None
    tcp_keepalive: Annotated[TcpKeepalive | None, "Keep-alive."] = None
    max_connection_duration: Annotated[
        Duration | None, "Longest life of a connection; no limit if absent."
    ] = None
    idle_timeout: Annotated[Duration | None, "Longest silence of a TCP connection; 1 hour if absent."] = None


class HTTPSettings(Part, frozen=True):
    """Limits of requests."""

    http1_max_pending_requests: Annotated[
        Count | None, "Requests that wait for a connection; 0 means no limit."
    ] = None
    http2_max_requests: Annotated[Count | None, "Requests in flight (also of HTTP/1); 0 means no limit."] = (
        None
    )
    max_requests_per_connection: Annotated[
        Count | None, "Requests before a connection is replaced; 0: no limit."
    ] = None
    max_retries: Annotated[Count | None, "Retries in flight; 0 means no limit."] = None
    idle_timeout: Annotated[
        Duration | None, "Idle time before a pooled connection is closed; 1 hour if absent."
    ] = None
    h2_upgrade_policy: Annotated[
        Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] | None, "Whether HTTP/1 is sent over HTTP/2."
    ] = None
    use_client_protocol: Annotated[bool | None, "Speak to endpoints what the client spoke."] = None
    max_concurrent_streams: Annotated[Count | None, "Streams of one HTTP/2 connection; 0 means no limit."] = (
        None
    )
    http2_keep_alive: Annotated[Anything, "HTTP/2 pings.", NotYet("HTTP/2 keep-alive")] = None


class ConnectionPoolSettings(Part, frozen=True):
    """Limits towards a service."""

    tcp: Annotated[TCPSettings | None, "Limits of connections."] = None
    http: Annotated[HTTPSettings | None, "Limits of requests."] = None


class OutlierDetection(Part, frozen=True):
    """Endpoints that fail are left out for a while."""

    consecutive_errors: Annotated[
        int | None, "Old name.", NotYet("the deprecated name; write consecutive5xxErrors")
    ] = None
    split_external_local_origin_errors: Annotated[
        bool, "Count failed connections apart from bad answers."
    ] = False
    consecutive_local_origin_failures: Annotated[
        Count | None, "Failed connections in a row; 5 if absent, 0 off."
    ] = None
    consecutive_gateway_errors: Annotated[
        Count | None, "Answers 502, 503, 504 in a row; off if absent or 0."
    ] = None
    consecutive_5xx_errors: Annotated[Count | None, "Answers 5xx in a row; 5 if absent, 0 off."] = (
        msgspec.field(default=None, name="consecutive5xxErrors")
    )
    interval: Annotated[Duration | None, "Time between sweeps; 10 s if absent."] = None
    base_ejection_time: Annotated[
        Duration | None, "Time out, times the number of ejections; 30 s if absent."
    ] = None
    max_ejection_percent: Annotated[Percent | None, "Most endpoints out at once; 10 if absent."] = None
    min_health_percent: Annotated[Percent, "Below this share of healthy endpoints nothing is left out."] = 0
    outlier_detection_http_errors: Annotated[
        Anything, "Other statuses.", NotYet("choice of error statuses")
    ] = None
    outlier_detection_http_error_codes: Annotated[
        Anything, "Other statuses.", NotYet("choice of error statuses")
    ] = None


class ClientTLSSettings(Part, frozen=True):
    """TLS towards a service."""

    mode: Annotated[
        Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"],
        "DISABLE: plain · SIMPLE: verify the server · MUTUAL: own certificate · ISTIO_MUTUAL: the mesh's identities.",
    ] = "DISABLE"
    client_certificate: Annotated[
        str | None, "File of the certificate chain on the proxy's machine (MUTUAL)."
    ] = None
    private_key: Annotated[str | None, "File of the private key (MUTUAL)."] = None
    ca_certificates: Annotated[str | None, "File of the CAs that verify the server."] = None
    ca_crl: Annotated[str | None, "File of revocations.", NotYet("certificate revocation lists")] = None
    credential_name: Annotated[str | None, "GatewaySecret with certificate, key and CAs (gateways only)."] = (
        None
    )
    subject_alt_names: Annotated[
        tuple[str, ...], "Names of which the server's certificate must carry one."
    ] = ()
    sni: Annotated[str | None, "Server name sent in the handshake."] = None
    insecure_skip_verify: Annotated[bool, "Do not verify the server."] = False


class RetryBudget(Part, frozen=True):
    """Limit of retries relative to the requests in flight."""

    percent: Annotated[float, "Retries per hundred active requests.", Range(0, 100)] = 20.0
    min_retry_concurrency: Annotated[Count, "Retries that are always allowed."] = 3
    budget_interval: Annotated[
        Duration | None, "Window.", NotYet("a window; requests in flight are counted")
    ] = None


class PortTrafficPolicy(Part, frozen=True):
    """Settings of one port; they replace those of the object, group by group."""

    port: Annotated[PortSelector, "Port of the service."]
    load_balancer: Annotated[LoadBalancerSettings | None, "How endpoints are chosen."] = None
    connection_pool: Annotated[ConnectionPoolSettings | None, "Limits."] = None
    outlier_detection: Annotated[OutlierDetection | None, "Passive health checks."] = None
    tls: Annotated[ClientTLSSettings | None, "TLS towards the service."] = None


class TrafficPolicy(Part, frozen=True):
    """Settings towards a service or a subset; what is absent comes from the level above."""

    load_balancer: Annotated[LoadBalancerSettings | None, "How endpoints are chosen."] = None
    connection_pool: Annotated[ConnectionPoolSettings | None, "Limits."] = None
    outlier_detection: Annotated[OutlierDetection | None, "Passive health checks."] = None
    tls: Annotated[
        ClientTLSSettings | None, "TLS; chosen per endpoint if absent (mutual TLS inside the mesh)."
    ] = None
    port_level_settings: Annotated[
        tuple[PortTrafficPolicy, ...], "Settings of single ports.", Length(0, 4096)
    ] = ()
    tunnel: Annotated[Anything, "CONNECT tunnels.", NotYet("CONNECT tunnels")] = None
    proxy_protocol: Annotated[Anything, "PROXY protocol.", NotYet("the PROXY protocol")] = None
    retry_budget: Annotated[RetryBudget | None, "Limit of retries."] = None


class Subset(Part, frozen=True):
    """A named part of the service's endpoints."""

    name: Annotated[str, "Name that routes use.", Length(1, 63)]
    labels: Annotated[Labels, "Labels the endpoints carry."] = {}
    traffic_policy: Annotated[TrafficPolicy | None, "Settings that differ from the object's."] = None


class DestinationRule(Part, frozen=True):
    """What clients do towards a service once a route has chosen it: balancing, limits, health, TLS, subsets."""

    host: Annotated[
        str, "Host of the service; a short name is completed, `*.suffix` is allowed.", Length(1, 253)
    ]
    traffic_policy: Annotated[TrafficPolicy | None, "Settings for all endpoints."] = None
    subsets: Annotated[tuple[Subset, ...], "Named parts of the service.", Length(0, 1024)] = ()
    export_to: Annotated[
        tuple[str, ...], "Namespaces whose clients use it: `.`, `*` or names; all if absent."
    ] = ()
    workload_selector: Annotated[WorkloadSelector | None, "Client workloads it is for; all if absent."] = None
