"""Service of ``mainstay.dev`` → ``Service``, whose endpoints are the workloads its selector picks.

In: a decoded Service. Out: one service with the host ``<name>.<namespace>.svc.<suffix>``.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.hosts import complete_host, read_blocks, read_visibility
from mainstay.api.kind import Defaults, Fact
from mainstay.api.mainstay.service import Service as Written
from mainstay.api.object import Object
from mainstay.model.key import ServiceKey, labels_of
from mainstay.model.problem import Problem
from mainstay.model.service import Service, ServicePort, written_port


def translate_service(thing: Object, defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the service."""
    found = Findings(thing)
    written: Written = thing.spec
    if "." in thing.name:
        reason = "the name becomes the first part of a host, which has no dots"
        found.add("MS1101", ("metadata", "name"), reason, "Use letters, digits and '-'")
    service = Service(
        ServiceKey(thing.namespace, complete_host(thing.name, thing.namespace, defaults)),
        _ports(written, found),
        read_blocks(written.addresses, found, ("spec", "addresses")),
        visible_to=read_visibility(written.export_to, found, ("spec", "exportTo")),
        selector=labels_of(written.selector),
        origin=thing.label,
        created=thing.created,
    )
    return found.or_facts([service])


def _ports(written: Written, found: Findings) -> tuple[ServicePort, ...]:
    numbers: set[int] = set()
    names: set[str] = set()
    ports = []
    for at, port in enumerate(written.ports):
        path = ("spec", "ports", at)
        if port.number in numbers:
            found.add("MS1107", (*path, "number"), f"two ports have the number {port.number}", "Join the two")
        if port.name in names:
            found.add(
                "MS1107", (*path, "name"), f"two ports have the name {port.name}", "Give each its own name"
            )
        numbers.add(port.number)
        names.add(port.name)
        target = port.target_port or port.number
        ports.append(written_port(port.number, port.name, port.app_protocol or "", target))
    return tuple(sorted(ports))
