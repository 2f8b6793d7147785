"""DestinationRule → ``TrafficRule``: levels of settings that override each other field by field.

In: a decoded DestinationRule. Out: one traffic rule. What is not said at a level stays None; a limit written as 0 means no
limit and becomes "not said", for no limit is what holds when nobody speaks. Source: istio/api destination_rule.proto.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.hosts import read_full_host, read_visibility
from mainstay.api.istio import destination_rule as written
from mainstay.api.kind import Defaults, Fact
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.model.key import labels_of
from mainstay.model.problem import Problem
from mainstay.model.secret import SecretRef
from mainstay.model.traffic import (
    NO_POLICY,
    Balancing,
    ClientTls,
    ConnectionPool,
    KeepAlive,
    OutlierDetection,
    PortPolicy,
    RetryBudget,
    Subset,
    TrafficPolicy,
    TrafficRule,
)

Level = tuple[TrafficPolicy, tuple[PortPolicy, ...]]
"""Settings of one level, and those of its ports by number."""

_NOTHING: Level = (NO_POLICY, ())


def translate_destination_rule(thing: Object, defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the rule."""
    found = Findings(thing)
    rule: written.DestinationRule = thing.spec
    host = read_full_host(rule.host, found, ("spec", "host"), defaults, wildcard=True)
    policy, ports = _NOTHING
    if rule.traffic_policy:
        policy, ports = _level(rule.traffic_policy, found, ("spec", "trafficPolicy"))
    visible_to = read_visibility(rule.export_to, found, ("spec", "exportTo"))
    selector = labels_of(rule.workload_selector.labels if rule.workload_selector else {})
    subsets = _subsets(rule.subsets, found)
    return found.or_facts(
        [TrafficRule(thing.key, host, policy, ports, subsets, visible_to, selector, thing.created)]
    )


def _subsets(entries: tuple[written.Subset, ...], found: Findings) -> tuple[Subset, ...]:
    subsets: dict[str, Subset] = {}
    for at, entry in enumerate(entries):
        path = ("spec", "subsets", at)
        if entry.name in subsets:
            reason = f"two subsets have the name {entry.name}"
            found.add("MS1107", (*path, "name"), reason, "Give each subset its own name")
        policy, ports = _NOTHING
        if entry.traffic_policy:
            policy, ports = _level(entry.traffic_policy, found, (*path, "trafficPolicy"))
        subsets[entry.name] = Subset(entry.name, labels_of(entry.labels), policy, ports)
    return tuple(subsets[name] for name in sorted(subsets))


def _level(policy: written.TrafficPolicy, found: Findings, path: Path) -> Level:
    """Return what one level says."""
    ports: dict[int, PortPolicy] = {}
    for at, entry in enumerate(policy.port_level_settings):
        here = (*path, "portLevelSettings", at)
        number = entry.port.number
        if number in ports:
            found.add("MS1107", here, f"port {number} is set twice", "Join the two entries")
        ports[number] = PortPolicy(number, _settings(entry, found, here))
    whole = _settings(policy, found, path)
    if budget := policy.retry_budget:
        share = RetryBudget(round(budget.percent * 10_000), budget.min_retry_concurrency)
        whole = TrafficPolicy(whole.balancing, whole.pool, whole.outlier, whole.tls, share)
    return whole, tuple(ports[number] for number in sorted(ports))


def _settings(
    policy: written.TrafficPolicy | written.PortTrafficPolicy, found: Findings, path: Path
) -> TrafficPolicy:
    pool, outlier, tls = policy.connection_pool, policy.outlier_detection, policy.tls
    return TrafficPolicy(
        _balancing(policy.load_balancer),
        connection_pool(pool, found, (*path, "connectionPool")) if pool else None,
        _outlier(outlier, found, (*path, "outlierDetection")) if outlier else None,
        _tls(tls, found, (*path, "tls")) if tls else None,
    )


def _balancing(balancer: written.LoadBalancerSettings | None) -> Balancing | None:
    match balancer.simple if balancer else None:
        case "LEAST_REQUEST" | "ROUND_ROBIN" | "RANDOM" | "PASSTHROUGH" as chosen:
            return chosen
        case _:
            return None


