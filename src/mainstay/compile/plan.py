"""Which listeners and routes a proxy has.

In: ``Facts`` and a ``Proxy``. Out: ``Plan``: the steps of listeners, of the routes they name and of inbound clusters. Reads
scopes, service keys and gateways; the steps do the rest. Order of steps is canonical.
"""

from collections.abc import Iterable

import msgspec

from mainstay.compile import names
from mainstay.compile.capability import OwnSecrets
from mainstay.compile.facts import Facts, restrict
from mainstay.compile.listener.gateway import server_route
from mainstay.compile.lookup import find_scope, services_matching
from mainstay.compile.traits import (
    BoundOutboundTraits,
    CatchAll,
    GatewayListenerTraits,
    GatewayRouteTraits,
    GatewayServer,
    InboundClusterTraits,
    InboundPort,
    InboundTraits,
    OutboundTraits,
    Proxy,
    RouteTraits,
    Step,
    VirtualOutboundTraits,
)
from mainstay.model.key import MESH, Labels, ServiceKey, is_visible, selects
from mainstay.model.problem import Problem
from mainstay.model.protocol import PortProtocol
from mainstay.model.scope import EgressListener, HostPattern, IngressListener, Scope
from mainstay.model.service import Service, ServicePort

EVERYTHING = (HostPattern("*", "*"),)
DEFAULT_HTTP_PORT = 80
"""Where hosts of VirtualServices that are no service are served (Istio's)."""


class Plan(msgspec.Struct, frozen=True):
    """Steps to run, and problems with what was asked for."""

    steps: tuple[Step, ...]
    problems: tuple[Problem, ...] = ()


def plan(facts: Facts, proxy: Proxy) -> Plan:
    """Return the plan of a proxy."""
    if proxy.kind == "agent":
        return Plan(())
    if proxy.kind == "gateway":
        return Plan(tuple(_gateway(facts, proxy)))
    scope = find_scope(facts, proxy.namespace, proxy.labels)
    problems: list[Problem] = []
    steps: list[Step] = []
    if proxy.interception == "NONE":
        steps += _bound_inbound(proxy, scope)
        steps += _bound_outbound(facts, proxy, scope, problems)
    else:
        steps += _inbound(facts, proxy, scope)
        steps += _outbound(facts, proxy, scope)
    return Plan(tuple(dict.fromkeys(steps)), tuple(problems))


def _bound_inbound(proxy: Proxy, scope: Scope | None) -> Iterable[Step]:
    for entry in scope.ingress if scope else ():
        address = entry.bind or (proxy.addresses[0] if proxy.addresses else "127.0.0.1")
        port = InboundPort(entry.port, entry.protocol)
        yield InboundTraits(proxy.namespace, proxy.labels, (port,), address, *_marks(proxy))
        yield _application(entry, scope)


def _marks(proxy: Proxy) -> tuple[bool, bool, OwnSecrets]:
    """What inbound listeners owe to the proxy's software: ``mesh_alpns``, ``h2_tunnel`` and ``secrets``."""
    capability = proxy.capability
    return capability.lists_mesh_alpns, capability.h2_tunnel, capability.own_secrets


def _application(entry: IngressListener, scope: Scope | None) -> InboundClusterTraits:
    endpoint = entry.endpoint or f"127.0.0.1:{entry.port}"
    pool = entry.pool or (scope.inbound_pool if scope else None)
    return InboundClusterTraits(entry.port, entry.protocol, endpoint, pool)


def _bound_outbound(
    facts: Facts, proxy: Proxy, scope: Scope | None, problems: list[Problem]
) -> Iterable[Step]:
    labels = restrict(proxy.labels, facts.client_label_names())
    for index, entry in enumerate(scope.egress if scope else ()):
        if not entry.port:
            continue
        keys = services_matching(facts, entry.hosts, proxy.namespace)
        chosen = _served(facts, keys, entry)
        if not chosen:
            if scope is not None:
                problems.append(_serves_nothing(scope, index, entry))
            continue
        number = min(port.number for _, port in chosen)
        services = tuple(service.key for service, port in chosen if port.number == number)
        protocol = next(port.protocol for _, port in chosen if port.number == number)
        address = entry.bind or "127.0.0.1"
        alone = len(services) == 1
        route = ""
        if protocol.is_http or protocol is PortProtocol.AUTO:
            listener = names.listener_at(address, entry.port)
            route = names.explicit_route(services[0].host, number) if alone else listener
            yield RouteTraits(route, proxy.namespace, number, services, explicit=alone, labels=labels)
        yield BoundOutboundTraits(
            address, entry.port, number, protocol, proxy.namespace, services, route, labels
        )


def _served(
    facts: Facts, keys: tuple[ServiceKey, ...], entry: EgressListener
) -> list[tuple[Service, ServicePort]]:
    """Which ports an explicit listener serves: by number, else by name, else each service's only port.

    The last two let a listener have another number than the service port, where hosts share one loopback address.
    """
    services = [service for key in keys if (service := facts.service(key)) is not None]
    ports = [(service, port) for service in services for port in service.ports]
    by_number = [(service, port) for service, port in ports if port.number == entry.port]
    by_name = [(service, port) for service, port in ports if entry.name and port.name == entry.name]
    only = [(service, service.ports[0]) for service in services if len(service.ports) == 1]
    return by_number or by_name or only


