"""What a Gateway refers to: its secrets; other gateways that want the same port and host.

In: a decoded Gateway and everything else. Out: problems.
"""

from __future__ import annotations

from collections.abc import Iterable

from mainstay.api.findings import Findings
from mainstay.api.istio.gateway import Gateway, Server
from mainstay.api.kind import Defaults, Lookup, ObjectIndex
from mainstay.api.mainstay.gateway_secret import GatewaySecret, certificate_of
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.model.problem import Problem

_MUTUAL = ("MUTUAL", "OPTIONAL_MUTUAL")


def check_gateway(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return what dangles or conflicts."""
    found = Findings(thing)
    gateway: Gateway = thing.spec
    for at, server in enumerate(gateway.servers):
        _check_credential(server, found, ("spec", "servers", at, "tls", "credentialName"), lookup)
    _check_rivals(thing, gateway, found, lookup)
    return found.problems


def _check_credential(server: Server, found: Findings, path: Path, lookup: Lookup) -> None:
    tls = server.tls
    if tls is None or not tls.credential_name:
        return
    name = f"{found.namespace}/{tls.credential_name}"
    secret = lookup.get("GatewaySecret", found.namespace, tls.credential_name)
    if secret is None:
        found.add("IST0161", path, f"there is no GatewaySecret {name}", "Add it, or correct the name")
        return
    spec: GatewaySecret = secret.spec
    certificate = certificate_of(spec)
    if certificate is None:
        return  # its own translation says so
    if not certificate.chain:
        found.add("IST0161", path, f"{name} holds no certificate with key", "Add tls.crt and tls.key to it")
    if tls.mode in _MUTUAL and not certificate.authorities:
        reason = f"{name} holds no CA certificates, which mode {tls.mode} needs to verify clients"
        found.add("IST0161", path, reason, "Add ca.crt to it")


Claim = tuple[str, int, str]
"""Address, port, host."""


def _claims(server: Server) -> list[Claim]:
    return [(server.bind or "", server.port.number, host.rpartition("/")[2]) for host in server.hosts]


def _claims_of(thing: Object, _defaults: Defaults) -> Iterable[Claim]:
    gateway: Gateway = thing.spec
    return dict.fromkeys(claim for server in gateway.servers for claim in _claims(server))


_BY_CLAIM = ObjectIndex("Gateway", _claims_of)


def _check_rivals(thing: Object, gateway: Gateway, found: Findings, lookup: Lookup) -> None:
    for at, server in enumerate(gateway.servers):
        for claim in _claims(server):
            for rival in lookup.find(_BY_CLAIM, claim):
                spec: Gateway = rival.spec
                if rival.key != thing.key and spec.selector == gateway.selector:
                    reason = f"{rival.label} takes {claim[2]} at port {claim[1]} of the same proxies too"
                    found.add("IST0145", ("spec", "servers", at), reason, "Keep one of the two")
