"""Whether what routes point at is there: host, port, subset, as seen from a namespace.

In: a host or destination, the namespace of the object that names it, a ``Lookup``. Out: problems, or what was found. Used by the
checks of VirtualService, DestinationRule and Sidecar.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from mainstay.api.findings import Findings
from mainstay.api.hosts import bare_host, complete_host
from mainstay.api.istio.destination_rule import DestinationRule
from mainstay.api.istio.virtual_service import Destination
from mainstay.api.kind import Defaults, Lookup, ObjectIndex
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.model.application import is_rpc_service
from mainstay.model.key import is_visible
from mainstay.model.service import Service


def full_host(text: str, namespace: str, lookup: Lookup) -> str:
    """Return the full name of a host that was checked when its object was translated."""
    return complete_host(bare_host(text), namespace, lookup.defaults)


def host_covers(pattern: str, host: str) -> bool:
    """Tell whether a host pattern (``*``, ``*.suffix`` or a name) covers a host, which may be a pattern itself."""
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def visible_services(host: str, namespace: str, lookup: Lookup) -> list[Service]:
    """Return services of this very host, or of a wildcard that covers it, which the namespace may use."""
    found = [each for each in lookup.services(host) if is_visible(each.visible_to, namespace)]
    for pattern in () if found else covering(host):
        found = found or [each for each in lookup.services(pattern) if is_visible(each.visible_to, namespace)]
    return found


def check_destination(
    to: Destination, found: Findings, path: Path, lookup: Lookup, *, connections: bool = False
) -> None:
    """Report what of a destination is missing; ``connections``: a rule of bytes, which cannot guess a port."""
    host = full_host(to.host, found.namespace, lookup)
    services = visible_services(host, found.namespace, lookup)
    if not services and is_rpc_service(host):
        # Whoever publishes it comes and goes.
        if to.subset:
            check_subset(to.subset, host, found, (*path, "subset"), lookup)
        return
    if not check_host(host, found, (*path, "host"), lookup):
        return
    ports = {port.number for service in services for port in service.ports}
    if to.port is not None:
        check_port(host, to.port.number, services, found, (*path, "port", "number"))
    elif connections and len(ports) > 1:
        reason = f"{host} has several ports: {', '.join(str(number) for number in sorted(ports))}"
        found.add("IST0112", path, reason, "Add port.number")
    if to.subset:
        check_subset(to.subset, host, found, (*path, "subset"), lookup)


def check_host(host: str, found: Findings, path: Path, lookup: Lookup) -> bool:
    """Report a host without a service that the object's namespace may use; tell whether there is one."""
    if visible_services(host, found.namespace, lookup):
        return True
    reason, remedy = _missing(host, found.namespace, lookup)
    found.add("IST0101", path, reason, remedy)
    return False


def check_port(host: str, number: int, services: list[Service], found: Findings, path: Path) -> bool:
    """Report a port that none of a host's services has; tell whether one has it."""
    ports = {port.number for service in services for port in service.ports}
    if number in ports:
        return True
    known = ", ".join(str(each) for each in sorted(ports))
    remedy = f"Use one of {known}" if known else f"Add the port to {services[0].origin}"
    found.add("MS2003", path, f"{host} has no port {number}", remedy)
    return False


def check_subset(subset: str, host: str, found: Findings, path: Path, lookup: Lookup) -> None:
    """Report a subset that no DestinationRule gives the host."""
    names = list(subsets_of(host, found.namespace, lookup))
    if subset in names:
        return
    if not names:
        reason = f"no DestinationRule gives {host} subsets"
        found.add("IST0101", path, reason, f"Add a DestinationRule with a subset {subset}")
        return
    reason = f"{host} has no subset {subset}"
    found.add(
        "IST0101", path, reason, f"Use one of {', '.join(sorted(names))}, or add it to the DestinationRule"
    )


def rule_hosts(rule: Object, defaults: Defaults) -> Iterable[str]:
    """The full host of a DestinationRule."""
    spec: DestinationRule = rule.spec
    yield complete_host(bare_host(spec.host), rule.namespace, defaults)


RULES_BY_HOST = ObjectIndex("DestinationRule", rule_hosts)


def covering(host: str) -> Iterable[str]:
    """Yield a host and the patterns that cover it: ``a.b``, ``*.b``, ``*``."""
    yield host
    rest = host
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
    yield "*"


def subsets_of(host: str, namespace: str, lookup: Lookup) -> Iterable[str]:
    """Yield the names of a host's subsets that clients of a namespace may see."""
    for pattern in covering(host):
        for rule in lookup.find(RULES_BY_HOST, pattern):
            spec: DestinationRule = rule.spec
            seen_by = set(spec.export_to)
            if rule.namespace == namespace or not seen_by or seen_by & {"*", namespace}:
                yield from (entry.name for entry in spec.subsets)


def _missing(host: str, namespace: str, lookup: Lookup) -> tuple[str, str]:
    hidden = list(lookup.services(host))
    if hidden:
        reason = f"{host} is not visible in namespace {namespace}"
        return reason, f"Add {namespace} to exportTo of {hidden[0].origin}"
    known = {
        service.key.host for service in lookup.all_services() if is_visible(service.visible_to, namespace)
    }
    near = _nearest(host, known)
    remedy = f"Did you mean {near}?" if near else "Add a ServiceEntry or Service for it, or correct the name"
    return f"there is no service {host}", remedy


def _nearest(host: str, known: set[str]) -> str:
    """The host most like this one. Long suffixes that all share would make everything alike: they are left out."""
    name, _, suffix = host.partition(".")
    firsts = sorted(each.partition(".")[0] for each in known if each.partition(".")[2] == suffix)
    if near := difflib.get_close_matches(name, firsts, n=1, cutoff=0.6):
        return f"{near[0]}.{suffix}" if suffix else near[0]
    return next(iter(difflib.get_close_matches(host, sorted(known), n=1, cutoff=0.9)), "")
