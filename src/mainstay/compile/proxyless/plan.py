"""Which listeners and routes a gRPC library can ask for.

In: ``Facts`` and a ``Proxy``. Out: steps. It names each listener it wants: for a client ``host:port``, as in its target
``xds:///host:port``; for a server its template with the address it listens on. Invariant: what its Sidecar hides is not there.
"""

from collections.abc import Iterable

from mainstay.compile.facts import Facts, restrict
from mainstay.compile.lookup import find_scope
from mainstay.compile.plan import Plan, ports_in_scope, spoken
from mainstay.compile.route.table import short_names
from mainstay.compile.traits import (
    ApiListenerTraits,
    GrpcRouteTraits,
    GrpcServerTraits,
    InboundPort,
    Proxy,
    RouteTraits,
    Step,
)
from mainstay.model.agent import INBOUND_LISTENER
from mainstay.model.problem import Problem
from mainstay.model.protocol import PortProtocol
from mainstay.model.scope import Scope

ANY_ADDRESSES = ("0.0.0.0", "[::]")
"""A server may listen on every address it has."""


def plan_proxyless(facts: Facts, proxy: Proxy) -> Plan:
    """Return the plan of a gRPC library."""
    scope = find_scope(facts, proxy.namespace, proxy.labels)
    problems: list[Problem] = []
    steps = [*_servers(facts, proxy, scope, problems), *_clients(facts, proxy, scope)]
    return Plan(tuple(steps), tuple(problems))


def _servers(facts: Facts, proxy: Proxy, scope: Scope | None, problems: list[Problem]) -> Iterable[Step]:
    ports: set[InboundPort] = set()
    for entry in scope.ingress if scope else ():
        ports.add(InboundPort(entry.port, entry.protocol))
    for address in proxy.addresses:
        for instance in facts.instances(address):
            service = facts.service(instance.service)
            port = service.port(instance.port) if service else None
            if service is not None and port is not None:
                port = spoken(facts, proxy, service, port, problems)
                ports.add(InboundPort(instance.target, port.protocol))
    for number in sorted({port.number for port in ports}):
        for address in (*(_bracketed(each) for each in proxy.addresses), *ANY_ADDRESSES):
            yield GrpcServerTraits(
                INBOUND_LISTENER % f"{address}:{number}", proxy.namespace, proxy.labels, address, number
            )


def _clients(facts: Facts, proxy: Proxy, scope: Scope | None) -> Iterable[Step]:
    labels = restrict(proxy.labels, facts.client_label_names())
    for service, port in ports_in_scope(facts, proxy.namespace, scope):
        carries = port.protocol.is_http or port.protocol is PortProtocol.AUTO
        if not carries or service.resolution == "none" or "*" in service.key.host:
            continue
        route = f"grpc|{port.number}||{service.key.host}"
        base = RouteTraits(route, proxy.namespace, port.number, (service.key,), explicit=True, labels=labels)
        yield GrpcRouteTraits(base)
        hosts = (service.key.host, *short_names(service.key, proxy.namespace, facts.mesh().domain_suffix))
        for host in hosts:
            yield ApiListenerTraits(f"{host}:{port.number}", route)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
