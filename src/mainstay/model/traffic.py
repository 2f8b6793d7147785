"""What clients do towards a service: balancing, pools, outlier detection, TLS; and its subsets.

In: DestinationRules. Out: ``TrafficRule`` facts, one per rule. Levels override each other field by field: subset over
rule, port over both; so ``None`` here is "not said at this level", and mesh defaults come last (``resolve``).
Lookup order between rules for a host is the compiler's: client namespace, service namespace, root namespace.
"""

from typing import Literal

import msgspec

from mainstay.model.key import EVERYWHERE, Labels, ObjectKey, Visibility
from mainstay.model.secret import SecretRef

Balancing = Literal["LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"]
TlsMode = Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]


class KeepAlive(msgspec.Struct, frozen=True, gc=False):
    """TCP keep-alive; None leaves it to the operating system. Times in milliseconds, whole seconds on the wire."""

    probes: int | None = None
    time: int | None = None
    interval: int | None = None


class ConnectionPool(msgspec.Struct, frozen=True, gc=False):
    """Limits towards one cluster (ConnectionPoolSettings); times in milliseconds.

    TCP: ``max_connections``, ``connect_timeout``, ``keep_alive``, ``max_connection_duration``, ``tcp_idle_timeout``.
    HTTP: ``max_pending_requests`` (http1MaxPendingRequests), ``max_requests`` (http2MaxRequests),
    ``max_requests_per_connection``, ``max_retries``, ``http_idle_timeout``, ``h2_upgrade``, ``use_client_protocol``,
    ``max_concurrent_streams``.
    """

    max_connections: int | None = None
    connect_timeout: int | None = None
    keep_alive: KeepAlive | None = None
    max_connection_duration: int | None = None
    tcp_idle_timeout: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_retries: int | None = None
    http_idle_timeout: int | None = None
    h2_upgrade: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] | None = None
    use_client_protocol: bool | None = None
    max_concurrent_streams: int | None = None


class OutlierDetection(msgspec.Struct, frozen=True, gc=False):
    """Passive health (OutlierDetection, its defaults); a count of 0 switches that detector off. Milliseconds,
    percents."""

    consecutive_5xx: int = 5
    consecutive_gateway_errors: int = 0
    consecutive_local_origin_failures: int = 5
    split_local_origin: bool = False
    interval: int = 10_000
    base_ejection_time: int = 30_000
    max_ejection_percent: int = 10
    min_health_percent: int = 0


class ClientTls(msgspec.Struct, frozen=True, gc=False):
    """TLS towards a service (ClientTLSSettings). Paths are files on the proxy's machine; ``credential`` excludes them.
    ``subject_alt_names`` sorted; empty: the service's accounts."""

    mode: TlsMode
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    credential: SecretRef | None = None
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool = False


class RetryBudget(msgspec.Struct, frozen=True, gc=False):
    """Retries in flight as parts per million of active requests, and how many are always allowed."""

    share: int = 200_000
    min_concurrency: int = 3


class TrafficPolicy(msgspec.Struct, frozen=True, gc=False):
    """One level of settings; None is "not said here"."""

    balancing: Balancing | None = None
    pool: ConnectionPool | None = None
    outlier: OutlierDetection | None = None
    tls: ClientTls | None = None
    retry_budget: RetryBudget | None = None


NO_POLICY = TrafficPolicy()


class PortPolicy(msgspec.Struct, frozen=True, gc=False):
    """Settings of one service port; they replace those of its level field by field (portLevelSettings)."""

    port: int
    policy: TrafficPolicy


class Subset(msgspec.Struct, frozen=True, gc=False):
    """A named part of a service: endpoints that carry ``labels``."""

    name: str
    labels: Labels
    policy: TrafficPolicy = NO_POLICY
    ports: tuple[PortPolicy, ...] = ()


class TrafficRule(msgspec.Struct, frozen=True, gc=False):
    """A DestinationRule. ``host`` is fully qualified and may start with ``*.``; ``selector`` picks client workloads
    (workloadSelector), empty all. ``subsets`` by name, ``ports`` by number."""

    key: ObjectKey
    host: str
    policy: TrafficPolicy = NO_POLICY
    ports: tuple[PortPolicy, ...] = ()
    subsets: tuple[Subset, ...] = ()
    visible_to: Visibility = EVERYWHERE
    selector: Labels = ()
    created: int = 0

    def subset(self, name: str) -> Subset | None:
        """Return the subset of this name, or None."""
        return next((subset for subset in self.subsets if subset.name == name), None)


def overlay(upper: TrafficPolicy, lower: TrafficPolicy) -> TrafficPolicy:
    """Return ``lower`` with every field that ``upper`` says replaced."""
    return TrafficPolicy(
        balancing=upper.balancing or lower.balancing,
        pool=upper.pool or lower.pool,
        outlier=upper.outlier or lower.outlier,
        tls=upper.tls or lower.tls,
        retry_budget=upper.retry_budget or lower.retry_budget,
    )


def resolve(rule: TrafficRule | None, subset: Subset | None, port: int) -> TrafficPolicy:
    """Return the settings for a port of a service or of one of its subsets, the most specific level first."""
    levels = [
        *_of_port(subset.ports if subset else (), port),
        *((subset.policy,) if subset else ()),
        *_of_port(rule.ports if rule else (), port),
        *((rule.policy,) if rule else ()),
    ]
    result = NO_POLICY
    for level in levels:
        result = overlay(result, level)
    return result


def _of_port(ports: tuple[PortPolicy, ...], number: int) -> tuple[TrafficPolicy, ...]:
    return tuple(entry.policy for entry in ports if entry.port == number)
