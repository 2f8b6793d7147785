"""A gateway's listeners: plain HTTP, TLS ended here, TLS passed through by SNI, plain TCP.

In: ``GatewayListenerTraits``: all servers of one address and port. Out: one listener; each TLS server is a chain by server
name. A server whose secret is not there yet makes the listener wait, not others.
"""

from mainstay.compile import names
from mainstay.compile.facts import Facts
from mainstay.compile.filters import http_chain, network_chain
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.listener.chain import chain, inspection, listener, tls_inspector
from mainstay.compile.listener.connection_manager import by_name, connection_manager
from mainstay.compile.lookup import find_service
from mainstay.compile.resource import Fields, Ref, Resource
from mainstay.compile.route.action import Client
from mainstay.compile.route.connection import applicable, rule_proxy, service_proxy, tcp_proxy
from mainstay.compile.route.table import gateway_server, gateway_tables, hosts_in_common
from mainstay.compile.tls import server_tls
from mainstay.compile.traits import GatewayListenerTraits, GatewayServer
from mainstay.model.gateway import Server, ServerTls
from mainstay.model.problem import Problem
from mainstay.model.protocol import PortProtocol


def server_route(entry: GatewayServer, server: Server) -> str:
    """Return the name of the routes an HTTP server uses, empty where it serves byte streams."""
    if server.tls is None:
        return names.gateway_http_route(server.port) if server.protocol.is_http else ""
    ends_http = server.protocol.is_http or server.protocol is PortProtocol.HTTPS
    if server.tls.mode == "PASSTHROUGH" or not ends_http:
        return ""
    name = server.name or str(entry.index)
    return names.gateway_https_route(server.port, name, entry.gateway.name, entry.gateway.namespace)


def compile_gateway_listener(facts: Facts, traits: GatewayListenerTraits) -> Resource:
    """Compile the listener of one port."""
    refs: list[Ref] = []
    problems: list[Problem] = []
    chains: list[Fields] = []
    plain: set[str] = set()
    taken: set[str] = set()
    for entry in traits.servers:
        server = gateway_server(facts, entry)
        if server is None:
            continue
        route = server_route(entry, server)
        if server.tls is None:
            kind = "http" if route else "tcp"
            if not plain:
                chains.append(_plain(facts, traits, entry, route, refs, problems))
            elif kind not in plain or kind == "tcp":
                problems.append(
                    _conflict(entry, server, "another server of this port already takes its connections")
                )
            plain.add(kind)
            continue
        hosts = sorted({pattern.host for pattern in server.hosts} - taken)
        if not hosts:
            problems.append(_conflict(entry, server, "another server of this port has the same hosts"))
            continue
        taken.update(hosts)
        if server.tls.mode == "PASSTHROUGH":
            chains += _passed_through(facts, traits, entry, server, refs)
        else:
            chains.append(_ended(facts, traits, entry, server.tls, hosts, route, refs, problems))
    return listener(
        names.listener_at(traits.address, traits.port),
        traits.address,
        traits.port,
        "OUTBOUND",
        chains,
        refs,
        problems,
        **inspection(facts.mesh(), [tls_inspector()] if taken else []),
    )


def _plain(
    facts: Facts,
    traits: GatewayListenerTraits,
    entry: GatewayServer,
    route: str,
    refs: list[Ref],
    problems: list[Problem],
) -> Fields:
    if route:
        return chain("http", [_http(facts, traits, route, refs, problems)])
    return chain("tcp", _streams(facts, traits, entry, refs, problems))


def _ended(
    facts: Facts,
    traits: GatewayListenerTraits,
    entry: GatewayServer,
    tls: ServerTls,
    hosts: list[str],
    route: str,
    refs: list[Ref],
    problems: list[Problem],
) -> Fields:
    transport, secrets = server_tls(
        tls, facts.mesh().trust_domain, bool(route), traits.mesh_alpns, traits.secrets
    )
    refs += secrets
    filters = (
        [_http(facts, traits, route, refs, problems)]
        if route
        else _streams(facts, traits, entry, refs, problems)
    )
    return chain(f"{entry.gateway}-{entry.index}", filters, _by_server_names(hosts), transport)


def _http(
    facts: Facts, traits: GatewayListenerTraits, route: str, refs: list[Ref], problems: list[Problem]
) -> Fields:
    refs.append(Ref("route", route))
    context = FilterContext("gateway", traits.namespace, traits.labels, traits.port)
    filters = http_chain(facts, context, problems)
    label = f"outbound_{traits.address}_{traits.port}"
    return connection_manager(facts.mesh(), "gateway", label, by_name(route), filters)


def _streams(
    facts: Facts,
    traits: GatewayListenerTraits,
    entry: GatewayServer,
    refs: list[Ref],
    problems: list[Problem],
) -> list[Fields]:
    """Byte streams of a server: the first TCP rule of any table that names the gateway."""
    context = FilterContext("gateway", traits.namespace, traits.labels, traits.port)
    client = Client(traits.namespace, (), traits.port)
    before = network_chain(facts, context, problems)
    for _, server, table in gateway_tables(facts, (entry,)):
        if hosts_in_common(server, table):
            for rule in applicable(table.tcp, client):
                return [*before, rule_proxy(facts, rule, client, refs)]
    return [*before, tcp_proxy(facts.mesh(), [(names.BLACK_HOLE, 1)], refs)]


def _passed_through(
    facts: Facts, traits: GatewayListenerTraits, entry: GatewayServer, server: Server, refs: list[Ref]
) -> list[Fields]:
    """TLS by server name, untouched: TCP rules of tables for the host, else the service of that host and port."""
    client = Client(traits.namespace, (), traits.port)
    chains: list[Fields] = []
    done: set[str] = set()
    for _, _, table in gateway_tables(facts, (entry,)):
        rules = applicable(table.tcp, client)
        hosts = [host for host in hosts_in_common(server, table) if host not in done]
        if rules and hosts:
            done.update(hosts)
            filters = [rule_proxy(facts, rules[0], client, refs)]
            chains.append(chain(f"{entry.gateway}-{table.key.host}", filters, _by_server_names(hosts)))
    for host in sorted({pattern.host for pattern in server.hosts} - done):
        service = find_service(facts, host, traits.namespace)
        if service is not None and service.port(traits.port) is not None:
            filters = [service_proxy(facts, service, client, refs)]
            chains.append(chain(f"{entry.gateway}-{host}", filters, _by_server_names([host])))
    return chains


def _by_server_names(hosts: list[str]) -> Fields:
    """``*`` takes every TLS connection that no other chain names."""
    match: Fields = {"transport_protocol": "tls"}
    if "*" not in hosts:
        match["server_names"] = hosts
    return match


def _conflict(entry: GatewayServer, server: Server, reason: str) -> Problem:
    return Problem(
        code="IST0145",
        severity="error",
        object=f"Gateway/{entry.gateway}",
        path=f"spec.servers[{entry.index}]",
        reason=f"port {server.port}: {reason}",
        remedy="Use another port, or hosts no other server has.",
    )
