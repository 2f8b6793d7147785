"""Endpoints (`envoy.config.endpoint.v3.ClusterLoadAssignment`)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.refuse import Refused, at, check, known

SOCKET_MATCH = "envoy.transport_socket_match"
ISTIO = "istio"
MAINSTAY = "mainstay.dev"
_WORKLOAD = ("workload", "namespace", "canonical_name", "canonical_revision", "cluster")
# UNKNOWN, HEALTHY, UNHEALTHY, DRAINING, TIMEOUT, DEGRADED
_HEALTH: tuple[plan.Health, ...] = ("healthy", "healthy", "unhealthy", "draining", "unhealthy", "degraded")
MAX_PRIORITY = 128
UNVERSIONED = "latest"


_CLUSTER_LOAD_ASSIGNMENT_FIELDS = known(
    "envoy.config.endpoint.v3.ClusterLoadAssignment", {"cluster_name", "endpoints", "policy"}
)
_LOCALITY_LB_ENDPOINTS_FIELDS = known(
    "envoy.config.endpoint.v3.LocalityLbEndpoints",
    {"locality", "lb_endpoints", "load_balancing_weight", "priority", "metadata", "proximity"},
)
_LB_ENDPOINT_FIELDS = known(
    "envoy.config.endpoint.v3.LbEndpoint", {"endpoint", "health_status", "metadata", "load_balancing_weight"}
)
_ENDPOINT_FIELDS = known("envoy.config.endpoint.v3.Endpoint", {"address", "hostname"})
_CLUSTER_LOAD_ASSIGNMENT_POLICY_FIELDS = known(
    "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
    {"drop_overloads", "overprovisioning_factor"},
)


def endpoints(message: Any) -> plan.Endpoints:
    check(message, _CLUSTER_LOAD_ASSIGNMENT_FIELDS)
    overprovisioning, drop = 140, 0.0
    if message.HasField("policy"):
        with at("policy"):
            check(message.policy, _CLUSTER_LOAD_ASSIGNMENT_POLICY_FIELDS)
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
    check(message, _LOCALITY_LB_ENDPOINTS_FIELDS)
    if message.priority > MAX_PRIORITY:
        raise Refused("priority", f"is above {MAX_PRIORITY}")
    where = plan.Locality(message.locality.region, message.locality.zone, message.locality.sub_zone)
    members = []
    for index, member in enumerate(message.lb_endpoints):
        # Not `at`: a path for each of thousands of endpoints would cost more than the endpoint.
        try:
            members.append(_endpoint(member))
        except Refused as refused:
            raise refused.within(f"lb_endpoints[{index}]") from None
    weight = values.wrapped(message, "load_balancing_weight", 0)
    return plan.LocalityEndpoints(where, message.priority, weight, tuple(members))


def _endpoint(message: Any) -> plan.Endpoint:
    check(message, _LB_ENDPOINT_FIELDS)
    inner = message.endpoint
    try:
        check(inner, _ENDPOINT_FIELDS)
        address = values.address(inner.address, "address")
    except Refused as refused:
        raise refused.within("endpoint") from None
    weight = message.load_balancing_weight.value if message.HasField("load_balancing_weight") else 1
    status = message.health_status
    health: plan.Health = _HEALTH[status] if status < len(_HEALTH) else "unhealthy"
    if not message.HasField("metadata"):
        return plan.Endpoint(address, inner.hostname, max(1, weight), health)
    metadata = message.metadata
    labels = _labels(values.metadata_text(metadata, ISTIO).get("workload", ""))
    sockets = values.metadata_text(metadata, SOCKET_MATCH)
    return plan.Endpoint(
        address,
        inner.hostname,
        max(1, weight),
        health,
        tuple(sorted(sockets.items())) if sockets else (),
        labels,
        values.metadata_text(metadata, MAINSTAY).get("h2_tunnel") == "true",
    )


@lru_cache(maxsize=4_096)
def _labels(text: str) -> plan.Labels:
    """`name;namespace;canonical-name;canonical-revision;cluster`, as Istio writes it. Application and version are the
    canonical ones, which Istio takes from these labels; `latest` stands for none."""
    if not text:
        return ()
    labels = {name: part for name, part in zip(_WORKLOAD, text.split(";"), strict=False) if part}
    if "canonical_name" in labels:
        labels["app"] = labels["canonical_name"]
    if labels.get("canonical_revision", UNVERSIONED) != UNVERSIONED:
        labels["version"] = labels["canonical_revision"]
    return tuple(labels.items())
