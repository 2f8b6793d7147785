"""How Mainstay's own objects conflict with others, and what they name that is not there.

In: a decoded Service and everything else. Out: problems.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.hosts import complete_host
from mainstay.api.kind import Lookup
from mainstay.api.mainstay.service import Service
from mainstay.api.object import Object
from mainstay.api.problems import shorten
from mainstay.model.problem import Problem
from mainstay.model.protocol import claims_of_port, declared_protocol


def check_service(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return who else claims the service's host, and protocols that nobody described."""
    found = Findings(thing)
    host = complete_host(thing.name, thing.namespace, lookup.defaults)
    for rival in lookup.services(host):
        if rival.origin != thing.label and rival.key.namespace == thing.namespace:
            reason = f"{rival.origin} claims {host} too; the older one gives ports and settings"
            found.add("MS2004", ("metadata", "name"), reason, "Keep one of the two")
    written: Service = thing.spec
    for at, port in enumerate(written.ports):
        name = port.app_protocol or ""
        if name and not declared_protocol(name) and not lookup.protocols() & {*claims_of_port("", name)}:
            described = ", ".join(sorted(lookup.protocols()))
            reason = f"{shorten(name)} is no protocol"
            remedy = (
                "Use http, http2, grpc, https, tls, tcp, mongo, mysql or redis, one that is described"
                f" ({described}), or apply a Protocol of that name"
            )
            found.add("IST0101", ("spec", "ports", at, "appProtocol"), reason, remedy)
    return found.problems
