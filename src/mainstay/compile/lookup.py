"""Which fact applies: Istio's rules of precedence, as pure functions over ``Facts``.

In: a proxy's namespace and labels, a host or service. Out: the one fact that applies, or None. Called by the planner and
by compile steps. Ties between objects of one level go to the older, then to the smaller key: never to who came first.
"""

from collections.abc import Iterable

from mainstay.compile.facts import ANY_NAMESPACE, Facts
from mainstay.compile.names import ClusterName
from mainstay.model.key import MESH, Labels, ServiceKey, is_visible, selects
from mainstay.model.policy import MtlsMode, PeerAuthentication, Policy
from mainstay.model.route import Destination, RouteTable
from mainstay.model.scope import HostPattern, Scope
from mainstay.model.service import Service
from mainstay.model.traffic import Subset, TrafficRule


def hosts_from_specific(host: str) -> Iterable[str]:
    """Yield the host and the wildcards that cover it, most specific first: ``a.b.c``, ``*.b.c``, ``*.c``, ``*``."""
    yield host
    rest = host.removeprefix("*.")
    while (dot := rest.find(".")) >= 0:
        rest = rest[dot + 1 :]
        yield f"*.{rest}"
    if host != "*":
        yield "*"


def host_matches(pattern: str, host: str) -> bool:
    """Tell whether a host pattern (``*``, ``*.suffix`` or exact) covers a host."""
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def find_service(facts: Facts, host: str, namespace: str) -> Service | None:
    """Return the service a client of ``namespace`` means by ``host``: its own namespace's before others'."""
    visible = [s for s in facts.services_of_host(host) if is_visible(s.visible_to, namespace)]
    return min(visible, key=lambda s: (s.key.namespace != namespace, s.created, s.key), default=None)


def find_traffic_rule(
    facts: Facts, service: ServiceKey, namespace: str, labels: Labels
) -> TrafficRule | None:
    """Return the traffic rule for a client: client namespace, then service namespace, then root namespace; in each the
    most specific host, and among those the one with a client selector first."""
    candidates: list[tuple[int, TrafficRule]] = []
    for distance, host in enumerate(hosts_from_specific(service.host)):
        candidates += [
            (distance, rule)
            for rule in facts.traffic_rules(host)
            if is_visible(rule.visible_to, namespace) and selects(rule.selector, labels)
        ]
    for level in (namespace, service.namespace, facts.mesh().root_namespace):
        found = [(d, rule) for d, rule in candidates if rule.key.namespace == level]
        if level != namespace:
            found = [(d, rule) for d, rule in found if not rule.selector]
        if found:
            return min(found, key=lambda f: (f[0], not f[1].selector, f[1].created, f[1].key))[1]
    return None


def find_subset(
    facts: Facts, service: ServiceKey, name: str, namespace: str, labels: Labels
) -> Subset | None:
    """Return a subset as this client sees it."""
    rule = find_traffic_rule(facts, service, namespace, labels)
    return rule.subset(name) if rule else None


def find_route_table(facts: Facts, host: str, namespace: str) -> RouteTable | None:
    """Return the route table sidecars of ``namespace`` apply to a host: the most specific host, then the oldest."""
    for candidate in hosts_from_specific(host):
        tables = [
            table
            for table in facts.route_tables(candidate, MESH)
            if is_visible(table.visible_to, namespace) and not table.rpc
        ]
        if tables:
            return min(tables, key=lambda table: (table.created, table.key))
    return None


def find_cluster(
    facts: Facts, destination: Destination, namespace: str, labels: Labels, client_port: int
) -> ClusterName | None:
    """Return the cluster of a destination, or None where service, port or subset does not exist for this client.

    A destination without port means the service's only port, else the port the client used.
    """
    service = find_service(facts, destination.host, namespace)
    if service is None:
        return None
    number = destination.port or (service.ports[0].number if len(service.ports) == 1 else client_port)
    if service.port(number) is None:
        return None
    if destination.subset and find_subset(facts, service.key, destination.subset, namespace, labels) is None:
        return None
    return ClusterName(service.key.host, number, destination.subset)


def find_scope(facts: Facts, namespace: str, labels: Labels) -> Scope | None:
    """Return the Sidecar of a workload: one that selects it, else its namespace's, else the root namespace's."""
    own = facts.scopes(namespace)
    selecting = [scope for scope in own if scope.selector and selects(scope.selector, labels)]
    whole = [scope for scope in own if not scope.selector]
    root = [scope for scope in facts.scopes(facts.mesh().root_namespace) if not scope.selector]
    for level in (selecting, whole, root):
        if level:
            return min(level, key=lambda scope: (scope.created, scope.key))
    return None


def services_matching(
    facts: Facts, patterns: Iterable[HostPattern], namespace: str
) -> tuple[ServiceKey, ...]:
    """Return the services that egress patterns name and ``namespace`` may see, one per host, sorted."""
    found: dict[str, Service] = {}
    for pattern in patterns:
        for service in _candidates(facts, pattern):
            if not is_visible(service.visible_to, namespace):
                continue
            known = found.get(service.key.host)
            if known is None or _rank(service, namespace) < _rank(known, namespace):
                found[service.key.host] = service
    return tuple(sorted(service.key for service in found.values()))


def _candidates(facts: Facts, pattern: HostPattern) -> list[Service]:
    in_namespace = (ANY_NAMESPACE, pattern.namespace)
    if "*" not in pattern.host:
        return [
            s for s in facts.services_of_host(pattern.host) if pattern.namespace in (s.key.namespace, "*")
        ]
    keys = [key for key in facts.services_in(in_namespace[1]) if host_matches(pattern.host, key.host)]
    return [service for key in keys if (service := facts.service(key)) is not None]


def _rank(service: Service, namespace: str) -> tuple[bool, int, ServiceKey]:
    return (service.key.namespace != namespace, service.created, service.key)


def selecting_policies(facts: Facts, kind: str, namespace: str, labels: Labels) -> tuple[Policy, ...]:
    """Return the policies of a kind that select a workload: of the root namespace, then of its own, by key."""
    root = facts.mesh().root_namespace
    namespaces = (root,) if root == namespace else (root, namespace)
    return tuple(
        policy for at in namespaces for policy in facts.policies(kind, at) if selects(policy.selector, labels)
    )


def mtls_mode(facts: Facts, namespace: str, labels: Labels, port: int) -> MtlsMode:
    """Return the mode demanded on a workload's port: by workload (port, then whole), namespace, mesh; never UNSET."""
    root = facts.mesh().root_namespace
    levels: list[list[Policy]] = [[], [], []]
    for policy in selecting_policies(facts, "PeerAuthentication", namespace, labels):
        if policy.key.namespace == namespace and (policy.selector or namespace != root):
            levels[0 if policy.selector else 1].append(policy)
        elif not policy.selector:
            levels[2].append(policy)
    for level in levels:
        if not level:
            continue
        body = min(level, key=lambda policy: (policy.created, policy.key)).body
        if isinstance(body, PeerAuthentication):
            mode = dict(body.ports).get(port, "UNSET")
            mode = body.mode if mode == "UNSET" else mode
            if mode != "UNSET":
                return mode
    return facts.mesh().mtls
