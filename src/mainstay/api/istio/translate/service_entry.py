"""ServiceEntry → a ``Service`` per host, with the endpoints it lists.

In: a decoded ServiceEntry. Out: services, endpoint sets (addresses), named targets (DNS names the proxy resolves).
Source of the rules: istio/api service_entry.proto and Istio's validation of it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mainstay.api.findings import Findings
from mainstay.api.hosts import is_address, read_blocks, read_host, read_visibility
from mainstay.api.istio.service_entry import ServiceEntry, WorkloadEntry
from mainstay.api.istio.service_entry import ServicePort as WrittenPort
from mainstay.api.istio.translate.workload import read_entry_address, workload_of
from mainstay.api.kind import Defaults, Fact
from mainstay.api.object import Object
from mainstay.model.endpoints import Endpoint, EndpointAttributes, NamedTarget, pack_endpoints
from mainstay.model.key import EndpointSetKey, NamedTargetKey, ServiceKey, WorkloadKey, labels_of
from mainstay.model.membership import attributes_of
from mainstay.model.problem import Problem
from mainstay.model.service import Resolution, Service, ServicePort, written_port

_RESOLUTIONS: Final[dict[str, Resolution]] = {"STATIC": "endpoints", "DNS": "dns", "NONE": "none"}


def translate_service_entry(thing: Object, defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return one service per host, and its endpoints per port."""
    found = Findings(thing)
    entry: ServiceEntry = thing.spec
    hosts = _hosts(entry, found)
    addresses = read_blocks(entry.addresses, found, ("spec", "addresses"))
    ports = _ports(entry.ports, found)
    visible_to = read_visibility(entry.export_to, found, ("spec", "exportTo"))
    rows = _rows(entry, found, defaults)
    selector = _selector(entry, found)
    if found.problems:
        return found.problems
    facts: list[Fact] = []
    for host in hosts:
        service = Service(
            ServiceKey(thing.namespace, host),
            ports,
            addresses,
            _RESOLUTIONS[entry.resolution],
            "external" if entry.location == "MESH_EXTERNAL" else "internal",
            visible_to,
            tuple(sorted(set(entry.subject_alt_names))),
            labels_of(selector),
            thing.label,
            thing.created,
        )
        facts.append(service)
        for port in ports:
            facts += _endpoints(service, port, rows)
    return facts


Row = tuple[WorkloadEntry, str, EndpointAttributes]
"""An endpoint as written, its address, and what it shares with others."""


def _hosts(entry: ServiceEntry, found: Findings) -> list[str]:
    hosts: list[str] = []
    for at, text in enumerate(entry.hosts):
        path = ("spec", "hosts", at)
        if text == "*":
            found.add("MS1101", path, "`*` would be every host", "Write a name or *.suffix")
            continue
        host = read_host(text, found, path, wildcard=True)
        if host.startswith("*.") and entry.resolution == "DNS" and not entry.endpoints:
            reason = f"{host} cannot be resolved, and there are no endpoints"
            found.add("MS1106", path, reason, "List endpoints, or use resolution: NONE")
        if host and host not in hosts:
            hosts.append(host)
    return hosts


def _ports(written: tuple[WrittenPort, ...], found: Findings) -> tuple[ServicePort, ...]:
    seen: set[tuple[str, int | str]] = set()
    for at, port in enumerate(written):
        for field, value in (("number", port.number), ("name", port.name)):
            if (field, value) in seen:
                path = ("spec", "ports", at, field)
                reason = f"two ports have the {field} {value}"
                found.add("MS1107", path, reason, f"Give each port its own {field}")
            seen.add((field, value))
    ports = (
        written_port(port.number, port.name, port.protocol or "", port.target_port or port.number)
        for port in written
    )
    return tuple(sorted(ports))


def _selector(entry: ServiceEntry, found: Findings) -> dict[str, str]:
    if entry.workload_selector is None:
        return {}
    path = ("spec", "workloadSelector")
    if entry.endpoints:
        found.add(
            "MS1106", path, "endpoints are listed and selected too", "Keep endpoints or workloadSelector"
        )
    if entry.resolution == "NONE":
        reason = "resolution NONE goes to the address the client dialled, so nothing selected would be used"
        found.add("MS1106", path, reason, "Use resolution: STATIC")
    if not entry.workload_selector.labels:
        found.add("MS1012", path, "an empty selector would select nothing", "Give labels")
    return entry.workload_selector.labels


def _rows(entry: ServiceEntry, found: Findings, defaults: Defaults) -> list[Row]:
    if entry.endpoints and entry.resolution == "NONE":
        reason = "resolution NONE goes to the address the client dialled, so endpoints would not be used"
        found.add(
            "MS1106", ("spec", "endpoints"), reason, "Use resolution: STATIC or DNS, or remove endpoints"
        )
    rows: list[Row] = []
    names = {port.name for port in entry.ports}
    for at, endpoint in enumerate(entry.endpoints):
        path = ("spec", "endpoints", at)
        address = read_entry_address(endpoint, found, path, names=entry.resolution != "STATIC")
        for name in endpoint.ports:
            if name not in names:
                reason = f"the service has no port named {name}"
                remedy = (
                    f"Use one of {', '.join(sorted(names))}" if names else "Add ports to the ServiceEntry"
                )
                found.add("MS2003", (*path, "ports", name), reason, remedy)
        rows.append((endpoint, address, _attributes(endpoint, address, found.namespace, defaults)))
    return rows


def _attributes(
    endpoint: WorkloadEntry, address: str, namespace: str, defaults: Defaults
) -> EndpointAttributes:
    workload = workload_of(endpoint, WorkloadKey(namespace, ""), address)
    attributes = attributes_of(workload, defaults.mesh.trust_domain)
    if workload.meshed or endpoint.service_account is not None:
        return attributes
    # Nobody said who this is: an identity would be a guess, and a client would insist on it.
    return msgspec.structs.replace(attributes, identity="")


def _endpoints(service: Service, port: ServicePort, rows: list[Row]) -> list[Fact]:
    named: list[Fact] = []
    packed: list[Endpoint] = []
    for endpoint, address, attributes in rows:
        target = endpoint.ports.get(port.name, port.target)
        weight = endpoint.weight or 1
        if service.resolution == "endpoints" or is_address(address):
            packed.append(Endpoint(address, target, weight, attributes=attributes))
        else:
            key = NamedTargetKey(service.key, port.number, service.origin, address)
            named.append(NamedTarget(key, target, weight, attributes))
    if packed:
        named.append(pack_endpoints(EndpointSetKey(service.key, port.number, service.origin), packed))
    return named
