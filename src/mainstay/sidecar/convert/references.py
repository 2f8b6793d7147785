"""What a resource needs before it may serve.

In: a plan struct. Out: names of other resources. Invariant: a cluster names endpoints and secrets, a route table clusters, a
listener routes, clusters and secrets; so the graph of needs has no cycles. Mirrors are no need: they may fail alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from mainstay.sidecar import plan

Kind = Literal["secret", "endpoints", "cluster", "route", "generic_route", "listener"]
Reference = tuple[Kind, str]
NOTHING: frozenset[Reference] = frozenset()
"""One for all: each would take 200 bytes."""


def needs_of(resource: plan.Resource) -> frozenset[Reference]:
    """References by kind and name. A resource of kind secret or endpoints has none."""
    match resource:
        case plan.Cluster():
            return frozenset(_of_cluster(resource))
        case plan.RouteTable():
            return frozenset(_of_routes(resource))
        case plan.Listener():
            return frozenset(_of_listener(resource))
        case _:
            return NOTHING


def kind_of(resource: plan.Resource) -> Kind:
    """The engine's word for the kind; of a route table, that of HTTP's."""
    match resource:
        case plan.Secret():
            return "secret"
        case plan.Endpoints():
            return "endpoints"
        case plan.Cluster():
            return "cluster"
        case plan.RouteTable():
            return "route"
        case plan.Listener():
            return "listener"


def name_of(resource: plan.Resource) -> str:
    """Its name; endpoints go by their service's."""
    return resource.service if isinstance(resource, plan.Endpoints) else resource.name


def _of_cluster(cluster: plan.Cluster) -> Iterator[Reference]:
    if isinstance(cluster.discovery, plan.EdsDiscovery):
        yield "endpoints", cluster.discovery.service
    yield from _of_tls(cluster.tls)
    for match in cluster.socket_matches:
        yield from _of_tls(match.tls)


def _of_tls(tls: plan.UpstreamTls | plan.DownstreamTls | None) -> Iterator[Reference]:
    if tls is not None:
        for name in tls.certificates:
            yield "secret", name
        if tls.validation is not None:
            yield "secret", tls.validation


def _of_routes(table: plan.RouteTable) -> Iterator[Reference]:
    for host in table.virtual_hosts:
        for route in host.routes:
            if isinstance(route.action, plan.ForwardAction):
                match route.action.upstreams:
                    case plan.OneCluster(name):
                        yield "cluster", name
                    case plan.WeightedClusters(clusters):
                        for entry in clusters:
                            yield "cluster", entry.name


def _of_listener(listener: plan.Listener) -> Iterator[Reference]:
    chains = listener.chains if listener.default_chain is None else (*listener.chains, listener.default_chain)
    for chain in chains:
        yield from _of_tls(chain.tls)
        match chain.terminal:
            case plan.TcpTerminal(proxy):
                for target in proxy.targets:
                    yield "cluster", target.cluster
            case plan.HttpTerminal(manager):
                match manager.routes:
                    case plan.NamedRoutes(name):
                        yield "route", name
                    case plan.GenericRoutes(name):
                        yield "generic_route", name
                    case plan.InlineRoutes(table):
                        yield from _of_routes(table)
