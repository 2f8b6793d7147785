"""Which listeners and routes a proxy has.

In: ``Facts`` and a ``Proxy``. Out: ``Plan``: the steps of listeners, of the routes they name and of inbound clusters. Reads
scopes, service keys and gateways; the steps do the rest. Order of steps is canonical. What the proxy cannot do is decided
here: a port whose RPC protocol it has no codec for is carried as bytes, and its author is told.
"""

from collections.abc import Iterable

import msgspec

from mainstay.compile import names
from mainstay.compile.capability import OwnSecrets, Software
from mainstay.compile.facts import Facts, restrict
from mainstay.compile.listener.gateway import server_route
from mainstay.compile.lookup import find_scope, services_matching
from mainstay.compile.rpc.registered import plan_calls, plan_peers
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
    RpcRouteTraits,
    RpcUse,
    Step,
    VirtualOutboundTraits,
)
from mainstay.model.application import Application, called_as, is_rpc_service
from mainstay.model.key import MESH, Labels, ServiceKey, is_visible, selects
from mainstay.model.problem import Problem
from mainstay.model.protocol import PortProtocol
from mainstay.model.published import ORIGIN
from mainstay.model.rpc import RpcProtocol, detectable, settle_name
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
    application = _registered(facts, proxy, problems)
    if application is not None:
        steps += plan_calls(facts, proxy, application, ports_in_scope(facts, proxy.namespace, scope))
    if proxy.interception == "NONE":
        if application is not None:
            steps += plan_peers(proxy, application, scope, _marks(proxy))
        steps += _bound_inbound(facts, proxy, scope, problems)
        steps += _bound_outbound(facts, proxy, scope, problems)
    else:
        steps += _inbound(facts, proxy, scope, problems)
        steps += _outbound(facts, proxy, scope, problems)
    return Plan(tuple(dict.fromkeys(steps)), tuple(problems))


def _registered(facts: Facts, proxy: Proxy, problems: list[Problem]) -> Application | None:
    """What the application beside the proxy has registered, if the mesh and the proxy know its protocol."""
    application = facts.application(proxy.workload)
    if application is None:
        return None
    protocol = facts.protocol(application.protocol)
    if protocol is None:
        if application.published or application.subscribed:
            problems.append(_unknown_protocol(proxy, application))
        return None
    return application if proxy.capability.speaks(protocol) else None


def _unknown_protocol(proxy: Proxy, application: Application) -> Problem:
    return Problem(
        code="MS4205",
        severity="error",
        object=f"WorkloadEntry/{proxy.workload}",
        path="",
        reason=f"its application registered {len(application.published)} services and wants"
        f" {len(application.subscribed)}, in the protocol {application.protocol}, which nobody described; nobody can call it,"
        " and its calls go nowhere",
        remedy="Apply a Protocol of that name, or start its sidecar with the --registry-protocol that it speaks.",
    )


def _bound_inbound(
    facts: Facts, proxy: Proxy, scope: Scope | None, problems: list[Problem]
) -> Iterable[Step]:
    for entry in scope.ingress if scope else ():
        address = entry.bind or (proxy.addresses[0] if proxy.addresses else "127.0.0.1")
        port = _ingress_port(facts, proxy, scope, entry, problems)
        yield InboundTraits(proxy.namespace, proxy.labels, (port,), address, *_marks(proxy))
        yield _application(port, entry, scope)


def _marks(proxy: Proxy) -> tuple[bool, bool, OwnSecrets, bool, tuple[str, ...] | None]:
    """What inbound listeners owe to the proxy's software: ``mesh_alpns``, ``h2_tunnel``, ``secrets``, ``described`` and
    ``protocols``."""
    capability = proxy.capability
    return (
        capability.lists_mesh_alpns,
        capability.h2_tunnel,
        capability.own_secrets,
        capability.described_protocols,
        capability.protocols,
    )


def _ingress_port(
    facts: Facts, proxy: Proxy, scope: Scope | None, entry: IngressListener, problems: list[Problem]
) -> InboundPort:
    rpc = settle_name(entry.claims, lambda name: facts.protocol(name) is not None)
    if not rpc:
        return InboundPort(entry.port, entry.protocol)
    if _speaks(facts, proxy, rpc):
        return InboundPort(entry.port, PortProtocol.RPC, rpc)
    problems.append(no_codec(proxy, f"Sidecar/{scope.key}" if scope else "", entry.port, rpc))
    return InboundPort(entry.port, PortProtocol.TCP)


def _application(port: InboundPort, entry: IngressListener, scope: Scope | None) -> InboundClusterTraits:
    endpoint = entry.endpoint or f"127.0.0.1:{entry.port}"
    pool = entry.pool or (scope.inbound_pool if scope else None)
    return InboundClusterTraits(entry.port, port.protocol, endpoint, pool)


