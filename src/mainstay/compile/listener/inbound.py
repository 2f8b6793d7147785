"""Inbound listeners: virtualInbound for intercepted traffic, and bound ones for explicit mode.

In: ``InboundTraits``; PeerAuthentication decides per port which chains there are (``SHAPES``, Istio's table), policies which
filters. Out: a listener whose chains end mesh mTLS where it is offered, and send on to the application's cluster.
Invariants: STRICT has no chain for plain bytes; a declared TCP port with mTLS off waits for no first bytes.
"""

from typing import Literal

import msgspec

from mainstay.compile import names
from mainstay.compile.facts import Facts
from mainstay.compile.filters import http_chain, network_chain, rpc_chain
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.listener.chain import (
    PLAIN_HTTP_ALPNS,
    chain,
    http_inspector,
    inspection,
    listener,
    original_destination,
    tls_inspector,
    tunnel_mark,
)
from mainstay.compile.listener.connection_manager import connection_manager
from mainstay.compile.lookup import mtls_mode
from mainstay.compile.resource import Fields, Ref, Resource
from mainstay.compile.route.action import INBOUND_RETRY, retry_policy
from mainstay.compile.route.connection import tcp_proxy
from mainstay.compile.rpc.codec import protocol_inspector, rpc_manager
from mainstay.compile.rpc.table import inbound_routes
from mainstay.compile.tls import MESH_ALPNS, MESH_HTTP_ALPNS, MESH_SECRETS, RPC_ALPN, mesh_downstream
from mainstay.compile.traits import InboundPort, InboundTraits
from mainstay.model.policy import MtlsMode
from mainstay.model.problem import Problem
from mainstay.model.protocol import PortProtocol
from mainstay.model.rpc import detectable

PortKind = Literal["auto", "http", "rpc", "tcp"]
Speech = Literal["http", "rpc", "bytes"]


GRPC_ALPN = "h2"
"""All that gRPC's own library offers, when it takes part in the mesh. On a port that is declared HTTP in clear text, TLS can only
be the mesh's."""


class Shape(msgspec.Struct, frozen=True):
    """One chain: what it matches, what it speaks, whether it ends mesh mTLS."""

    transport: Literal["tls", "raw_buffer", ""]
    alpns: tuple[str, ...]
    speaks: Speech
    ends_tls: bool
    detected: str = ""
    """The framed protocol that first bytes told, here or at the caller's sidecar."""


_PEER_HTTP = Shape("tls", MESH_HTTP_ALPNS, speaks="http", ends_tls=True)
_PLAIN_HTTP = Shape("raw_buffer", PLAIN_HTTP_ALPNS, speaks="http", ends_tls=False)
_PEER_STREAM = Shape("tls", ("istio-peer-exchange", "istio"), speaks="bytes", ends_tls=True)
_PLAIN_STREAM = Shape("raw_buffer", (), speaks="bytes", ends_tls=False)
_FOREIGN_TLS = Shape("tls", (), speaks="bytes", ends_tls=False)
_ANY_PLAIN_HTTP = Shape("raw_buffer", (), speaks="http", ends_tls=False)

SHAPES: dict[tuple[MtlsMode, PortKind], tuple[Shape, ...]] = {
    ("PERMISSIVE", "auto"): (_PEER_HTTP, _PLAIN_HTTP, _PEER_STREAM, _PLAIN_STREAM, _FOREIGN_TLS),
    ("PERMISSIVE", "http"): (
        Shape("tls", (*MESH_ALPNS, GRPC_ALPN), speaks="http", ends_tls=True),
        _ANY_PLAIN_HTTP,
    ),
    ("PERMISSIVE", "tcp"): (
        Shape("tls", MESH_ALPNS, speaks="bytes", ends_tls=True),
        _FOREIGN_TLS,
        _PLAIN_STREAM,
    ),
    ("PERMISSIVE", "rpc"): (
        Shape("tls", MESH_ALPNS, speaks="rpc", ends_tls=True),
        Shape("raw_buffer", (), speaks="rpc", ends_tls=False),
    ),
    ("STRICT", "auto"): (_PEER_HTTP, Shape("tls", (), speaks="bytes", ends_tls=True)),
    ("STRICT", "http"): (Shape("tls", (), speaks="http", ends_tls=True),),
    ("STRICT", "tcp"): (Shape("tls", (), speaks="bytes", ends_tls=True),),
    ("STRICT", "rpc"): (Shape("tls", (), speaks="rpc", ends_tls=True),),
    ("DISABLE", "auto"): (_PLAIN_HTTP, _PLAIN_STREAM),
    ("DISABLE", "http"): (_ANY_PLAIN_HTTP,),
    ("DISABLE", "tcp"): (Shape("", (), speaks="bytes", ends_tls=False),),
    ("DISABLE", "rpc"): (Shape("", (), speaks="rpc", ends_tls=False),),
}
"""(mode, kind of port) → chains. DISABLE takes foreign TLS on TCP ports as bytes."""


