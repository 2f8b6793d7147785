"""Who called through the front, from the two headers it sets.

In: the metadata of a gRPC call. Out: `Peer`. Invariants: only for calls that came over the front's Unix socket, where nobody
else can speak; a certificate that names not exactly one SPIFFE ID names nobody. Used by the handlers that `secure` puts
behind the front.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from cryptography import x509

from mainstay.identity import certificates
from mainstay.xds.server.types import Peer

CLIENT_CERTIFICATE = "x-forwarded-client-cert"
FORWARDED_FOR = "x-forwarded-for"


def peer_of_context(context: Any) -> Peer:
    """The peer of a gRPC call that came through the front; to be used for nothing that came another way."""
    found = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
    return peer_of_headers(found.get(CLIENT_CERTIFICATE, ""), found.get(FORWARDED_FOR, ""))


def peer_of_headers(client_certificate: str, forwarded_for: str) -> Peer:
    """Reads the front's two headers. The front has removed what the client sent, so there is one element, ours."""
    fields = read_element(client_certificate)
    identities = fields.get("URI", [])
    if len(identities) != 1:
        identities = [""]  # a leaf names one workload (X.509-SVID §2); with several it names none
    expires = _expiry(unquote(fields["Cert"][0])) if fields.get("Cert") else 0
    return Peer(identities[0], forwarded_for.rpartition(",")[2].strip(), expires)


def read_element(text: str) -> dict[str, list[str]]:
    """The pairs of an `x-forwarded-client-cert` with one element; empty for anything else."""
    fields: dict[str, list[str]] = {}
    at = 0
    while at < len(text):
        name, equals, _ = text[at:].partition("=")
        if not equals:
            return {}
        at += len(name) + 1
        if text[at : at + 1] == '"':
            value, at = _quoted(text, at + 1)
        else:
            end = min(
                (found for found in (text.find(mark, at) for mark in ";,") if found >= 0), default=len(text)
            )
            value, at = text[at:end], end
        fields.setdefault(name, []).append(value)
        if text[at : at + 1] == ",":
            return {}  # a second element would be somebody else's word
        at += 1
    return fields


def _quoted(text: str, at: int) -> tuple[str, int]:
    value: list[str] = []
    while at < len(text) and text[at] != '"':
        if text[at] == "\\":
            at += 1
        value.append(text[at : at + 1])
        at += 1
    return "".join(value), at + 1


def _expiry(pem: str) -> int:
    try:
        return certificates.lifetime(x509.load_pem_x509_certificate(pem.encode()))[1]
    except ValueError:
        return 0