def _inbound(facts: Facts, proxy: Proxy, scope: Scope | None) -> Iterable[Step]:
    ports: dict[int, InboundPort] = {}
    if scope is not None and scope.ingress:
        for entry in scope.ingress:
            ports.setdefault(entry.port, InboundPort(entry.port, entry.protocol))
            yield _application(entry, scope)
    else:
        for address in proxy.addresses:
            for instance in facts.instances(address):
                service = facts.service(instance.service)
                port = service.port(instance.port) if service else None
                if port is not None:
                    ports.setdefault(instance.target, InboundPort(instance.target, port.protocol))
        for inbound in sorted(ports.values()):
            pool = scope.inbound_pool if scope else None
            yield InboundClusterTraits(inbound.number, inbound.protocol, "", pool)
    yield InboundTraits(
        proxy.namespace,
        proxy.labels,
        tuple(sorted(ports.values())),
        "",
        *_marks(proxy),
    )


def _outbound(facts: Facts, proxy: Proxy, scope: Scope | None) -> Iterable[Step]:
    mode = (scope.outbound if scope else None) or facts.mesh().outbound
    passthrough = mode == "ALLOW_ANY"
    labels = restrict(proxy.labels, facts.client_label_names())
    yield VirtualOutboundTraits(passthrough)
    shared: dict[int, list[tuple[Service, ServicePort]]] = {}
    for service, port in ports_in_scope(facts, proxy.namespace, scope):
        addresses = [] if port.protocol.is_http else [a for a in service.addresses if "/" not in a]
        for address in addresses:
            yield from _own_listener(proxy.namespace, labels, service, port, address, passthrough)
        if not addresses:
            shared.setdefault(port.number, []).append((service, port))
    hosts = _hosts_without_service(facts, proxy.namespace)
    if hosts:
        shared.setdefault(DEFAULT_HTTP_PORT, [])
    for number, entries in sorted(shared.items()):
        http = tuple(
            sorted(s.key for s, p in entries if p.protocol.is_http or p.protocol is PortProtocol.AUTO)
        )
        invented = hosts if number == DEFAULT_HTTP_PORT else ()
        route = str(number) if http or invented else ""
        if route:
            catch_all: CatchAll = "passthrough" if passthrough else "refuse"
            yield RouteTraits(
                route, proxy.namespace, number, http, catch_all=catch_all, hosts=invented, labels=labels
            )
        services = tuple(sorted(service.key for service, _ in entries))
        yield OutboundTraits("0.0.0.0", number, proxy.namespace, services, route, passthrough, labels)


def _own_listener(
    namespace: str, labels: Labels, service: Service, port: ServicePort, address: str, passthrough: bool
) -> Iterable[Step]:
    route = ""
    if port.protocol is PortProtocol.AUTO:
        route = names.host_route(service.key.host, port.number)
        catch_all: CatchAll = "passthrough" if passthrough else "refuse"
        yield RouteTraits(route, namespace, port.number, (service.key,), catch_all=catch_all, labels=labels)
    yield OutboundTraits(address, port.number, namespace, (service.key,), route, passthrough, labels)


def ports_in_scope(
    facts: Facts, namespace: str, scope: Scope | None
) -> Iterable[tuple[Service, ServicePort]]:
    """Service ports a sidecar sees. An egress entry with a port speaks of that port alone, and takes it from those
    without one."""
    entries = scope.egress if scope and scope.egress else (EgressListener(EVERYTHING),)
    taken = {entry.port for entry in entries if entry.port}
    seen: set[tuple[ServiceKey, int]] = set()
    for entry in entries:
        for key in services_matching(facts, entry.hosts, namespace):
            service = facts.service(key)
            for port in service.ports if service else ():
                fits = port.number == entry.port if entry.port else port.number not in taken
                if service is not None and fits and (key, port.number) not in seen:
                    seen.add((key, port.number))
                    if port.protocol is not PortProtocol.UDP:
                        yield service, port


def _hosts_without_service(facts: Facts, namespace: str) -> tuple[str, ...]:
    hosts = {
        table.key.host
        for table in facts.route_tables_of(MESH)
        if table.http and is_visible(table.visible_to, namespace) and "*" not in table.key.host
    }
    return tuple(sorted(host for host in hosts if not facts.services_of_host(host)))


def _gateway(facts: Facts, proxy: Proxy) -> Iterable[Step]:
    listeners: dict[tuple[str, int], list[GatewayServer]] = {}
    routes: dict[str, tuple[int, list[GatewayServer]]] = {}
    gateways = [g for g in facts.gateways() if selects(g.selector, proxy.labels)]
    for gateway in sorted(gateways, key=lambda g: (g.created, g.key)):
        for index, server in enumerate(gateway.servers):
            entry = GatewayServer(gateway.key, index)
            listeners.setdefault((server.bind or "0.0.0.0", server.port), []).append(entry)
            if route := server_route(entry, server):
                routes.setdefault(route, (server.port, []))[1].append(entry)
    alpns, _, secrets = _marks(proxy)
    for (address, port), servers in sorted(listeners.items()):
        yield GatewayListenerTraits(
            address, port, proxy.namespace, proxy.labels, tuple(servers), alpns, secrets
        )
    for name, (port, servers) in sorted(routes.items()):
        yield GatewayRouteTraits(name, port, proxy.namespace, tuple(servers))


def _serves_nothing(scope: Scope, index: int, entry: EgressListener) -> Problem:
    hosts = ", ".join(f"{pattern.namespace}/{pattern.host}" for pattern in entry.hosts)
    return Problem(
        code="MS4202",
        severity="warning",
        object=f"Sidecar/{scope.key}",
        path=f"spec.egress[{index}]",
        reason=f"no visible service of {hosts} has port {entry.port}, so nothing listens there",
        remedy="Create the service, export it to this namespace, or correct the port.",
    )
