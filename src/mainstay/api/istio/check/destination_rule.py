"""What a DestinationRule refers to: its host and ports, secrets; other rules for the same host; servers nobody verifies.

In: a decoded DestinationRule and everything else. Out: problems.
"""

from __future__ import annotations

from collections.abc import Iterator

from mainstay.api.findings import Findings
from mainstay.api.istio.check.destinations import RULES_BY_HOST, full_host, host_covers, visible_services
from mainstay.api.istio.destination_rule import ClientTLSSettings, DestinationRule, TrafficPolicy
from mainstay.api.kind import Lookup
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.model.application import is_rpc_service
from mainstay.model.key import labels_of
from mainstay.model.problem import Problem


def check_destination_rule(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return what dangles or conflicts."""
    found = Findings(thing)
    rule: DestinationRule = thing.spec
    host = full_host(rule.host, thing.namespace, lookup)
    _check_host(host, found, lookup)
    policies = list(_policies(rule))
    _check_ports(host, policies, found, lookup)
    for tls, path, code in _tls_of(policies):
        _check_tls(tls, found, path, code, lookup)
    _check_rivals(thing, rule, host, found, lookup)
    return found.problems


def _check_host(host: str, found: Findings, lookup: Lookup) -> None:
    if "*" in host:
        known = any(host_covers(host, service.key.host) for service in lookup.all_services())
    else:
        known = bool(visible_services(host, found.namespace, lookup) or list(lookup.services(host)))
    # Who publishes an RPC service comes and goes.
    if not known and not is_rpc_service(host):
        found.add(
            "IST0174", ("spec", "host"), f"there is no service {host}", "Add the service, or correct the name"
        )


def _policies(rule: DestinationRule) -> Iterator[tuple[TrafficPolicy, Path]]:
    if rule.traffic_policy:
        yield rule.traffic_policy, ("spec", "trafficPolicy")
    for at, subset in enumerate(rule.subsets):
        if subset.traffic_policy:
            yield subset.traffic_policy, ("spec", "subsets", at, "trafficPolicy")


def _check_ports(
    host: str, policies: list[tuple[TrafficPolicy, Path]], found: Findings, lookup: Lookup
) -> None:
    ports = {port.number for service in lookup.services(host) for port in service.ports}
    if not ports:
        return
    for policy, path in policies:
        for at, entry in enumerate(policy.port_level_settings):
            if entry.port.number not in ports:
                here = (*path, "portLevelSettings", at, "port", "number")
                known = ", ".join(str(number) for number in sorted(ports))
                found.add("MS2003", here, f"{host} has no port {entry.port.number}", f"Use one of {known}")


def _tls_of(policies: list[tuple[TrafficPolicy, Path]]) -> Iterator[tuple[ClientTLSSettings, Path, str]]:
    for policy, path in policies:
        if policy.tls:
            yield policy.tls, (*path, "tls"), "IST0128"
        for at, entry in enumerate(policy.port_level_settings):
            if entry.tls:
                yield entry.tls, (*path, "portLevelSettings", at, "tls"), "IST0129"


def _check_tls(tls: ClientTLSSettings, found: Findings, path: Path, code: str, lookup: Lookup) -> None:
    if tls.credential_name and lookup.get("GatewaySecret", found.namespace, tls.credential_name) is None:
        reason = f"there is no GatewaySecret {found.namespace}/{tls.credential_name}"
        found.add("IST0101", (*path, "credentialName"), reason, "Add it, or correct the name")
    verified = tls.ca_certificates or tls.credential_name or tls.insecure_skip_verify
    if tls.mode in ("SIMPLE", "MUTUAL") and not verified:
        reason = f"mode {tls.mode} without caCertificates encrypts, but takes any server"
        found.add(code, path, reason, "Add caCertificates, or say insecureSkipVerify: true")


def _check_rivals(thing: Object, rule: DestinationRule, host: str, found: Findings, lookup: Lookup) -> None:
    selector = labels_of(rule.workload_selector.labels if rule.workload_selector else {})
    for rival in lookup.find(RULES_BY_HOST, host):
        spec: DestinationRule = rival.spec
        other = labels_of(spec.workload_selector.labels if spec.workload_selector else {})
        if rival.key != thing.key and rival.namespace == thing.namespace and other == selector:
            reason = f"{rival.label} is for {host} too; the older one counts"
            found.add("MS2002", ("spec", "host"), reason, "Join the two")