def connection_pool(pool: written.ConnectionPoolSettings, found: Findings, path: Path) -> ConnectionPool:
    """Return the limits of a connection pool; Sidecars have them too."""
    tcp, http = pool.tcp or written.TCPSettings(), pool.http or written.HTTPSettings()
    at_tcp, at_http = (*path, "tcp"), (*path, "http")
    return ConnectionPool(
        max_connections=tcp.max_connections or None,
        connect_timeout=_span(tcp.connect_timeout, found, (*at_tcp, "connectTimeout")),
        keep_alive=_keep_alive(tcp.tcp_keepalive, found, (*at_tcp, "tcpKeepalive")),
        max_connection_duration=_span(tcp.max_connection_duration, found, (*at_tcp, "maxConnectionDuration")),
        tcp_idle_timeout=_span(tcp.idle_timeout, found, (*at_tcp, "idleTimeout")),
        max_pending_requests=http.http1_max_pending_requests or None,
        max_requests=http.http2_max_requests or None,
        max_requests_per_connection=http.max_requests_per_connection or None,
        max_retries=http.max_retries or None,
        http_idle_timeout=_span(http.idle_timeout, found, (*at_http, "idleTimeout")),
        h2_upgrade=http.h2_upgrade_policy,
        use_client_protocol=http.use_client_protocol,
        max_concurrent_streams=http.max_concurrent_streams or None,
    )


def _keep_alive(alive: written.TcpKeepalive | None, found: Findings, path: Path) -> KeepAlive | None:
    if alive is None:
        return None
    times = {}
    for name, value in (("time", alive.time), ("interval", alive.interval)):
        times[name] = _span(value, found, (*path, name))
        if value and value % 1_000:
            reason = "the operating system counts whole seconds"
            found.add("MS1105", (*path, name), reason, "Write whole seconds, e.g. 30s")
    return KeepAlive(alive.probes or None, times["time"], times["interval"])


def _outlier(outlier: written.OutlierDetection, found: Findings, path: Path) -> OutlierDetection:
    default = OutlierDetection()

    def count(value: int | None, otherwise: int) -> int:
        return otherwise if value is None else value

    return OutlierDetection(
        count(outlier.consecutive_5xx_errors, default.consecutive_5xx),
        count(outlier.consecutive_gateway_errors, default.consecutive_gateway_errors),
        count(outlier.consecutive_local_origin_failures, default.consecutive_local_origin_failures),
        outlier.split_external_local_origin_errors,
        _span(outlier.interval, found, (*path, "interval")) or default.interval,
        _span(outlier.base_ejection_time, found, (*path, "baseEjectionTime")) or default.base_ejection_time,
        count(outlier.max_ejection_percent, default.max_ejection_percent),
        outlier.min_health_percent,
    )


def _tls(tls: written.ClientTLSSettings, found: Findings, path: Path) -> ClientTls:
    files = {
        "clientCertificate": tls.client_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
    }
    given = [name for name, value in files.items() if value]
    if tls.credential_name:
        for name in given:
            reason = f"{name} and credentialName exclude each other"
            found.add("MS1106", (*path, name), reason, "Keep the files or the secret")
    if tls.mode == "MUTUAL" and not tls.credential_name:
        for name in ("clientCertificate", "privateKey"):
            if name not in given:
                found.add("MS1010", path, f"MUTUAL needs {name}", f"Add {name}, or credentialName")
    elif tls.mode in ("DISABLE", "ISTIO_MUTUAL"):
        for name in (*given, *(["credentialName"] if tls.credential_name else [])):
            reason = f"{name} has no meaning in mode {tls.mode}"
            found.add("MS1106", (*path, name), reason, f"Remove {name}, or use mode SIMPLE or MUTUAL")
    elif tls.mode == "SIMPLE":
        for name in ("clientCertificate", "privateKey"):
            if name in given:
                found.add("MS1106", (*path, name), f"SIMPLE shows no {name}", "Use mode MUTUAL")
    return ClientTls(
        tls.mode,
        tls.client_certificate or "",
        tls.private_key or "",
        tls.ca_certificates or "",
        SecretRef(found.namespace, tls.credential_name) if tls.credential_name else None,
        tuple(sorted(set(tls.subject_alt_names))),
        tls.sni or "",
        tls.insecure_skip_verify,
    )


def _span(value: int | None, found: Findings, path: Path) -> int | None:
    """A time that must not be 0: elsewhere 0 means "endless" or "at once", and nobody remembers which."""
    if value == 0:
        found.add("MS1105", path, "0s is no time limit", "Give at least 1ms, or leave it out for the default")
    return value or None