def kind_of(protocol: PortProtocol) -> PortKind:
    """Return which row of the table a port's protocol takes."""
    if protocol is PortProtocol.AUTO:
        return "auto"
    if protocol is PortProtocol.RPC:
        return "rpc"
    return "http" if protocol.is_http else "tcp"


def compile_inbound(facts: Facts, traits: InboundTraits) -> Resource:
    """Compile an inbound listener."""
    refs: list[Ref] = []
    problems: list[Problem] = []
    chains: list[Fields] = []
    modes = {port: mtls_mode(facts, traits.namespace, traits.labels, port.number) for port in traits.ports}
    intercepting = not traits.address
    for port in traits.ports:
        match: Fields = {"destination_port": {"value": port.number}} if intercepting else {}
        cluster = names.inbound_cluster(port.number)
        chains += _chains(facts, traits, port, modes[port], cluster, match, refs, problems)
    if not intercepting:
        (port,) = traits.ports
        return listener(
            names.listener_at(traits.address, port.number),
            traits.address,
            port.number,
            "INBOUND",
            chains,
            refs,
            problems,
            **inspection(facts.mesh(), _inspectors(facts, traits, modes)),
            **(tunnel_mark() if traits.h2_tunnel else {}),
        )
    return _virtual(facts, traits, chains, modes, refs, problems)


def _virtual(
    facts: Facts,
    traits: InboundTraits,
    chains: list[Fields],
    modes: dict[InboundPort, MtlsMode],
    refs: list[Ref],
    problems: list[Problem],
) -> Resource:
    mesh = facts.mesh()
    black_hole = chain(
        f"{names.VIRTUAL_INBOUND}-blackhole",
        [tcp_proxy(mesh, [(names.BLACK_HOLE, 1)], refs)],
        {"destination_port": {"value": names.VIRTUAL_INBOUND_PORT}},
    )
    elsewhere = InboundPort(0, PortProtocol.AUTO)
    mode = mtls_mode(facts, traits.namespace, traits.labels, 0)
    passthrough = _chains(facts, traits, elsewhere, mode, names.INBOUND_PASSTHROUGH, {}, refs, problems)
    plain = [
        port.number for port in traits.ports if modes[port] == "DISABLE" and kind_of(port.protocol) != "auto"
    ]
    declared = [port.number for port in traits.ports if kind_of(port.protocol) != "auto"]
    inspectors = [original_destination(), tls_inspector(plain), http_inspector(declared)]
    if any(_looks(facts, traits, port, mode) for port, mode in ((elsewhere, mode), *modes.items())):
        inspectors += _telling(facts, traits, declared)
    return listener(
        names.VIRTUAL_INBOUND,
        "0.0.0.0",
        names.VIRTUAL_INBOUND_PORT,
        "INBOUND",
        [black_hole, *passthrough, *chains],
        refs,
        problems,
        **inspection(mesh, inspectors),
        **(tunnel_mark() if traits.h2_tunnel else {}),
    )


def _telling(facts: Facts, traits: InboundTraits, except_ports: list[int]) -> list[Fields]:
    """The look at first bytes that tells described protocols, where the proxy has it."""
    protocols = detectable(facts.protocols(), traits.protocols) if traits.described else ()
    return [protocol_inspector(protocols, except_ports)] if protocols else []


