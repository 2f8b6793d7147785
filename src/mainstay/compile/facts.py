"""What compile steps read: one interface, so that the graph can record each read as a dependency.

In: keys. Out: facts, ``()`` or None where there are none. Every method names one fact or one index bucket; implementers
return tuples in canonical order (by key). ``StaticFacts`` is the plain implementation for tests and ``validate``.
"""

from collections.abc import Iterable
from typing import Protocol

import msgspec

from mainstay.model.application import Application
from mainstay.model.endpoints import EndpointSet, NamedTarget, pack_endpoints
from mainstay.model.gateway import Gateway
from mainstay.model.identity import Identity
from mainstay.model.key import MESH, EndpointSetKey, Labels, ObjectKey, ServiceKey, WorkloadKey, selects
from mainstay.model.membership import members_of
from mainstay.model.mesh import DEFAULT_MESH, Mesh
from mainstay.model.policy import Policy
from mainstay.model.published import published_by
from mainstay.model.route import HttpRule, RouteTable, TcpRule
from mainstay.model.rpc import RpcProtocol, settle_ports
from mainstay.model.scope import Scope
from mainstay.model.service import Service
from mainstay.model.traffic import TrafficRule
from mainstay.model.workload import Registration, Workload, WorkloadGroup, workload_of_registration

ANY_NAMESPACE = "*"


class Instance(msgspec.Struct, frozen=True, gc=False, order=True):
    """A workload's part in a service: the service's port and the number the workload listens on for it."""

    service: ServiceKey
    port: int
    target: int


class Facts(Protocol):
    """The read interface."""

    def mesh(self) -> Mesh:
        """Return the mesh-wide settings."""

    def service(self, key: ServiceKey) -> Service | None:
        """Return a service."""

    def services_of_host(self, host: str) -> tuple[Service, ...]:
        """Return the services of any namespace that carry this host (index by host)."""

    def services_in(self, namespace: str) -> tuple[ServiceKey, ...]:
        """Return the keys of a namespace's services; ``*``: of all (index by namespace, and one bucket of all)."""

    def endpoint_sets(self, service: ServiceKey, port: int) -> tuple[EndpointSet, ...]:
        """Return the endpoints of a service port, one set per source, in order of precedence."""

    def named_targets(self, service: ServiceKey, port: int) -> tuple[NamedTarget, ...]:
        """Return the targets of a service port that the proxy resolves."""

    def identities(self, service: ServiceKey) -> tuple[str, ...]:
        """Return the SPIFFE IDs its endpoints may present, sorted: of its endpoints whatever their health, and of
        WorkloadGroups its selector fits, so that a service that loses its last endpoint keeps its identities."""

    def instances(self, address: str) -> tuple[Instance, ...]:
        """Return the services in which the workload at an address takes part (index by endpoint address)."""

    def route_tables(self, host: str, audience: str) -> tuple[RouteTable, ...]:
        """Return the route tables for exactly this host (``*.`` included) and audience (index)."""

    def route_tables_of(self, audience: str) -> tuple[RouteTable, ...]:
        """Return all route tables of an audience (index)."""

    def traffic_rules(self, host: str) -> tuple[TrafficRule, ...]:
        """Return the traffic rules for exactly this host, ``*.`` included (index)."""

    def client_label_names(self) -> tuple[str, ...]:
        """Return the label names by which any route match or traffic rule selects clients, sorted."""

    def policies(self, kind: str, namespace: str) -> tuple[Policy, ...]:
        """Return the policies of a kind in a namespace (index)."""

    def scopes(self, namespace: str) -> tuple[Scope, ...]:
        """Return the Sidecar objects of a namespace (index)."""

    def gateway(self, key: ObjectKey) -> Gateway | None:
        """Return a gateway."""

    def gateways(self) -> tuple[Gateway, ...]:
        """Return all gateways (one bucket; only gateway proxies read it)."""

    def workload_group(self, key: ObjectKey) -> WorkloadGroup | None:
        """Return a group into which workloads register."""

    def application(self, workload: WorkloadKey) -> Application | None:
        """Return what the application of a connected workload has registered."""

    def protocol(self, name: str) -> RpcProtocol | None:
        """Return a described protocol. Ports of services have their claims settled by these."""

    def protocols(self) -> tuple[RpcProtocol, ...]:
        """Return all described protocols (one bucket; only what detects them reads it)."""


