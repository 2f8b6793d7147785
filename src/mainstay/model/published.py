"""What a workload publishes, as the facts it would be had somebody written them: services of the workload's own namespace, and
the workload as an endpoint of each.

In: what the application registered, the workload that it is. Out: services and endpoint sets. Pure; the graph calls it when one
of the two changes. Invariant: whoever publishes a service makes an equal one, so that it does not matter who comes or goes; what
somebody wrote under the same name counts instead.
"""

from __future__ import annotations

from mainstay.model.application import DEFAULT_WEIGHT, Application
from mainstay.model.endpoints import (
    MAX_WEIGHT,
    Endpoint,
    EndpointSet,
    Health,
    bytes_of_address,
    pack_endpoints,
)
from mainstay.model.key import EndpointSetKey, ServiceKey
from mainstay.model.membership import attributes_of
from mainstay.model.protocol import PortProtocol
from mainstay.model.service import Service, ServicePort
from mainstay.model.workload import Workload

RPC_PORT = 12_200
"""The port of every published service, as clients and rules name it; where a workload listens is its endpoint's."""
SOURCE = "published"
"""Weights of such endpoints are SOFARPC's: what others bring with weight 1 weighs `DEFAULT_WEIGHT` beside them."""
ORIGIN = "Published"
"""How the origin of such a service begins."""
YOUNGEST = 2**62
"""When such a service was created: what somebody wrote is always older. Else a workload could take over, for callers of third
namespaces, a host that is another namespace's."""


def published_by(
    application: Application, workload: Workload, trust_domain: str
) -> tuple[Service | EndpointSet, ...]:
    """Return the services of a workload's application, each with the workload as its endpoint."""
    if not application.port or not workload.addresses:
        return ()
    try:
        bytes_of_address(workload.addresses[0])
    except ValueError:
        return ()  # a workload known by name alone: where peers would find this port cannot be told
    attributes = attributes_of(workload, trust_domain)
    port = ServicePort(
        RPC_PORT, application.protocol, PortProtocol.TCP, RPC_PORT, claims=(application.protocol,)
    )
    facts: list[Service | EndpointSet] = []
    told = dict(application.weights)
    for name in application.published:
        weight = workload.weight * told.get(name, DEFAULT_WEIGHT)
        endpoint = Endpoint(
            workload.addresses[0],
            application.port,
            min(weight, MAX_WEIGHT) or 1,
            workload.health if weight else Health.DRAINING,
            attributes,
            0,
            workload.start,
        )
        key = ServiceKey(workload.key.namespace, name)
        facts.append(Service(key, (port,), origin=f"{ORIGIN}/{key}", created=YOUNGEST))
        facts.append(pack_endpoints(EndpointSetKey(key, RPC_PORT, SOURCE), (endpoint,)))
    return tuple(facts)