def _inspectors(facts: Facts, traits: InboundTraits, modes: dict[InboundPort, MtlsMode]) -> list[Fields]:
    """A declared port without mTLS needs no look at the first bytes."""
    found: list[Fields] = []
    if any(mode != "DISABLE" or kind_of(port.protocol) == "auto" for port, mode in modes.items()):
        found.append(tls_inspector())
    if any(kind_of(port.protocol) == "auto" for port in modes):
        found.append(http_inspector())
        if any(_looks(facts, traits, port, mode) for port, mode in modes.items()):
            found += _telling(facts, traits, [])
    return found


def _chains(
    facts: Facts,
    traits: InboundTraits,
    port: InboundPort,
    mode: MtlsMode,
    cluster: str,
    where: Fields,
    refs: list[Ref],
    problems: list[Problem],
) -> list[Fields]:
    mesh = facts.mesh()
    context = FilterContext("inbound", traits.namespace, traits.labels, port.number)
    refs.append(Ref("cluster", cluster))
    label = f"{port.number}" if port.number else names.VIRTUAL_INBOUND
    found: list[Fields] = []
    bare = mode == "DISABLE" and kind_of(port.protocol) == "http" and not where
    shapes = (*SHAPES[mode, kind_of(port.protocol)], *_detected(facts, traits, port, mode))
    for index, shape in enumerate(shapes):
        fields = dict(where)
        if shape.transport and not bare:
            fields["transport_protocol"] = shape.transport
        if shape.alpns:
            fields["application_protocols"] = list(shape.alpns)
        match shape.speaks:
            case "http":
                routes = {"route_config": _routes(cluster, port.number)}
                filters = [
                    connection_manager(mesh, "inbound", cluster, routes, http_chain(facts, context, problems))
                ]
            case "rpc":
                protocol = shape.detected or port.rpc
                filters = _rpc(facts, traits, protocol, cluster, context, problems)
            case "bytes":
                filters = [*network_chain(facts, context, problems), tcp_proxy(mesh, [(cluster, 1)], refs)]
        transport = (
            mesh_downstream(mesh.trust_domain, shape.speaks == "http", traits.mesh_alpns, traits.secrets)
            if shape.ends_tls
            else None
        )
        if shape.ends_tls:
            refs += MESH_SECRETS
        found.append(chain(f"{label}-{index}", filters, fields, transport))
    return found


def _detected(facts: Facts, traits: InboundTraits, port: InboundPort, mode: MtlsMode) -> tuple[Shape, ...]:
    """Chains for framed protocols on a port that declares nothing: in clear text first bytes tell them, inside mesh mTLS the
    name that the caller's sidecar, which has seen them, offers."""
    if kind_of(port.protocol) != "auto" or not traits.described:
        return ()
    known = [protocol.name for protocol in detectable(facts.protocols(), traits.protocols)]
    plain = [Shape("raw_buffer", (name,), speaks="rpc", ends_tls=False, detected=name) for name in known]
    peers = [Shape("tls", (RPC_ALPN + name,), speaks="rpc", ends_tls=True, detected=name) for name in known]
    return (*(plain if mode != "STRICT" else ()), *(peers if mode != "DISABLE" else ()))


def _looks(facts: Facts, traits: InboundTraits, port: InboundPort, mode: MtlsMode) -> bool:
    """Tell whether first bytes decide on a port."""
    return any(not shape.ends_tls for shape in _detected(facts, traits, port, mode))


def _rpc(
    facts: Facts,
    traits: InboundTraits,
    protocol: str,
    cluster: str,
    context: FilterContext,
    problems: list[Problem],
) -> list[Fields]:
    """The generic proxy towards the application. Where it takes no filters of HTTP's, policies judge the connection."""
    judges = [] if traits.described else network_chain(facts, context, problems)
    filters = rpc_chain(facts, context, problems, traits.described)
    routes = {"route_config": inbound_routes(cluster, traits.described)}
    return [*judges, rpc_manager(facts, protocol, traits.described, cluster, routes, filters)]


def _routes(cluster: str, port: int) -> Fields:
    route: Fields = {"cluster": cluster, "timeout": {}, "retry_policy": retry_policy(INBOUND_RETRY)}
    routes = [{"name": "default", "match": {"prefix": "/"}, "route": route}]
    host = {"name": f"inbound|http|{port}", "domains": ["*"], "routes": routes}
    return {"name": cluster, "virtual_hosts": [host], "validate_clusters": {"value": False}}
