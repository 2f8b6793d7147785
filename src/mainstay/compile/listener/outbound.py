"""Outbound listeners of intercepted traffic: virtualOutbound, and those it finds by original destination.

In: ``VirtualOutboundTraits``, ``OutboundTraits``. Out: ``virtualOutbound`` on 15001, one ``0.0.0.0_port`` per HTTP
port with routes by authority, and ``address_port`` for services of byte streams or detected protocol that have an address
of their own.
"""

from mainstay.compile import names
from mainstay.compile.facts import Facts
from mainstay.compile.filters import http_chain
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.listener.chain import (
    PLAIN_HTTP_ALPNS,
    chain,
    http_inspector,
    inspection,
    listener,
    prefix_range,
    tls_inspector,
)
from mainstay.compile.listener.connection_manager import by_name, connection_manager
from mainstay.compile.resource import Fields, Ref, Resource
from mainstay.compile.route.action import Client
from mainstay.compile.route.connection import rule_proxy, service_proxy, service_rules, tcp_proxy
from mainstay.compile.rpc.outbound import detected_rpc, outbound_rpc
from mainstay.compile.traits import OutboundTraits, VirtualOutboundTraits
from mainstay.model.problem import Problem
from mainstay.model.service import Service


def compile_virtual_outbound(facts: Facts, traits: VirtualOutboundTraits) -> Resource:
    """Compile the listener that interception redirects to and that hands connections over."""
    refs: list[Ref] = []
    mesh = facts.mesh()
    # A connection made to the listener's own port would come back to it for ever.
    loop = chain(
        f"{names.VIRTUAL_OUTBOUND}-blackhole",
        [tcp_proxy(mesh, [(names.BLACK_HOLE, 1)], refs)],
        {"destination_port": {"value": names.VIRTUAL_OUTBOUND_PORT}},
    )
    rest = chain(
        f"{names.VIRTUAL_OUTBOUND}-catchall-tcp", [tcp_proxy(mesh, [(_unknown(traits.passthrough), 1)], refs)]
    )
    return listener(
        names.VIRTUAL_OUTBOUND,
        "0.0.0.0",
        names.VIRTUAL_OUTBOUND_PORT,
        "OUTBOUND",
        [loop, rest],
        refs,
        use_original_dst={"value": True},
    )


def compile_outbound(facts: Facts, traits: OutboundTraits) -> Resource:
    """Compile a listener without a socket of its own, found by original destination.

    With ``http_route``: HTTP by first bytes goes to those routes. The services that are not HTTP are told apart by SNI
    (those that speak TLS) or are the default; a second of the latter without an address cannot be told apart.
    """
    refs: list[Ref] = []
    problems: list[Problem] = []
    mesh = facts.mesh()
    client = Client(traits.namespace, traits.labels, traits.port)
    chains: list[Fields] = []
    inspectors: list[Fields] = []
    label = f"outbound_{traits.address}_{traits.port}"
    if traits.http_route:
        refs.append(Ref("route", traits.http_route))
        filters = http_chain(facts, FilterContext("outbound"), problems)
        manager = connection_manager(mesh, "outbound", label, by_name(traits.http_route), filters)
        match: Fields = {"transport_protocol": "raw_buffer", "application_protocols": list(PLAIN_HTTP_ALPNS)}
        chains.append(chain("http", [manager], match))
        inspectors.append(http_inspector())
    told, default = _by_service(facts, traits, client, refs, problems)
    chains += told
    if any(entry.get("filter_chain_match", {}).get("server_names") for entry in chains):
        inspectors.insert(0, tls_inspector())
    if traits.rpc is not None and not traits.rpc.protocol:
        told, telling = detected_rpc(facts, traits.rpc, label, refs, problems)
        chains += told
        inspectors += telling
    if traits.rpc is not None and traits.rpc.protocol:
        last = outbound_rpc(facts, traits.rpc, label, refs, problems)
    elif default is not None:
        last = service_proxy(facts, default, client, refs)
    else:
        last = tcp_proxy(mesh, [(_unknown(traits.passthrough), 1)], refs)
    return listener(
        names.listener_at(traits.address, traits.port),
        traits.address,
        traits.port,
        "OUTBOUND",
        chains,
        refs,
        problems,
        default_filter_chain=chain("default", [last]),
        bind_to_port={"value": False},
        **inspection(mesh, inspectors),
    )


def _by_service(
    facts: Facts, traits: OutboundTraits, client: Client, refs: list[Ref], problems: list[Problem]
) -> tuple[list[Fields], Service | None]:
    """Chains for services that are not HTTP, and the one that takes what no chain does."""
    chains: list[Fields] = []
    default = _first_speaker(facts, traits)
    for key in traits.services:
        service = facts.service(key)
        port = service.port(traits.port) if service else None
        if service is None or port is None or port.protocol.is_http:
            continue
        if traits.rpc is not None and port.rpc and traits.rpc.protocol in ("", port.rpc):
            default = default or service
            continue  # told from others by first bytes, or by the RPC service that is called
        chains += _rule_chains(facts, service, client, refs)
        if port.protocol.is_tls and traits.address == "0.0.0.0":
            names_match = {"server_names": [key.host]}
            chains.append(chain(key.host, [service_proxy(facts, service, client, refs)], names_match))
        elif default is None:
            default = service
        else:
            problems.append(_ambiguous(service, default, traits.port))
    return chains, default


def _first_speaker(facts: Facts, traits: OutboundTraits) -> Service | None:
    """The service that takes what nothing else takes, where the listener carries RPC."""
    if traits.rpc is None or not traits.rpc.protocol:
        return None
    services = (facts.service(key) for key in traits.services)
    speaks = ((each, each.port(traits.port)) for each in services if each is not None)
    return next((each for each, port in speaks if port and port.rpc == traits.rpc.protocol), None)


def _rule_chains(facts: Facts, service: Service, client: Client, refs: list[Ref]) -> list[Fields]:
    """Chains for TCP rules that look at the destination's address."""
    found: list[Fields] = []
    for index, rule in enumerate(service_rules(facts, service, client)):
        subnets = sorted({subnet for match in rule.matches for subnet in match.subnets})
        if subnets:
            match = {"prefix_ranges": [prefix_range(subnet) for subnet in subnets]}
            found.append(chain(f"{service.key.host}-{index}", [rule_proxy(facts, rule, client, refs)], match))
    return found


def _unknown(passthrough: bool) -> str:
    return names.PASSTHROUGH if passthrough else names.BLACK_HOLE


def _ambiguous(service: Service, taken: Service, port: int) -> Problem:
    return Problem(
        code="MS4201",
        severity="warning",
        object=service.origin or f"Service/{service.key}",
        path="spec.addresses",
        reason=f"port {port} of byte streams cannot be told apart from {taken.key.host}, which takes its connections",
        remedy="Give the service an address of its own, or another port.",
    )
