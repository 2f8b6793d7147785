"""Sidecar → ``Scope``: what a group of proxies sees and where it listens.

In: a decoded Sidecar. Out: one scope. Source of the rules: istio/api sidecar.proto and Istio's validation of it.
"""

from __future__ import annotations

import ipaddress

from mainstay.api.findings import Findings
from mainstay.api.hosts import is_address, read_pattern
from mainstay.api.istio.sidecar import IstioEgressListener, IstioIngressListener, Sidecar, SidecarPort
from mainstay.api.istio.translate.destination_rule import connection_pool
from mainstay.api.kind import Defaults, Fact
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.api.problems import shorten
from mainstay.model.key import labels_of
from mainstay.model.problem import Problem
from mainstay.model.protocol import PortProtocol, claims_of_port, protocol_of_port
from mainstay.model.scope import EgressListener, IngressListener, Scope


def translate_sidecar(thing: Object, _defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the scope."""
    found = Findings(thing)
    sidecar: Sidecar = thing.spec
    egress = tuple(
        _egress(listener, found, ("spec", "egress", at)) for at, listener in enumerate(sidecar.egress)
    )
    ingress = tuple(
        _ingress(listener, found, ("spec", "ingress", at)) for at, listener in enumerate(sidecar.ingress)
    )
    _refuse_twice(sidecar, found)
    pool = sidecar.inbound_connection_pool
    scope = Scope(
        thing.key,
        labels_of(sidecar.workload_selector.labels if sidecar.workload_selector else {}),
        egress,
        ingress,
        sidecar.outbound_traffic_policy.mode if sidecar.outbound_traffic_policy else None,
        connection_pool(pool, found, ("spec", "inboundConnectionPool")) if pool else None,
        thing.created,
    )
    return found.or_facts([scope])


def _egress(listener: IstioEgressListener, found: Findings, path: Path) -> EgressListener:
    patterns = {
        pattern
        for at, text in enumerate(listener.hosts)
        if (pattern := read_pattern(text, found, (*path, "hosts", at), namespace_needed=True))
    }
    if listener.bind is not None:
        _check_bind(listener.bind, found, (*path, "bind"))
        if listener.port is None:
            found.add("MS1106", (*path, "bind"), "bind is given without port", "Add port, or remove bind")
    if listener.port is None and listener.capture_mode == "NONE":
        reason = "without a port there is nothing that an application could dial"
        found.add("MS1106", (*path, "captureMode"), reason, "Add port, or remove captureMode")
    port = listener.port
    return EgressListener(
        tuple(sorted(patterns)),
        port.number if port else 0,
        _protocol(port) if port else PortProtocol.AUTO,
        (port.name or "") if port else "",
        listener.bind or "",
        listener.capture_mode,
    )


def _ingress(listener: IstioIngressListener, found: Findings, path: Path) -> IngressListener:
    if listener.bind is not None:
        _check_bind(listener.bind, found, (*path, "bind"))
    endpoint = listener.default_endpoint or ""
    if endpoint and not _is_endpoint(endpoint):
        remedy = "Write a loopback address with port such as 127.0.0.1:8080, 0.0.0.0:8080, or unix:///path"
        found.add(
            "MS1103",
            (*path, "defaultEndpoint"),
            f"{shorten(endpoint)} is no address of an application",
            remedy,
        )
    pool = listener.connection_pool
    return IngressListener(
        listener.port.number,
        _protocol(listener.port),
        listener.port.name or "",
        listener.bind or "",
        listener.capture_mode,
        endpoint,
        connection_pool(pool, found, (*path, "connectionPool")) if pool else None,
        claims_of_port(listener.port.name or "", listener.port.protocol or ""),
    )


def _protocol(port: SidecarPort) -> PortProtocol:
    return protocol_of_port(port.number, port.name or "", port.protocol or "")


def _check_bind(text: str, found: Findings, path: Path) -> None:
    if not is_address(text):
        found.add(
            "MS1103", path, f"{shorten(text)} is not an IP address", "Write an IP address, e.g. 127.0.0.1"
        )


def _is_endpoint(text: str) -> bool:
    """Loopback, the workload's own address (``0.0.0.0``), or a socket: anything else would make the sidecar lend its
    inbound policies to another machine."""
    if text.startswith("unix://"):
        return text.startswith(("unix:///", "unix://@"))
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65_535 and is_address(host)):
        return False
    address = ipaddress.ip_address(host)
    return address.is_loopback or address.is_unspecified


def _refuse_twice(sidecar: Sidecar, found: Findings) -> None:
    inbound = [(listener.bind or "", listener.port.number) for listener in sidecar.ingress]
    outbound = [
        (listener.bind or "", listener.port.number) if listener.port else None for listener in sidecar.egress
    ]
    for field, places in (("ingress", inbound), ("egress", outbound)):
        for at, place in enumerate(places):
            if place in places[:at]:
                where = f"{place[0] or 'the default address'}:{place[1]}" if place else "all ports"
                reason = f"two listeners are for {where}"
                found.add("MS1107", ("spec", field, at), reason, "Join them, or give one another port")
