"""The read interface of compile steps over the graph: each question becomes a recorded dependency.

In: a `Reader` of the running step. Out: facts in canonical order. Invariant: answers equal those of
`StaticFacts` over the same facts. Made anew for each run of a step, by `views`.
"""

from __future__ import annotations

from mainstay.compile.facts import Instance
from mainstay.control.collections import ALL, Collections
from mainstay.graph import Reader
from mainstay.model.application import Application
from mainstay.model.endpoints import EndpointSet, NamedTarget
from mainstay.model.gateway import Gateway
from mainstay.model.key import ObjectKey, ServiceKey, WorkloadKey
from mainstay.model.mesh import Mesh
from mainstay.model.policy import Policy
from mainstay.model.route import RouteTable
from mainstay.model.rpc import RpcProtocol
from mainstay.model.scope import Scope
from mainstay.model.service import Service
from mainstay.model.traffic import TrafficRule
from mainstay.model.workload import WorkloadGroup


class GraphFacts:
    """Implements `mainstay.compile.facts.Facts`."""

    __slots__ = ("_all", "_read")

    def __init__(self, collections: Collections, read: Reader) -> None:
        self._all = collections
        self._read = read

    def mesh(self) -> Mesh:
        return self._all.mesh_of(self._read)

    def service(self, key: ServiceKey) -> Service | None:
        return self._read.get(self._all.services, key)

    def services_of_host(self, host: str) -> tuple[Service, ...]:
        return tuple(self._read.by(self._all.by_host, host))

    def services_in(self, namespace: str) -> tuple[ServiceKey, ...]:
        return self._read.keys(self._all.by_namespace, namespace)

    def endpoint_sets(self, service: ServiceKey, port: int) -> tuple[EndpointSet, ...]:
        members = self._read.get(self._all.members, service)
        found = [each for each in self._read.by(self._all.sets_by_service, service) if each.key.port == port]
        found.extend(each for each in (members[0] if members else ()) if each.key.port == port)
        return tuple(sorted(found, key=lambda each: each.key))

    def named_targets(self, service: ServiceKey, port: int) -> tuple[NamedTarget, ...]:
        members = self._read.get(self._all.members, service)
        found = self._read.by(self._all.targets_by_port, (service, port))
        found.extend(each for each in (members[1] if members else ()) if each.key.port == port)
        return tuple(sorted(found, key=lambda each: each.key))

    def identities(self, service: ServiceKey) -> tuple[str, ...]:
        return self._read.get(self._all.identities, service) or ()

    def instances(self, address: str) -> tuple[Instance, ...]:
        return self._read.get(self._all.instances, address) or ()

    def route_tables(self, host: str, audience: str) -> tuple[RouteTable, ...]:
        return tuple(self._read.by(self._all.tables_by_host, (host, audience)))

    def route_tables_of(self, audience: str) -> tuple[RouteTable, ...]:
        return tuple(self._read.by(self._all.tables_by_audience, audience))

    def traffic_rules(self, host: str) -> tuple[TrafficRule, ...]:
        return tuple(self._read.by(self._all.rules_by_host, host))

    def client_label_names(self) -> tuple[str, ...]:
        return self._read.keys(self._all.all_label_names, ALL)

    def policies(self, kind: str, namespace: str) -> tuple[Policy, ...]:
        return tuple(self._read.by(self._all.policies_by_kind, (kind, namespace)))

    def scopes(self, namespace: str) -> tuple[Scope, ...]:
        return tuple(self._read.by(self._all.scopes_by_namespace, namespace))

    def gateway(self, key: ObjectKey) -> Gateway | None:
        return self._read.get(self._all.gateways, key)

    def gateways(self) -> tuple[Gateway, ...]:
        return tuple(self._read.by(self._all.all_gateways, ALL))

    def workload_group(self, key: ObjectKey) -> WorkloadGroup | None:
        return self._read.get(self._all.groups, key)

    def application(self, workload: WorkloadKey) -> Application | None:
        return self._read.get(self._all.applications, workload)

    def protocol(self, name: str) -> RpcProtocol | None:
        return self._read.get(self._all.protocols, name)

    def protocols(self) -> tuple[RpcProtocol, ...]:
        return tuple(self._read.by(self._all.all_protocols, ALL))
