"""The TCP proxy (`envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`)."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.access_log import access_logs
from mainstay.sidecar.convert.refuse import Refused, at, check, known

TYPE = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_KNOWN = {
    "stat_prefix",
    "cluster",
    "weighted_clusters",
    "idle_timeout",
    "access_log",
    "max_connect_attempts",
    "max_downstream_connection_duration",
}


_TCP_PROXY_FIELDS = known("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", _KNOWN)
_WEIGHT_FIELDS = known(
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight", {"name", "weight"}
)


def tcp_proxy(message: Any) -> plan.TcpProxy:
    check(message, _TCP_PROXY_FIELDS)
    return plan.TcpProxy(
        message.stat_prefix,
        _targets(message),
        values.limit(message, "idle_timeout", 3_600_000),
        values.limit(message, "max_downstream_connection_duration", None),
        max(1, values.wrapped(message, "max_connect_attempts", 1)),
        access_logs(message.access_log),
    )


def _targets(message: Any) -> tuple[plan.TcpTarget, ...]:
    match message.WhichOneof("cluster_specifier"):
        case "cluster":
            return (plan.TcpTarget(message.cluster),)
        case "weighted_clusters":
            targets = []
            with at("weighted_clusters"):
                for index, entry in enumerate(message.weighted_clusters.clusters):
                    with at(f"clusters[{index}]"):
                        check(entry, _WEIGHT_FIELDS)
                        targets.append(plan.TcpTarget(entry.name, entry.weight))
                if sum(target.weight for target in targets) <= 0:
                    raise Refused("clusters", "the sum of weights must be at least 1")
            return tuple(targets)
        case other:
            raise Refused(other or "cluster_specifier", "is not supported" if other else "is required")
