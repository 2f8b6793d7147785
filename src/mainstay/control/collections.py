"""The collections of the mesh: from what sources brought to what compile steps read.

In: per source a collection of objects' facts (origin → tuple of facts), the mesh-wide settings, protocols that come with
Mainstay. Out: one
collection per kind of fact, with the indexes by which facts are found, and what is joined from them (members,
identities, instances). Invariants: of two claims to one key that of the source named first counts, within a
source the older, then the smaller origin: never who came first; endpoints of one key are united. Built once
by `main`; read by `graph_facts`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from mainstay.compile.facts import ANY_NAMESPACE, Instance, label_names
from mainstay.graph import Collection, Derived, Graph, Index, Input, Reader
from mainstay.model.application import Application
from mainstay.model.endpoints import EndpointSet, Health, NamedTarget, pack_endpoints
from mainstay.model.gateway import Gateway
from mainstay.model.identity import Identity
from mainstay.model.key import MESH, Labels, ObjectKey, PolicyKey, ServiceKey, WorkloadKey, selects
from mainstay.model.membership import members_of
from mainstay.model.mesh import DEFAULT_MESH, Mesh
from mainstay.model.policy import Policy
from mainstay.model.published import published_by
from mainstay.model.route import RouteTable
from mainstay.model.rpc import RpcProtocol, settle_ports
from mainstay.model.scope import Scope
from mainstay.model.service import Service
from mainstay.model.traffic import TrafficRule
from mainstay.model.workload import Registration, Workload, WorkloadGroup, workload_of_registration


class Keyed(Protocol):
    """A fact: it knows its key."""

    @property
    def key(self) -> Any: ...


F = TypeVar("F", bound=Keyed)

Brought = Collection[Any, tuple[Any, ...]]
"""Origin (an object's key) → the facts it became."""

Members = tuple[tuple[EndpointSet, ...], tuple[NamedTarget, ...]]

ALL = "*"
"""The one bucket of an index that stands for everything: only what really needs all may read it."""

THE_MESH = ""
"""The one key of the collection of mesh-wide settings."""

LabelBucket = tuple[str, str, str]
"""Namespace, label name, label value; name and value empty: all of the namespace."""


class Collections:
    """See the module. Attributes are the collections and indexes, named for what they hold."""

    def __init__(
        self,
        graph: Graph,
        brought: Sequence[Brought],
        mesh: Collection[str, Mesh],
        registrations: Collection[WorkloadKey, Registration] | None = None,
        shipped: Iterable[RpcProtocol] = (),
    ) -> None:
        self._graph = graph
        self._brought = tuple(brought)
        self._shipped: Input[str, tuple[Any, ...]] = graph.input("shipped protocols")
        for protocol in shipped:
            self._shipped.set(protocol.name, (protocol,))
        self.mesh = mesh
        self.registrations: Collection[WorkloadKey, Registration] = (
            registrations if registrations is not None else graph.input("registrations")
        )
        self.protocols: Derived[str, RpcProtocol] = self._gather(
            "protocols", RpcProtocol, brought=(*self._brought, self._shipped)
        )
        self.groups: Derived[ObjectKey, WorkloadGroup] = self._gather("workload groups", WorkloadGroup)
        self.written: Derived[WorkloadKey, Workload] = self._gather("written workloads", Workload)
        self.workloads: Derived[WorkloadKey, Workload] = self._join_workloads()
        self.applications: Derived[WorkloadKey, Application] = self._take_applications()
        # Last: what somebody wrote counts before what a workload publishes.
        serving = (*self._brought, self._join_published())
        self.services: Derived[ServiceKey, Service] = self._settle_services(serving)
        self.sets: Derived[Any, EndpointSet] = self._gather(
            "endpoint sets", EndpointSet, _unite, brought=serving
        )
        self.targets: Derived[Any, NamedTarget] = self._gather("named targets", NamedTarget)
        self.tables: Derived[Any, RouteTable] = self._gather("route tables", RouteTable)
        self.rules: Derived[ObjectKey, TrafficRule] = self._gather("traffic rules", TrafficRule)
        self.policies: Derived[PolicyKey, Policy] = self._gather("policies", Policy)
        self.scopes: Derived[ObjectKey, Scope] = self._gather("scopes", Scope)
        self.gateways: Derived[ObjectKey, Gateway] = self._gather("gateways", Gateway)
        self._index(graph)
        self.members = self._join_members()
        self.identities = self._join_identities()
        self.instances = self._join_instances()
        self.all_label_names = self._join_label_names()

    def _index(self, graph: Graph) -> None:
        """By what facts are found, other than their keys."""
        self.by_host = graph.index("services by host", self.services, lambda key, _: [key.host])
        self.by_namespace = graph.index(
            "services by namespace", self.services, lambda key, _: [key.namespace, ANY_NAMESPACE]
        )
        self.sets_by_service = graph.index(
            "endpoint sets by service", self.sets, lambda key, _: [key.service]
        )
        self.targets_by_port = graph.index(
            "named targets by port", self.targets, lambda key, _: [(key.service, key.port)]
        )
        self.workloads_by_label = graph.index(
            "workloads by label",
            self.workloads,
            lambda key, value: _label_buckets(key.namespace, value.labels),
        )
        self.groups_by_label = graph.index(
            "workload groups by label",
            self.groups,
            lambda key, value: _label_buckets(key.namespace, value.labels),
        )
        self.tables_by_host = graph.index(
            "route tables by host", self.tables, lambda key, _: [(key.host, key.audience)]
        )
        self.tables_by_audience = graph.index(
            "route tables by audience", self.tables, lambda key, _: [key.audience]
        )
        self.rules_by_host = graph.index("traffic rules by host", self.rules, lambda _, value: [value.host])
        self.policies_by_kind = graph.index(
            "policies by kind", self.policies, lambda key, _: [(key.kind, key.namespace)]
        )
        self.scopes_by_namespace = graph.index(
            "scopes by namespace", self.scopes, lambda key, _: [key.namespace]
        )
        self.all_gateways = graph.index("all gateways", self.gateways, lambda _key, _value: [ALL])
        self.all_protocols = graph.index("all protocols", self.protocols, lambda _key, _value: [ALL])

    def mesh_of(self, read: Reader) -> Mesh:
        return read.get(self.mesh, THE_MESH) or DEFAULT_MESH

    @property
    def readable(self) -> tuple[Collection[Any, Any] | Index[Any, Any], ...]:
        """All that compile steps may read."""
        return tuple(value for value in vars(self).values() if isinstance(value, (Collection, Index)))

    def _gather(
        self,
        name: str,
        kind: type[F],
        combine: Callable[[Any, Sequence[F]], F] = lambda _key, claims: claims[0],
        brought: Sequence[Brought] | None = None,
    ) -> Derived[Any, F]:
        """All facts of a kind, by their own keys. `combine` gets the claims to a key, the one that counts
        first."""
        indexes: list[tuple[Brought, Index[Any, Any]]] = [
            (each, self._graph.index(f"{name} of {each.name}", each, lambda _, facts: _keys_of(facts, kind)))
            for each in (self._brought if brought is None else brought)
        ]

        def compute(key: Any, read: Reader) -> F | None:
            claims: list[F] = []
            for collection, index in indexes:
                found = [
                    (getattr(fact, "created", 0), fact)
                    for origin in read.keys(index, key)
                    for fact in read.get(collection, origin) or ()
                    if type(fact) is kind and fact.key == key
                ]
                found.sort(key=lambda claim: claim[0])  # stable: origins of one age stay in order
                claims.extend(fact for _, fact in found)
            return combine(key, claims) if claims else None

        reads = [readable for pair in indexes for readable in pair]
        return self._graph.derived(name, compute, reads=reads, each=[index for _, index in indexes])

    def _take_applications(self) -> Derived[WorkloadKey, Application]:
        """What applications have registered, apart from how their workloads are."""

        def compute(key: WorkloadKey, read: Reader) -> Application | None:
            registration = read.get(self.registrations, key)
            return registration.application if registration is not None else None

        return self._graph.derived(
            "applications", compute, reads=[self.registrations], each=[self.registrations]
        )

    def _join_published(self) -> Derived[WorkloadKey, tuple[Any, ...]]:
        """Workload → services that its application publishes, and itself as their endpoint."""

        def compute(key: WorkloadKey, read: Reader) -> tuple[Any, ...] | None:
            application = read.get(self.applications, key)
            workload = read.get(self.workloads, key) if application is not None else None
            if application is None or workload is None:
                return None
            return published_by(application, workload, self.mesh_of(read).trust_domain) or None

        return self._graph.derived(
            "published",
            compute,
            reads=[self.applications, self.workloads, self.mesh],
            each=[self.applications],
        )

    def _settle_services(self, brought: Sequence[Brought]) -> Derived[ServiceKey, Service]:
        """Services whose ports say which protocol they speak, by the protocols there are."""
        claimed: Derived[ServiceKey, Service] = self._gather("claimed services", Service, brought=brought)

        def compute(key: ServiceKey, read: Reader) -> Service | None:
            service = read.get(claimed, key)
            if service is None:
                return None
            return settle_ports(service, lambda name: read.get(self.protocols, name) is not None)

        return self._graph.derived("services", compute, reads=[claimed, self.protocols], each=[claimed])

    def _join_workloads(self) -> Derived[WorkloadKey, Workload]:
        """Workloads somebody wrote, with the health that their own sidecars report, and those that registered."""

        def compute(key: WorkloadKey, read: Reader) -> Workload | None:
            written = read.get(self.written, key)
            registration = read.get(self.registrations, key)
            if written is not None:
                if registration is None or registration.health is Health.UNKNOWN:
                    return written
                return msgspec.structs.replace(written, health=registration.health)
            if registration is None or registration.group is None:
                return None
            group = read.get(self.groups, registration.group)
            return None if group is None else workload_of_registration(registration, group)

        return self._graph.derived(
            "workloads",
            compute,
            reads=[self.written, self.registrations, self.groups],
            each=[self.written, self.registrations],
        )

    def _join_members(self) -> Derived[ServiceKey, Members]:
        """Service → endpoints and named targets of the workloads its selector picks."""

        def compute(key: ServiceKey, read: Reader) -> Members | None:
            service = read.get(self.services, key)
            if service is None or not service.selector:
                return None
            chosen = _selected(read, self.workloads_by_label, self.workloads, key.namespace, service.selector)
            return members_of(service, chosen, self.mesh_of(read).trust_domain)

        return self._graph.derived(
            "members",
            compute,
            reads=[self.services, self.workloads, self.workloads_by_label, self.mesh],
            each=[self.services],
        )

    def _join_identities(self) -> Derived[ServiceKey, tuple[str, ...]]:
        """Service → SPIFFE IDs its endpoints may present."""

        def compute(key: ServiceKey, read: Reader) -> tuple[str, ...] | None:
            service = read.get(self.services, key)
            if service is None:
                return None
            members = read.get(self.members, key)
            sets = [*read.by(self.sets_by_service, key), *(members[0] if members else ())]
            found = {shared.identity for each in sets for shared in each.attributes if shared.identity}
            if service.selector:
                trust_domain = self.mesh_of(read).trust_domain
                groups = _selected(read, self.groups_by_label, self.groups, key.namespace, service.selector)
                found |= {
                    Identity(trust_domain, group.key.namespace, group.account).spiffe for group in groups
                }
            return tuple(sorted(found))

        return self._graph.derived(
            "identities",
            compute,
            reads=[
                self.services,
                self.members,
                self.sets,
                self.sets_by_service,
                self.groups,
                self.groups_by_label,
                self.mesh,
            ],
            each=[self.services],
        )

    def _join_instances(self) -> Derived[str, tuple[Instance, ...]]:
        """Workload address → the services it takes part in."""
        of_sets = self._graph.index(
            "endpoint sets by address", self.sets, lambda _, value: _addresses([value])
        )
        of_members = self._graph.index(
            "members by address", self.members, lambda _, value: _addresses(value[0])
        )

        def compute(address: str, read: Reader) -> tuple[Instance, ...] | None:
            sets = read.by(of_sets, address)
            for sets_of_service, _ in read.by(of_members, address):
                sets.extend(sets_of_service)
            found = {
                Instance(each.key.service, each.key.port, row.port)
                for each in sets
                for row in each
                if row.address == address
            }
            return tuple(sorted(found)) or None

        return self._graph.derived(
            "instances",
            compute,
            reads=[self.sets, of_sets, self.members, of_members],
            each=[of_sets, of_members],
        )

    def _join_label_names(self) -> Index[str, bool]:
        """All names of labels by which routes or traffic rules select clients, in the bucket `ALL`."""
        of_tables = self._graph.index(
            "route tables by client label",
            self.tables,
            lambda key, value: label_names(value.http, value.tcp) if key.audience == MESH else (),
        )
        of_rules = self._graph.index(
            "traffic rules by client label", self.rules, lambda _, value: [name for name, _ in value.selector]
        )
        names: Derived[str, bool] = self._graph.derived(
            "client label names", lambda _name, _read: True, reads=[], each=[of_tables, of_rules]
        )
        self.label_names = names
        return self._graph.index("all client label names", names, lambda _key, _value: [ALL])


def _keys_of(facts: Iterable[Any], kind: type[Any]) -> list[Hashable]:
    return [fact.key for fact in facts if type(fact) is kind]


def _unite(key: Any, claims: Sequence[EndpointSet]) -> EndpointSet:
    """The same endpoint in several claims: the first one's row, whole."""
    return claims[0] if len(claims) == 1 else pack_endpoints(key, (row for each in claims for row in each))


def _label_buckets(namespace: str, labels: Labels) -> list[LabelBucket]:
    return [(namespace, "", ""), *((namespace, name, value) for name, value in labels)]


def _selected(
    read: Reader, index: Index[Any, F], collection: Collection[Any, F], namespace: str, selector: Labels
) -> list[F]:
    """What a selector picks in a namespace, in key order: filters the rarest of its labels' buckets."""
    buckets: list[LabelBucket] = [(namespace, name, value) for name, value in selector]
    rarest = min(buckets, key=index.size)
    found: list[F] = []
    for key in read.keys(index, rarest):
        value: Any = read.get(collection, key)
        if value is not None and selects(selector, value.labels):
            found.append(value)
    return found


def _addresses(sets: Iterable[EndpointSet]) -> set[str]:
    return {row.address for each in sets for row in each}