def _speaks(facts: Facts, proxy: Proxy, name: str) -> bool:
    return proxy.capability.speaks(facts.protocol(name) or RpcProtocol(name))


def spoken(
    facts: Facts, proxy: Proxy, service: Service, port: ServicePort, problems: list[Problem]
) -> ServicePort:
    """Return the port as the proxy can carry it: RPC as bytes where it has no codec for that."""
    if not port.rpc or _speaks(facts, proxy, port.rpc):
        return port
    problems.append(no_codec(proxy, service.origin or f"Service/{service.key}", port.number, port.rpc))
    return msgspec.structs.replace(port, protocol=PortProtocol.TCP, rpc="")


def _bound_outbound(
    facts: Facts, proxy: Proxy, scope: Scope | None, problems: list[Problem]
) -> Iterable[Step]:
    labels = restrict(proxy.labels, facts.client_label_names())
    for index, entry in enumerate(scope.egress if scope else ()):
        if not entry.port:
            continue
        keys = services_matching(facts, entry.hosts, proxy.namespace)
        chosen = [
            (service, spoken(facts, proxy, service, port, problems))
            for service, port in _served(facts, keys, entry)
        ]
        if not chosen:
            if scope is not None:
                problems.append(_serves_nothing(scope, index, entry))
            continue
        number = min(port.number for _, port in chosen)
        services = tuple(service.key for service, port in chosen if port.number == number)
        port = next(port for _, port in chosen if port.number == number)
        protocol = port.protocol
        address = entry.bind or "127.0.0.1"
        alone = len(services) == 1
        route = ""
        if protocol.is_http or protocol is PortProtocol.AUTO:
            listener = names.listener_at(address, entry.port)
            route = names.explicit_route(services[0].host, number) if alone else listener
            yield RouteTraits(route, proxy.namespace, number, services, explicit=alone, labels=labels)
        rpc: RpcUse | None = None
        if port.rpc or (protocol is PortProtocol.AUTO and detected_protocols(facts, proxy)):
            listener = names.rpc_route(names.listener_at(address, entry.port), number)
            routes = _rpc_routes(facts, proxy, labels, number, services, listener)
            rpc = _use(proxy, port.rpc, routes)
            yield routes
        yield BoundOutboundTraits(
            address, entry.port, number, protocol, proxy.namespace, services, route, labels, rpc
        )


def _rpc_routes(
    facts: Facts, proxy: Proxy, labels: Labels, number: int, services: tuple[ServiceKey, ...], shared: str
) -> RpcRouteTraits:
    """Routes of the RPC services of one listener; ``shared`` names them where there are several.

    A service that an application publishes is called by its own name alone; one that somebody wrote stands for whatever its
    application publishes, and the first of these takes the calls that name none of the others."""
    found = ((key, facts.service(key)) for key in services)
    written = [key for key, service in found if service and not service.origin.startswith(ORIGIN)]
    alone = len(services) == 1 and bool(written)
    return RpcRouteTraits(
        names.rpc_route(services[0].host, number) if alone else shared,
        proxy.namespace,
        number,
        services,
        alone,
        written[0] if written else None,
        proxy.capability.described_protocols,
        labels,
    )


def _use(proxy: Proxy, protocol: str, routes: RpcRouteTraits) -> RpcUse:
    told = None if protocol else proxy.capability.protocols
    return RpcUse(protocol, routes.name, routes.described, told)


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


def _inbound(facts: Facts, proxy: Proxy, scope: Scope | None, problems: list[Problem]) -> Iterable[Step]:
    ports: dict[int, InboundPort] = {}
    if scope is not None and scope.ingress:
        for entry in scope.ingress:
            served = _ingress_port(facts, proxy, scope, entry, problems)
            ports.setdefault(entry.port, served)
            yield _application(served, entry, scope)
    else:
        for address in proxy.addresses:
            for instance in facts.instances(address):
                service = facts.service(instance.service)
                port = service.port(instance.port) if service else None
                if service is not None and port is not None:
                    port = spoken(facts, proxy, service, port, problems)
                    ports.setdefault(instance.target, InboundPort(instance.target, port.protocol, port.rpc))
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