Fact = (
    Mesh
    | Service
    | EndpointSet
    | NamedTarget
    | Workload
    | WorkloadGroup
    | RouteTable
    | TrafficRule
    | Policy
    | Scope
    | Gateway
    | RpcProtocol
    | Registration
)


class StaticFacts:
    """Facts that do not change, scanned at each read; joins selectors with workloads like the graph does."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._mesh = DEFAULT_MESH
        self._services: dict[ServiceKey, Service] = {}
        self._sets: list[EndpointSet] = []
        self._named: list[NamedTarget] = []
        self._workloads: list[Workload] = []
        self._groups: list[WorkloadGroup] = []
        self._tables: list[RouteTable] = []
        self._rules: list[TrafficRule] = []
        self._policies: list[Policy] = []
        self._scopes: list[Scope] = []
        self._gateways: dict[ObjectKey, Gateway] = {}
        self._protocols: dict[str, RpcProtocol] = {}
        self._registrations: dict[WorkloadKey, Registration] = {}
        for fact in facts:
            self._add(fact)
        self._publish()
        self._services = {
            key: settle_ports(service, self._protocols.__contains__)
            for key, service in self._services.items()
        }
        for service in self._services.values():
            sets, named = members_of(service, self._workloads, self._mesh.trust_domain)
            self._sets += sets
            self._named += named
        self._sets.sort(key=lambda entry: entry.key)
        self._named.sort(key=lambda entry: entry.key)
        self._tables.sort(key=lambda entry: entry.key)
        self._rules.sort(key=lambda entry: entry.key)
        self._policies.sort(key=lambda entry: entry.key)
        self._scopes.sort(key=lambda entry: entry.key)

    def _add(self, fact: Fact) -> None:
        match fact:
            case Mesh():
                self._mesh = fact
            case Service():
                self._services[fact.key] = fact
            case EndpointSet():
                self._sets.append(fact)
            case NamedTarget():
                self._named.append(fact)
            case Workload():
                self._workloads.append(fact)
            case WorkloadGroup():
                self._groups.append(fact)
            case RouteTable():
                self._tables.append(fact)
            case TrafficRule():
                self._rules.append(fact)
            case Policy():
                self._policies.append(fact)
            case Scope():
                self._scopes.append(fact)
            case Gateway():
                self._gateways[fact.key] = fact
            case RpcProtocol():
                self._protocols[fact.name] = fact
            case Registration():
                self._registrations[fact.key] = fact

    def _publish(self) -> None:
        """What registered workloads publish: what was written of the same name counts instead."""
        groups = {group.key: group for group in self._groups}
        sets: dict[EndpointSetKey, list[EndpointSet]] = {}
        for _, registration in sorted(self._registrations.items()):
            if registration.group not in groups:
                continue
            workload = workload_of_registration(registration, groups[registration.group])
            self._workloads.append(workload)
            application = registration.application
            for fact in published_by(application, workload, self._mesh.trust_domain) if application else ():
                if isinstance(fact, Service):
                    self._services.setdefault(fact.key, fact)
                else:
                    sets.setdefault(fact.key, []).append(fact)
        for key, claims in sets.items():
            self._sets.append(pack_endpoints(key, (row for each in claims for row in each)))

    def mesh(self) -> Mesh:
        return self._mesh

    def service(self, key: ServiceKey) -> Service | None:
        return self._services.get(key)

    def services_of_host(self, host: str) -> tuple[Service, ...]:
        return tuple(service for key, service in sorted(self._services.items()) if key.host == host)

    def services_in(self, namespace: str) -> tuple[ServiceKey, ...]:
        return tuple(key for key in sorted(self._services) if namespace in (ANY_NAMESPACE, key.namespace))

    def endpoint_sets(self, service: ServiceKey, port: int) -> tuple[EndpointSet, ...]:
        return tuple(entry for entry in self._sets if entry.key.service == service and entry.key.port == port)

    def named_targets(self, service: ServiceKey, port: int) -> tuple[NamedTarget, ...]:
        return tuple(
            entry for entry in self._named if entry.key.service == service and entry.key.port == port
        )

    def identities(self, service: ServiceKey) -> tuple[str, ...]:
        found = {
            attributes.identity
            for entry in self._sets
            if entry.key.service == service
            for attributes in entry.attributes
            if attributes.identity
        }
        fact = self._services.get(service)
        if fact is not None and fact.selector:
            found |= {
                Identity(self._mesh.trust_domain, group.key.namespace, group.account).spiffe
                for group in self._groups
                if group.key.namespace == service.namespace and selects(fact.selector, group.labels)
            }
        return tuple(sorted(found))

    def instances(self, address: str) -> tuple[Instance, ...]:
        found = {
            Instance(entry.key.service, entry.key.port, row.port)
            for entry in self._sets
            for row in entry
            if row.address == address
        }
        return tuple(sorted(found))

    def route_tables(self, host: str, audience: str) -> tuple[RouteTable, ...]:
        return tuple(t for t in self._tables if t.key.host == host and t.key.audience == audience)

    def route_tables_of(self, audience: str) -> tuple[RouteTable, ...]:
        return tuple(table for table in self._tables if table.key.audience == audience)

    def traffic_rules(self, host: str) -> tuple[TrafficRule, ...]:
        return tuple(rule for rule in self._rules if rule.host == host)

    def client_label_names(self) -> tuple[str, ...]:
        names = {name for rule in self._rules for name, _ in rule.selector}
        for table in self._tables:
            if table.key.audience == MESH:
                names |= label_names(table.http, table.tcp)
        return tuple(sorted(names))

    def policies(self, kind: str, namespace: str) -> tuple[Policy, ...]:
        return tuple(p for p in self._policies if p.key.kind == kind and p.key.namespace == namespace)

    def scopes(self, namespace: str) -> tuple[Scope, ...]:
        return tuple(scope for scope in self._scopes if scope.key.namespace == namespace)

    def gateway(self, key: ObjectKey) -> Gateway | None:
        return self._gateways.get(key)

    def gateways(self) -> tuple[Gateway, ...]:
        return tuple(self._gateways[key] for key in sorted(self._gateways))

    def workload_group(self, key: ObjectKey) -> WorkloadGroup | None:
        return next((group for group in self._groups if group.key == key), None)

    def application(self, workload: WorkloadKey) -> Application | None:
        registration = self._registrations.get(workload)
        return registration.application if registration is not None else None

    def protocol(self, name: str) -> RpcProtocol | None:
        return self._protocols.get(name)

    def protocols(self) -> tuple[RpcProtocol, ...]:
        return tuple(protocol for _, protocol in sorted(self._protocols.items()))


def label_names(http: tuple[HttpRule, ...], tcp: tuple[TcpRule, ...]) -> set[str]:
    """Return the names of client labels that rules match on; implementers of ``client_label_names`` use it."""
    found = {name for rule in http for match in rule.matches for name, _ in match.source_labels}
    return found | {name for rule in tcp for match in rule.matches for name, _ in match.source_labels}


def restrict(labels: Labels, names: tuple[str, ...]) -> Labels:
    """Return the labels of these names: the part of a client's labels a step may see."""
    return tuple(pair for pair in labels if pair[0] in names)
