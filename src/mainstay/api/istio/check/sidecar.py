"""How Sidecars conflict, and egress hosts that name nothing.

In: a decoded Sidecar and everything else. Out: problems.
"""

from __future__ import annotations

from collections.abc import Hashable

from mainstay.api.findings import Findings
from mainstay.api.istio.check.destinations import host_covers
from mainstay.api.istio.sidecar import Sidecar
from mainstay.api.kind import Lookup, ObjectIndex
from mainstay.api.object import Object
from mainstay.model.key import is_visible, labels_of
from mainstay.model.problem import Problem


def check_sidecar(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return what conflicts or names nothing."""
    found = Findings(thing)
    sidecar: Sidecar = thing.spec
    labels = _labels(sidecar)
    for rival in lookup.find(_BY_SELECTION, _selection_of(thing)):
        if rival.key == thing.key:
            continue
        if labels:
            reason = f"{rival.label} selects the same workloads"
            found.add(
                "IST0110", ("spec", "workloadSelector"), reason, "Join the two, or select by other labels"
            )
        else:
            reason = f"{rival.label} has no selector either"
            found.add("IST0111", ("spec",), reason, "Give one of them a workloadSelector")
    for at, listener in enumerate(sidecar.egress):
        for index, text in enumerate(listener.hosts):
            if not _names_something(text, thing.namespace, lookup):
                path = ("spec", "egress", at, "hosts", index)
                found.add(
                    "MS2005", path, f"{text} matches no known service", "Add the service, or correct the name"
                )
    return found.problems


def _selection_of(thing: Object) -> Hashable:
    """Namespace and labels: what two Sidecars must not have in common."""
    return thing.namespace, labels_of(_labels(thing.spec))


_BY_SELECTION = ObjectIndex("Sidecar", lambda thing, _: [_selection_of(thing)])


def _labels(sidecar: Sidecar) -> dict[str, str]:
    return sidecar.workload_selector.labels if sidecar.workload_selector else {}


def _names_something(text: str, own: str, lookup: Lookup) -> bool:
    namespace, _, host = text.partition("/")
    if namespace == "~" or host == "*":
        return True
    namespace = own if namespace == "." else namespace
    host = host.lower().removesuffix(".")
    candidates = lookup.all_services() if "*" in host else lookup.services(host)
    return any(
        host_covers(host, service.key.host)
        and namespace in ("*", service.key.namespace)
        and is_visible(service.visible_to, own)
        for service in candidates
    )
