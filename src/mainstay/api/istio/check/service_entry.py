"""How ServiceEntries conflict: one host claimed twice, one port with two protocols.

In: a decoded ServiceEntry and everything else. Out: problems, all of them warnings: the older claim counts.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.istio.service_entry import ServiceEntry
from mainstay.api.kind import Lookup
from mainstay.api.object import Object
from mainstay.model.problem import Problem
from mainstay.model.protocol import protocol_of_port
from mainstay.model.service import Service


def check_service_entry(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return what conflicts."""
    found = Findings(thing)
    entry: ServiceEntry = thing.spec
    for at, text in enumerate(entry.hosts):
        host = text.lower().removesuffix(".")
        for rival in lookup.services(host):
            if rival.origin == thing.label or rival.key.namespace != thing.namespace:
                continue
            reason = (
                f"{rival.origin} claims {host} in this namespace too; the older one gives ports and settings"
            )
            found.add("MS2004", ("spec", "hosts", at), reason, "Join the two")
            _check_protocols(entry, rival, found)
    return found.problems


def _check_protocols(entry: ServiceEntry, rival: Service, found: Findings) -> None:
    for at, port in enumerate(entry.ports):
        other = rival.port(port.number)
        mine = protocol_of_port(port.number, port.name, port.protocol or "")
        if other is not None and other.protocol != mine:
            reason = (
                f"{rival.origin} says that port {port.number} speaks {other.protocol.value}, not {mine.value}"
            )
            found.add("IST0177", ("spec", "ports", at), reason, "Agree on one protocol")
