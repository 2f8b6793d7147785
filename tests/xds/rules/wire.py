"""xDS on the wire, by the public message types alone: paths, requests, responses."""

from __future__ import annotations

from typing import Any

from envoy.service.discovery.v3 import discovery_pb2 as discovery

from .steps import Kind, Streams, Variant

_PREFIX = "type.googleapis.com/"
MESSAGES: dict[Kind, str] = {
    "cluster": "envoy.config.cluster.v3.Cluster",
    "endpoint": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "listener": "envoy.config.listener.v3.Listener",
    "route": "envoy.config.route.v3.RouteConfiguration",
    "secret": "envoy.extensions.transport_sockets.tls.v3.Secret",
}
URLS: dict[Kind, str] = {kind: _PREFIX + name for kind, name in MESSAGES.items()}
KINDS: dict[str, Kind] = {url: kind for kind, url in URLS.items()}
UNKNOWN_URL = _PREFIX + "none.such.Type"
WRAPPED_URL = _PREFIX + "envoy.service.discovery.v3.Resource"
WILDCARDS: tuple[Kind, ...] = ("cluster", "listener")
"""Kinds that have a wildcard; in SotW those whose responses hold the whole state."""

_SERVICES: dict[Kind, tuple[str, str]] = {
    "cluster": ("cluster.v3.Cluster", "Clusters"),
    "endpoint": ("endpoint.v3.Endpoint", "Endpoints"),
    "listener": ("listener.v3.Listener", "Listeners"),
    "route": ("route.v3.Route", "Routes"),
    "secret": ("secret.v3.Secret", "Secrets"),
}


def path(variant: Variant, kind: Kind | None) -> str:
    """Of a single service, or of ADS."""
    verb = "Stream" if variant == "sotw" else "Delta"
    if kind is None:
        return f"/envoy.service.discovery.v3.AggregatedDiscoveryService/{verb}AggregatedResources"
    service, method = _SERVICES[kind]
    return f"/envoy.service.{service}DiscoveryService/{verb}{method}"


def paths(variant: Variant, streams: Streams) -> dict[str, Kind | None]:
    if streams == "ads":
        return {path(variant, None): None}
    return {path(variant, kind): kind for kind in URLS}


def request_type(variant: Variant) -> Any:
    return discovery.DiscoveryRequest if variant == "sotw" else discovery.DeltaDiscoveryRequest


def response_type(variant: Variant) -> Any:
    return discovery.DiscoveryResponse if variant == "sotw" else discovery.DeltaDiscoveryResponse