def _outbound(facts: Facts, proxy: Proxy, scope: Scope | None, problems: list[Problem]) -> Iterable[Step]:
    mode = (scope.outbound if scope else None) or facts.mesh().outbound
    passthrough = mode == "ALLOW_ANY"
    labels = restrict(proxy.labels, facts.client_label_names())
    yield VirtualOutboundTraits(passthrough)
    shared: dict[int, list[tuple[Service, ServicePort]]] = {}
    for service, written in ports_in_scope(facts, proxy.namespace, scope):
        port = spoken(facts, proxy, service, written, problems)
        addresses = [] if port.protocol.is_http else [a for a in service.addresses if "/" not in a]
        for address in addresses:
            yield from _own_listener(facts, proxy, labels, service, port, address, passthrough)
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
        rpc: RpcUse | None = None
        protocol_, served = _speakers(facts, proxy, entries)
        if served:
            routes = _rpc_routes(facts, proxy, labels, number, served, names.rpc_route("", number))
            rpc = _use(proxy, protocol_, routes)
            yield routes
        yield OutboundTraits("0.0.0.0", number, proxy.namespace, services, route, passthrough, labels, rpc)


def _speakers(
    facts: Facts, proxy: Proxy, entries: list[tuple[Service, ServicePort]]
) -> tuple[str, tuple[ServiceKey, ...]]:
    """Return which protocol the services of one port speak (empty: first bytes tell) and which of them may.

    Where several are declared and one of them cannot be told by first bytes, the first service's is taken, as its bytes
    would go to the first service."""
    declared = sorted((service.key, port.rpc) for service, port in entries if port.rpc)
    undeclared = [service.key for service, port in entries if port.protocol is PortProtocol.AUTO]
    protocols = {protocol for _, protocol in declared}
    if len(protocols) != 1 or undeclared:
        told = detected_protocols(facts, proxy)
        if told and protocols <= set(told):
            return "", tuple(sorted({*(key for key, _ in declared), *undeclared}))
    if not declared:
        return "", ()
    first = declared[0][1]
    return first, tuple(key for key, protocol in declared if protocol == first)


def detected_protocols(facts: Facts, proxy: Proxy) -> tuple[str, ...]:
    """Return the protocols that the proxy tells by a connection's first bytes."""
    if not proxy.capability.described_protocols:
        return ()
    found = detectable(facts.protocols(), proxy.capability.protocols)
    return tuple(protocol.name for protocol in found)


def _own_listener(
    facts: Facts,
    proxy: Proxy,
    labels: Labels,
    service: Service,
    port: ServicePort,
    address: str,
    passthrough: bool,
) -> Iterable[Step]:
    namespace, route = proxy.namespace, ""
    rpc: RpcUse | None = None
    if port.rpc or (port.protocol is PortProtocol.AUTO and detected_protocols(facts, proxy)):
        routes = _rpc_routes(facts, proxy, labels, port.number, (service.key,), "")
        rpc = _use(proxy, port.rpc, routes)
        yield routes
    if port.protocol is PortProtocol.AUTO:
        route = names.host_route(service.key.host, port.number)
        catch_all: CatchAll = "passthrough" if passthrough else "refuse"
        yield RouteTraits(route, namespace, port.number, (service.key,), catch_all=catch_all, labels=labels)
    yield OutboundTraits(address, port.number, namespace, (service.key,), route, passthrough, labels, rpc)


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
            # A service of a registry's group is called by those who subscribed to it alone.
            service = facts.service(key) if called_as(key.host) == key.host else None
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
    # An RPC service that nobody publishes yet has no place among HTTP's hosts.
    return tuple(
        sorted(host for host in hosts if not is_rpc_service(host) and not facts.services_of_host(host))
    )


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
    alpns, _, secrets, *_ = _marks(proxy)
    for (address, port), servers in sorted(listeners.items()):
        yield GatewayListenerTraits(
            address, port, proxy.namespace, proxy.labels, tuple(servers), alpns, secrets
        )
    for name, (port, servers) in sorted(routes.items()):
        yield GatewayRouteTraits(name, port, proxy.namespace, tuple(servers))


_ABLE: dict[Software, tuple[str, str]] = {
    "envoy": ("Envoy itself speaks dubbo alone of the described protocols", "Mainstay's own data plane"),
    "grpc": ("gRPC's library speaks none of the described protocols", "Mainstay's own data plane"),
    "mainstay": ("a sidecar of an older version has no codec for it", "this version's sidecar"),
}
"""What proxies can do that cannot carry a protocol, and which can."""


def no_codec(proxy: Proxy, thing: str, port: int, protocol: str) -> Problem:
    """Return the problem of an RPC port whose protocol the proxy's software does not speak."""
    able, remedy = _ABLE[proxy.capability.software]
    return Problem(
        code="MS4203",
        severity="warning",
        object=thing,
        path="spec",
        reason=f"port {port} speaks {protocol}, and {able}; workloads on it carry bytes there, without routes, policies and"
        " metrics of calls",
        remedy=f"Run workloads that call or serve it with {remedy}.",
    )


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
