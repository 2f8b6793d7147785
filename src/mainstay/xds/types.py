"""The resource types we speak, as one table: both machines are generic over its rows.

In and out: constants. A new type is a row here, a kind in `Kind`, and its descriptor in `_proto`. Every type's name is field 1
of its message (`ClusterLoadAssignment.cluster_name` too), which `messages.name_of_body` relies on.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["cluster", "endpoint", "listener", "route", "generic_route", "secret"]
"""Short names of the types: those of `compile`. `generic_route`: what the generic proxy, which carries RPC, routes by."""

Variant = Literal["sotw", "delta"]
"""State of the world: a response has all that was asked for. Delta: only what changed."""

WILDCARD = "*"

URL_PREFIX = "type.googleapis.com/"

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"

HEALTH_URL = URL_PREFIX + "istio.v1.HealthInformation"
"""A proxy's report on its workload, sent as a request of this type: `error_detail` is set if it is unhealthy (Istio's way)."""


APPLICATION_URL = URL_PREFIX + "mainstay.dev.v1alpha1.ApplicationServices"
"""What a proxy's application publishes and wants, sent as a request of this type. Its one name (of those asked for, or subscribed
to) is the text of `model.application`: a request has no other place for a body that says neither "refused" nor "held"."""

DRAINING = "draining"
"""Words of a report of a workload that is about to stop: it needs no grace when its stream ends."""


class Type(msgspec.Struct, frozen=True):
    """`wildcard`: asking for no name means all. `full_state`: in SotW, what a response lacks is gone. `order`: place in which
    changes are sent (make before break); `service` and `method` name the single service, and are empty for a type that
    only ADS carries."""

    kind: Kind
    message: str
    wildcard: bool
    full_state: bool
    order: int
    service: str
    method: str

    @property
    def url(self) -> str:
        return URL_PREFIX + self.message


def _row(kind: Kind, message: str, wildcard: bool, order: int, service: str = "", method: str = "") -> Type:
    full = f"envoy.service.{service}DiscoveryService" if service else ""
    return Type(kind, message, wildcard, wildcard, order, full, method)


TYPES: dict[Kind, Type] = {
    row.kind: row
    for row in (
        _row("cluster", "envoy.config.cluster.v3.Cluster", True, 0, "cluster.v3.Cluster", "Clusters"),
        _row(
            "endpoint",
            "envoy.config.endpoint.v3.ClusterLoadAssignment",
            False,
            1,
            "endpoint.v3.Endpoint",
            "Endpoints",
        ),
        _row("listener", "envoy.config.listener.v3.Listener", True, 2, "listener.v3.Listener", "Listeners"),
        _row("route", "envoy.config.route.v3.RouteConfiguration", False, 3, "route.v3.Route", "Routes"),
        _row(
            "generic_route",
            "envoy.extensions.filters.network.generic_proxy.v3.RouteConfiguration",
            False,
            4,
        ),
        _row(
            "secret",
            "envoy.extensions.transport_sockets.tls.v3.Secret",
            False,
            5,
            "secret.v3.Secret",
            "Secrets",
        ),
    )
}

ORDER: tuple[Kind, ...] = tuple(sorted(TYPES, key=lambda kind: TYPES[kind].order))
"""The order in which kinds are asked for and changes are sent."""

KIND_OF_URL: dict[str, Kind] = {row.url: kind for kind, row in TYPES.items()}


SINGLE: tuple[Kind, ...] = tuple(kind for kind in ORDER if TYPES[kind].service)
"""Kinds that have a service of their own."""


def path(variant: Variant, kind: Kind | None = None) -> str:
    """The gRPC path of a stream: of ADS, or of one kind's own service; ValueError for a kind that has none."""
    verb = "Stream" if variant == "sotw" else "Delta"
    if kind is None:
        return f"/{ADS}/{verb}AggregatedResources"
    if not TYPES[kind].service:
        raise ValueError(f"{TYPES[kind].message} has no discovery service of its own: only ADS carries it")
    return f"/{TYPES[kind].service}/{verb}{TYPES[kind].method}"


PATHS: dict[str, tuple[Variant, tuple[Kind, ...]]] = {
    **{path(variant): (variant, ORDER) for variant in ("sotw", "delta")},
    **{path(variant, kind): (variant, (kind,)) for variant in ("sotw", "delta") for kind in SINGLE},
}
"""Path → variant and the kinds its streams carry."""
