"""Endpoints (`envoy.config.endpoint.v3.ClusterLoadAssignment`)."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.refuse import Refused, at, check, unsupported

SOCKET_MATCH = "envoy.transport_socket_match"
ISTIO = "istio"
MAINSTAY = "mainstay.dev"
_WORKLOAD = ("workload", "namespace", "canonical_name", "canonical_revision", "cluster")
# UNKNOWN, HEALTHY, UNHEALTHY, DRAINING, TIMEOUT, DEGRADED
_HEALTH: tuple[plan.Health, ...] = ("healthy", "healthy", "unhealthy", "draining", "unhealthy", "degraded")
MAX_PRIORITY = 128


def endpoints(message: Any) -> plan.Endpoints:
    check(message, {"cluster_name", "endpoints", "policy"})
    overprovisioning, drop = 140, 0.0
    if message.HasField("policy"):
        with at("policy"):
            check(message.policy, {"drop_overloads", "overprovisioning_factor", "weighted_priority_health"})
            overprovisioning = values.wrapped(message.policy, "overprovisioning_factor", overprovisioning)
            kept = 1.0
            for overload in message.policy.drop_overloads:
                share = values.fraction(overload.drop_percentage)
                kept *= 1 - min(1.0, share.numerator / share.denominator)
            drop = 100 * (1 - kept)
    return plan.Endpoints(message.cluster_name, localities(message.endpoints), overprovisioning, drop)


def localities(messages: Any) -> tuple[plan.LocalityEndpoints, ...]:
    found = []
    for index, message in enumerate(messages):
        with at(f"endpoints[{index}]"):
            found.append(_locality(message))
    return tuple(found)


def _locality(message: Any) -> plan.LocalityEndpoints:
    check(message, {"locality", "lb_endpoints", "load_balancing_weight", "priority", "metadata", "proximity"})
    if message.priority > MAX_PRIORITY:
        raise Refused("priority", f"is above {MAX_PRIORITY}")
    where = plan.Locality(message.locality.region, message.locality.zone, message.locality.sub_zone)
    members = []
    for index, member in enumerate(message.lb_endpoints):
        with at(f"lb_endpoints[{index}]"):
            members.append(_endpoint(member))
    weight = values.wrapped(message, "load_balancing_weight", 0)
    return plan.LocalityEndpoints(where, message.priority, weight, tuple(members))


def _endpoint(message: Any) -> plan.Endpoint:
    check(message, {"endpoint", "health_status", "metadata", "load_balancing_weight"})
    with at("endpoint"):
        inner = message.endpoint
        check(inner, {"address", "hostname", "health_check_config"})
        if inner.HasField("health_check_config") and inner.health_check_config.ListFields():
            unsupported("health_check_config")
        with at("address"):
            address = values.address(inner.address)
    metadata = message.metadata
    labels = _labels(values.metadata_text(metadata, ISTIO).get("workload", ""))
    return plan.Endpoint(
        address,
        inner.hostname,
        max(1, values.wrapped(message, "load_balancing_weight", 1)),
        _HEALTH[message.health_status] if message.health_status < len(_HEALTH) else "unhealthy",
        tuple(sorted(values.metadata_text(metadata, SOCKET_MATCH).items())),
        labels,
        values.metadata_text(metadata, MAINSTAY).get("h2_tunnel") == "true",
    )


def _labels(text: str) -> plan.Labels:
    """`name;namespace;canonical-name;canonical-revision;cluster`, as Istio writes it."""
    parts = text.split(";") if text else []
    return tuple((name, part) for name, part in zip(_WORKLOAD, parts, strict=False) if part)
