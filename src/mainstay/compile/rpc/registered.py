"""What a proxy owes to the application beside it that uses the registry API: a listener for its calls, and one for its peers'.

In: what the application has registered. Out: the steps of both listeners, of the routes and of the cluster towards it. Calls are
told apart by the RPC service that they name: those the application subscribed to, and before these whatever services of the
same protocol the mesh's authors put in its scope, since their rules may speak of the same names. Called by ``plan``.
"""

from __future__ import annotations

from collections.abc import Iterable

from mainstay.compile import names
from mainstay.compile.capability import OwnSecrets
from mainstay.compile.facts import Facts, restrict
from mainstay.compile.lookup import find_service
from mainstay.compile.traits import (
    BoundOutboundTraits,
    InboundClusterTraits,
    InboundPort,
    InboundTraits,
    Proxy,
    RpcRouteTraits,
    RpcUse,
    Step,
)
from mainstay.model.application import Application, called_as, split_place
from mainstay.model.key import ServiceKey
from mainstay.model.protocol import PortProtocol
from mainstay.model.published import ORIGIN, RPC_PORT
from mainstay.model.scope import Scope
from mainstay.model.service import Service, ServicePort

Marks = tuple[bool, bool, OwnSecrets, bool, tuple[str, ...] | None]
"""What inbound listeners owe to the proxy's software."""


def plan_calls(
    facts: Facts, proxy: Proxy, application: Application, in_scope: Iterable[tuple[Service, ServicePort]]
) -> Iterable[Step]:
    """Yield the listener to which the application sends its calls, and its routes. ``in_scope``: ports the proxy sees."""
    if not application.data:
        return
    address, port = split_place(application.data)
    labels = restrict(proxy.labels, facts.client_label_names())
    route = names.rpc_route(names.listener_at(address, port), RPC_PORT)
    services = _called(facts, proxy.namespace, application, in_scope)
    yield RpcRouteTraits(
        route,
        proxy.namespace,
        RPC_PORT,
        services,
        described=proxy.capability.described_protocols,
        labels=labels,
    )
    use = RpcUse(application.protocol, route, proxy.capability.described_protocols)
    yield BoundOutboundTraits(
        address, port, RPC_PORT, PortProtocol.RPC, proxy.namespace, services, "", labels, use
    )


def _called(
    facts: Facts, namespace: str, application: Application, in_scope: Iterable[tuple[Service, ServicePort]]
) -> tuple[ServiceKey, ...]:
    # Whoever subscribes to a service of a group means no other's by that name.
    grouped = {called_as(name) for name in application.subscribed if name != called_as(name)}
    written = [
        service.key
        for service, port in in_scope
        if _fits(port, application)
        and not service.origin.startswith(ORIGIN)
        and service.key.host not in grouped
    ]
    subscribed: list[ServiceKey] = []
    for name in application.subscribed:
        service = find_service(facts, name, namespace)
        found = service.port(RPC_PORT) if service is not None else None
        if service is not None and found is not None and _fits(found, application):
            subscribed.append(service.key)
    return tuple(dict.fromkeys((*sorted(written), *sorted(subscribed))))


def _fits(port: ServicePort, application: Application) -> bool:
    return port.number == RPC_PORT and port.rpc == application.protocol


def plan_peers(proxy: Proxy, application: Application, scope: Scope | None, marks: Marks) -> Iterable[Step]:
    """Yield the listener at which peers reach what the application publishes, where connections are not intercepted. An author's
    own listener of the same port takes precedence."""
    taken = {entry.port for entry in scope.ingress} if scope else set()
    if not application.published or not application.endpoint or application.port in taken:
        return
    port = InboundPort(application.port, PortProtocol.RPC, application.protocol)
    address = proxy.addresses[0] if proxy.addresses else "127.0.0.1"
    yield InboundTraits(proxy.namespace, proxy.labels, (port,), address, *marks)
    pool = scope.inbound_pool if scope else None
    yield InboundClusterTraits(application.port, PortProtocol.RPC, application.endpoint, pool)
