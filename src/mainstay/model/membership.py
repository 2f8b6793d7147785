"""Which workloads are behind a service: label selectors joined with workload instances.

In: a ``Service`` with a selector and the workloads of its namespace. Out: endpoint sets and named targets per port,
under the source name ``workloads``. Pure; the graph calls it whenever a service or one of the workloads changes.
Invariant: a workload of the service contributes to every port, at the number it maps the port's name to.
"""

from collections.abc import Iterable

from mainstay.model.endpoints import (
    Endpoint,
    EndpointAttributes,
    EndpointSet,
    NamedTarget,
    bytes_of_address,
    pack_endpoints,
)
from mainstay.model.identity import Identity
from mainstay.model.key import EndpointSetKey, NamedTargetKey, selects
from mainstay.model.service import Service
from mainstay.model.workload import Workload, canonical_name, canonical_revision

SOURCE = "workloads"


def attributes_of(workload: Workload, trust_domain: str) -> EndpointAttributes:
    """Return what endpoints of this workload share."""
    return EndpointAttributes(
        locality=workload.locality,
        network=workload.network,
        identity=Identity(trust_domain, workload.key.namespace, workload.account).spiffe,
        labels=workload.labels,
        meshed=workload.meshed,
        h2_tunnel=workload.h2_tunnel,
        workload=workload.key.name,
        namespace=workload.key.namespace,
        canonical_name=canonical_name(workload.labels, workload.key.name),
        canonical_revision=canonical_revision(workload.labels),
        cluster=workload.cluster,
    )


def members_of(
    service: Service, workloads: Iterable[Workload], trust_domain: str
) -> tuple[tuple[EndpointSet, ...], tuple[NamedTarget, ...]]:
    """Return the endpoint sets (one per port, by number) and named targets of a service with a selector.

    Both are empty for a service without one. Workloads of other namespaces are ignored, as in Istio.
    """
    if not service.selector:
        return (), ()
    chosen = [
        workload
        for workload in workloads
        if workload.key.namespace == service.key.namespace and selects(service.selector, workload.labels)
    ]
    sets: list[EndpointSet] = []
    named: list[NamedTarget] = []
    for port in service.ports:
        endpoints: list[Endpoint] = []
        for workload in sorted(chosen, key=lambda member: member.key):
            number = dict(workload.ports).get(port.name, port.target)
            attributes = attributes_of(workload, trust_domain)
            for address in workload.addresses:
                if _is_ip(address):
                    endpoints.append(
                        Endpoint(
                            address, number, workload.weight, workload.health, attributes, 0, workload.start
                        )
                    )
                else:
                    key = NamedTargetKey(service.key, port.number, SOURCE, address)
                    named.append(NamedTarget(key, number, workload.weight, attributes))
        sets.append(pack_endpoints(EndpointSetKey(service.key, port.number, SOURCE), endpoints))
    return tuple(sets), tuple(named)


def _is_ip(text: str) -> bool:
    try:
        bytes_of_address(text)
    except ValueError:
        return False
    return True
