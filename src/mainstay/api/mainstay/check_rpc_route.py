"""What an RPCRoute refers to: services that speak RPC, ports, subsets.

In: a decoded RPCRoute and everything else. Out: problems. Services that registries bring may come and go: a name that is no DNS
name is such a service's, and not reported.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.hosts import is_host
from mainstay.api.istio.check.destinations import check_host, check_port, check_subset, visible_services
from mainstay.api.kind import Lookup
from mainstay.api.mainstay.rpc_route import RPCBackend, RPCParentReference, RPCRoute
from mainstay.api.mainstay.translate.rpc_route import service_host
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.model.problem import Problem
from mainstay.model.rpc import settle_ports


def check_rpc_route(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return what dangles or does not fit."""
    found = Findings(thing)
    route: RPCRoute = thing.spec
    for at, parent in enumerate(route.parent_refs):
        _check_parent(parent, found, ("spec", "parentRefs", at), lookup)
    for at, rule in enumerate(route.rules):
        here = ("spec", "rules", at)
        for index, backend in enumerate(rule.backend_refs):
            _check_backend(backend, found, (*here, "backendRefs", index), lookup)
        for index, entry in enumerate(rule.filters):
            if entry.request_mirror is not None:
                path = (*here, "filters", index, "requestMirror", "backendRef")
                _check_backend(entry.request_mirror.backend_ref, found, path, lookup)
    return found.problems


def _check_parent(parent: RPCParentReference, found: Findings, path: Path, lookup: Lookup) -> None:
    if not is_host(parent.name):
        return
    host = service_host(parent, found.namespace, lookup.defaults)
    if not check_host(host, found, (*path, "name"), lookup):
        return
    services = visible_services(host, found.namespace, lookup)
    if parent.port is not None and not check_port(host, parent.port, services, found, (*path, "port")):
        return
    known = lookup.protocols()
    ports = [
        port
        for service in services
        for port in settle_ports(service, known.__contains__).ports
        if parent.port in (None, port.number)
    ]
    if not any(port.rpc for port in ports):
        which = f"port {parent.port}" if parent.port is not None else "no port"
        speaks = "speaks no described protocol" if parent.port is not None else "speaks a described protocol"
        reason = f"{which} of {host} {speaks}"
        remedy = f"Declare it with appProtocol, or a name prefix such as bolt-; described are {', '.join(sorted(known))}"
        # A port that names something may name a Protocol that is not among these objects.
        claimed = any(
            port.claims
            for service in services
            for port in service.ports
            if parent.port in (None, port.number)
        )
        found.add("IST0101" if claimed else "MS2007", path, reason, remedy)


def _check_backend(backend: RPCBackend, found: Findings, path: Path, lookup: Lookup) -> None:
    host = service_host(backend, found.namespace, lookup.defaults)
    if is_host(backend.name) and not check_host(host, found, (*path, "name"), lookup):
        return
    services = visible_services(host, found.namespace, lookup)
    if backend.port is not None and services:
        check_port(host, backend.port, services, found, (*path, "port"))
    if backend.subset:
        check_subset(backend.subset, host, found, (*path, "subset"), lookup)
