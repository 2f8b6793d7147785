"""Gateway → ``Gateway``: servers at the edge.

In: a decoded Gateway. Out: one fact. Source of the rules: istio/api gateway.proto and Istio's validation of it.
"""

from __future__ import annotations

from typing import Final

from mainstay.api.findings import Findings
from mainstay.api.hosts import is_address, read_pattern
from mainstay.api.istio import gateway as written
from mainstay.api.kind import Defaults, Fact
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.api.problems import shorten
from mainstay.model.gateway import Gateway, Server, ServerTls, ServerTlsMode, TlsVersion
from mainstay.model.key import labels_of
from mainstay.model.problem import Problem
from mainstay.model.protocol import PortProtocol, declared_protocol
from mainstay.model.secret import SecretRef

_MODES: Final[dict[str, ServerTlsMode]] = {
    "PASSTHROUGH": "PASSTHROUGH",
    "SIMPLE": "SIMPLE",
    "MUTUAL": "MUTUAL",
    "OPTIONAL_MUTUAL": "OPTIONAL_MUTUAL",
    "ISTIO_MUTUAL": "ISTIO_MUTUAL",
}
_VERSIONS: Final[dict[str | None, TlsVersion]] = {"TLSV1_2": "1.2", "TLSV1_3": "1.3"}
_WITH_CERTIFICATE: Final = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")
_CREDENTIAL_FIELDS: Final = ("credentialName", "serverCertificate", "privateKey", "caCertificates")


def translate_gateway(thing: Object, _defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the gateway."""
    found = Findings(thing)
    gateway: written.Gateway = thing.spec
    servers = tuple(
        _server(server, found, ("spec", "servers", at)) for at, server in enumerate(gateway.servers)
    )
    _refuse_mixed_ports(servers, found)
    return found.or_facts([Gateway(thing.key, servers, labels_of(gateway.selector), thing.created)])


def _server(server: written.Server, found: Findings, path: Path) -> Server:
    patterns = {
        pattern
        for at, text in enumerate(server.hosts)
        if (pattern := read_pattern(text, found, (*path, "hosts", at)))
    }
    if server.bind is not None and not is_address(server.bind):
        reason = f"{shorten(server.bind)} is not an IP address"
        found.add("MS1103", (*path, "bind"), reason, "Write an IP address, or leave it out for all")
    protocol = declared_protocol(server.port.protocol) or PortProtocol.AUTO
    return Server(
        server.port.number,
        protocol,
        tuple(sorted(patterns)),
        server.port.name,
        server.bind or "",
        _tls(server, protocol, found, (*path, "tls")),
        bool(server.tls and server.tls.https_redirect),
    )


def _tls(server: written.Server, protocol: PortProtocol, found: Findings, path: Path) -> ServerTls | None:
    tls = server.tls
    if tls is None:
        if protocol.is_tls:
            remedy = "Add tls with a mode, and credentialName unless it is PASSTHROUGH or ISTIO_MUTUAL"
            found.add("MS1010", path[:-1], f"{server.port.protocol} needs tls", remedy)
        return None
    given = _credentials(tls)
    if protocol.is_http:
        for name in given:
            reason = f"{name} has no meaning for {server.port.protocol}, which is plain text"
            found.add("MS1106", (*path, name), reason, "Use protocol HTTPS")
        return None
    if tls.https_redirect:
        reason = f"only plain HTTP can be redirected, and this port speaks {server.port.protocol}"
        found.add("MS1106", (*path, "httpsRedirect"), reason, "Move it to the server of the HTTP port")
    _check_credentials(tls, given, found, path)
    low, high = (
        _VERSIONS.get(version, "AUTO") for version in (tls.min_protocol_version, tls.max_protocol_version)
    )
    if low == "1.3" and high == "1.2":
        found.add("MS1106", (*path, "maxProtocolVersion"), "it is below minProtocolVersion", "Swap the two")
    return ServerTls(
        _MODES[tls.mode],
        SecretRef(found.namespace, tls.credential_name) if tls.credential_name else None,
        tls.server_certificate or "",
        tls.private_key or "",
        tls.ca_certificates or "",
        tuple(sorted(set(tls.subject_alt_names))),
        low,
        high,
    )


def _credentials(tls: written.ServerTLSSettings) -> list[str]:
    values = (tls.credential_name, tls.server_certificate, tls.private_key, tls.ca_certificates)
    return [name for name, value in zip(_CREDENTIAL_FIELDS, values, strict=True) if value]


def _check_credentials(tls: written.ServerTLSSettings, given: list[str], found: Findings, path: Path) -> None:
    mode = tls.mode
    if mode not in _WITH_CERTIFICATE:
        for name in given:
            reason = f"{name} has no meaning in mode {mode}"
            found.add("MS1106", (*path, name), reason, f"Remove {name}, or use mode SIMPLE or MUTUAL")
        return
    if "credentialName" in given:
        for name in given[1:]:
            found.add(
                "MS1106", (*path, name), f"{name} and credentialName exclude each other", "Keep one of them"
            )
        return
    needed = ["serverCertificate", "privateKey"]
    if mode != "SIMPLE":
        needed.append("caCertificates")
    missing = [name for name in needed if name not in given]
    if missing:
        remedy = f"Add credentialName, or {' and '.join(missing)}"
        found.add("MS1010", path, f"mode {mode} needs a certificate", remedy)
    if tls.subject_alt_names and mode == "SIMPLE":
        reason = "SIMPLE asks clients for no certificate, so no name of it can be checked"
        found.add("MS1106", (*path, "subjectAltNames"), reason, "Use mode MUTUAL")


def _refuse_mixed_ports(servers: tuple[Server, ...], found: Findings) -> None:
    """Servers that share a port share a listener, which speaks plain text, TLS, or bytes."""
    by_place: dict[tuple[str, int], tuple[int, str]] = {}
    for at, server in enumerate(servers):
        first, nature = by_place.setdefault((server.bind, server.port), (at, _nature(server)))
        if nature != _nature(server):
            reason = f"servers[{first}] has {nature} at port {server.port}, this one {_nature(server)}"
            found.add("MS1106", ("spec", "servers", at, "port"), reason, "Use another port")


def _nature(server: Server) -> str:
    if server.tls is not None:
        return "TLS"
    return "plain HTTP" if server.protocol.is_http else "plain TCP"
