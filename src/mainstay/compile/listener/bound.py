"""Explicit outbound listeners: bound to an address the application is told, no interception needed.

In: ``BoundOutboundTraits``. Out: a listener for one service port (or, as in Istio, for several services told apart by
authority). Protocols are told apart as on every outbound port: declared, or by first bytes.
"""

from mainstay.compile import names
from mainstay.compile.facts import Facts
from mainstay.compile.filters import http_chain
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.listener.chain import PLAIN_HTTP_ALPNS, chain, http_inspector, inspection, listener
from mainstay.compile.listener.connection_manager import by_name, connection_manager
from mainstay.compile.resource import Fields, Ref, Resource
from mainstay.compile.route.action import Client
from mainstay.compile.route.connection import service_proxy, tcp_proxy
from mainstay.compile.rpc.outbound import detected_rpc, outbound_rpc
from mainstay.compile.traits import BoundOutboundTraits
from mainstay.model.problem import Problem
from mainstay.model.protocol import PortProtocol


def compile_bound_outbound(facts: Facts, traits: BoundOutboundTraits) -> Resource:
    """Compile an explicit outbound listener."""
    refs: list[Ref] = []
    problems: list[Problem] = []
    mesh = facts.mesh()
    chains: list[Fields] = []
    inspectors: list[Fields] = []
    label = f"outbound_{traits.address}_{traits.port}"
    if traits.http_route:
        refs.append(Ref("route", traits.http_route))
        filters = http_chain(facts, FilterContext("outbound"), problems)
        manager = connection_manager(mesh, "outbound", label, by_name(traits.http_route), filters)
        match: Fields = {}
        if traits.protocol is PortProtocol.AUTO:
            match = {"transport_protocol": "raw_buffer", "application_protocols": list(PLAIN_HTTP_ALPNS)}
            inspectors.append(http_inspector())
        chains.append(chain("http", [manager], match))
    if traits.rpc is not None and not traits.rpc.protocol:
        told, telling = detected_rpc(facts, traits.rpc, label, refs, problems)
        chains += told
        inspectors += telling
    if traits.rpc is not None and traits.rpc.protocol:
        chains.append(chain("rpc", [outbound_rpc(facts, traits.rpc, label, refs, problems)]))
    elif not traits.protocol.is_http:
        chains.append(chain("tcp", [_stream(facts, traits, refs)]))
    return listener(
        names.listener_at(traits.address, traits.port),
        traits.address,
        traits.port,
        "OUTBOUND",
        chains,
        refs,
        problems,
        **inspection(mesh, inspectors),
    )


def _stream(facts: Facts, traits: BoundOutboundTraits, refs: list[Ref]) -> Fields:
    """Byte streams carry no authority: the first service takes them."""
    client = Client(traits.namespace, traits.labels, traits.service_port)
    for key in traits.services:
        service = facts.service(key)
        if service is not None and service.port(traits.service_port) is not None:
            return service_proxy(facts, service, client, refs)
    return tcp_proxy(facts.mesh(), [(names.BLACK_HOLE, 1)], refs)
