"""How Mainstay's own objects conflict with others.

In: a decoded Service and everything else. Out: problems.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.hosts import complete_host
from mainstay.api.kind import Lookup
from mainstay.api.object import Object
from mainstay.model.problem import Problem


def check_service(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return who else claims the service's host."""
    found = Findings(thing)
    host = complete_host(thing.name, thing.namespace, lookup.defaults)
    for rival in lookup.services(host):
        if rival.origin != thing.label and rival.key.namespace == thing.namespace:
            reason = f"{rival.origin} claims {host} too; the older one gives ports and settings"
            found.add("MS2004", ("metadata", "name"), reason, "Keep one of the two")
    return found.problems
