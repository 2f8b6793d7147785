"""Small plans for live tests of the engine: a listener, a route, a cluster, each in a line."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import msgspec

from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainstay.engine import Delta

LOOPBACK = "127.0.0.1"
Peer = int | str
"""A port of loopback, or the path of a Unix socket."""


def address(peer: Peer) -> plan.Address:
    return plan.Socket(LOOPBACK, peer) if isinstance(peer, int) else plan.Pipe(peer)


def cluster(name: str, *peers: Peer, **more: object) -> plan.Cluster:
    endpoints = tuple(plan.Endpoint(address(peer)) for peer in peers)
    locality = plan.LocalityEndpoints(plan.Locality(), 0, 1, endpoints)
    return plan.Cluster(name, plan.StaticDiscovery((locality,)), **more)  # type: ignore[arg-type]


def forward(name: str, **more: object) -> plan.ForwardAction:
    fields: dict[str, object] = {
        "upstreams": plan.OneCluster(name),
        "path_rewrite": None,
        "host_rewrite": None,
        "append_forwarded_host": False,
        "timeout": 15_000,
        "idle_timeout": None,
        "unlimited_idle": False,
        "max_duration": None,
        "grpc_timeout_max": None,
        "retry": None,
        "mirrors": (),
        "upgrades": (),
        "cluster_not_found_status": 503,
        "high_priority": False,
        "internal_redirect": None,
    }
    return plan.ForwardAction(**(fields | more))  # type: ignore[arg-type]


def routes(*pairs: tuple[str, plan.RouteAction], name: str = "routes") -> plan.RouteTable:
    """Routes by path prefix, for any host."""
    made = tuple(
        plan.Route(prefix, plan.RouteMatch(plan.PrefixPath(prefix)), action) for prefix, action in pairs
    )
    return plan.RouteTable(name, (plan.VirtualHost("all", ("*",), made),))


def http_chain(
    table: plan.RouteTable,
    *,
    tls: plan.DownstreamTls | None = None,
    rpc: Sequence[plan.RpcProtocol | plan.RpcNativeCodec] = (),
    **options: object,
) -> plan.FilterChain:
    codecs = tuple(
        plan.RpcDescribedCodec(each) if isinstance(each, plan.RpcProtocol) else each for each in rpc
    )
    manager = plan.HttpConnectionManager("test", plan.InlineRoutes(table), rpc=codecs, **options)  # type: ignore[arg-type]
    return plan.FilterChain("http", plan.HttpTerminal(manager), tls=tls)


def tcp_chain(target: str, *, tls: plan.DownstreamTls | None = None, **options: object) -> plan.FilterChain:
    proxy = plan.TcpProxy("test", (plan.TcpTarget(target),), **options)  # type: ignore[arg-type]
    return plan.FilterChain("tcp", plan.TcpTerminal(proxy), tls=tls)


def listener(name: str, *chains: plan.FilterChain, at: Peer = 0, **more: object) -> plan.Listener:
    return plan.Listener(name, address(at), chains, **more)  # type: ignore[arg-type]


_KINDS: dict[type, Literal["secret", "endpoints", "cluster", "route", "listener"]] = {
    plan.Secret: "secret",
    plan.Endpoints: "endpoints",
    plan.Cluster: "cluster",
    plan.RouteTable: "route",
    plan.Listener: "listener",
}


def delta(*resources: plan.Resource, removed: Sequence[tuple[str, str]] = ()) -> Delta:
    """What the sidecar would hand to the engine; digests are those of the bodies."""
    from mainstay.engine import Delta, Removal, Upsert

    upserts = []
    for resource in resources:
        body = plan.encode(resource)
        name = resource.service if isinstance(resource, plan.Endpoints) else resource.name
        upserts.append(Upsert(_KINDS[type(resource)], name, hashlib.sha256(body).hexdigest(), body))
    return Delta(tuple(upserts), tuple(Removal(kind, name) for kind, name in removed))  # type: ignore[arg-type]


def packed(*resources: plan.Resource) -> bytes:
    return msgspec.msgpack.encode(delta(*resources))
