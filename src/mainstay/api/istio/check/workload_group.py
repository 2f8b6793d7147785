"""What a WorkloadGroup refers to: the protocol whose heartbeat its probe wants answered.

In: a decoded WorkloadGroup and everything else. Out: problems.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.istio.workload_group import HEARTBEAT
from mainstay.api.kind import Lookup
from mainstay.api.object import Object
from mainstay.model.problem import Problem


def check_workload_group(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return the reference that dangles."""
    found = Findings(thing)
    protocol = thing.metadata.annotations.get(HEARTBEAT, "")
    known = lookup.protocols()
    if protocol and protocol not in known:
        reason = f"nobody described the protocol {protocol}: the probe only connects"
        remedy = f"Apply a Protocol of that name, or name one of {', '.join(sorted(known))}"
        found.add("IST0101", ("metadata", "annotations", HEARTBEAT), reason, remedy)
    return found.problems
