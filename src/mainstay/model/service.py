"""A service: a host with ports. What is behind it (VMs, containers, registry entries) are endpoints, not part of it.

In: ServiceEntry, ``mainstay.dev`` Service, registries. Out: what routes, clusters and endpoints are compiled for.
"""

from typing import Literal

import msgspec

from mainstay.model.key import EVERYWHERE, Labels, ServiceKey, Visibility
from mainstay.model.protocol import PortProtocol, claims_of_port, protocol_of_port

Resolution = Literal["endpoints", "dns", "dns_round_robin", "none"]
"""How addresses are found: from endpoint sets (ServiceEntry STATIC) · by the proxy's DNS (DNS: all answers are hosts;
DNS_ROUND_ROBIN: one at a time) · the caller's original destination (NONE)."""

Location = Literal["internal", "external"]
"""Inside the mesh, or outside of it (ServiceEntry.location; external services are never spoken to in mesh mTLS)."""


class ServicePort(msgspec.Struct, frozen=True, gc=False, order=True):
    """A port: ``number`` is what clients use, ``target`` where endpoints listen unless they say otherwise. ``claims`` are
    names of ``Protocol`` objects that its author may have meant, ``rpc`` the one it is (``model.rpc.settle_ports``)."""

    number: int
    name: str
    protocol: PortProtocol
    target: int
    rpc: str = ""
    claims: tuple[str, ...] = ()


def written_port(number: int, name: str, app_protocol: str, target: int) -> ServicePort:
    """Return a port as an author wrote it: its protocol by the table of names, and what else the names may mean."""
    return ServicePort(
        number,
        name,
        protocol_of_port(number, name, app_protocol),
        target,
        claims=claims_of_port(name, app_protocol),
    )


class Service(msgspec.Struct, frozen=True, gc=False):
    """A service.

    ``ports`` by number. ``addresses`` are virtual IPs or CIDRs, sorted. ``accounts`` are the only SPIFFE IDs (or DNS
    names, for external services) a peer may present, sorted; empty: those of its endpoints. ``selector`` picks
    workloads by label within the namespace (``membership``); empty picks none. ``origin`` is ``Kind/namespace/name``.
    ``created`` is Unix time in milliseconds, 0 where unknown; the older of two claims to a host wins.
    """

    key: ServiceKey
    ports: tuple[ServicePort, ...]
    addresses: tuple[str, ...] = ()
    resolution: Resolution = "endpoints"
    location: Location = "internal"
    visible_to: Visibility = EVERYWHERE
    accounts: tuple[str, ...] = ()
    selector: Labels = ()
    origin: str = ""
    created: int = 0

    def port(self, number: int) -> ServicePort | None:
        """Return the port of this number, or None."""
        return next((port for port in self.ports if port.number == number), None)
