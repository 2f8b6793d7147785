"""GatewaySecret → ``SecretRef``s: which parts of it exist. Its bytes never enter the model.

In: a decoded GatewaySecret. Out: a reference for the key pair, and one for the CA certificates, as far as there are any.
What a TLS library would refuse is refused here, by path and without showing a byte of it.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.kind import Defaults, Fact
from mainstay.api.mainstay.gateway_secret import (
    AUTHORITIES,
    CERTIFICATE,
    KEY,
    Certificate,
    GatewaySecret,
    certificate_of,
)
from mainstay.api.object import Object
from mainstay.model.problem import Problem
from mainstay.model.secret import SecretRef


def translate_gateway_secret(thing: Object, _defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return references to what the secret holds."""
    found = Findings(thing)
    secret: GatewaySecret = thing.spec
    certificate = certificate_of(secret)
    if certificate is None:
        found.add(
            "MS1111", ("data",), "a value under data is no base64 of text", "Use stringData for plain PEM"
        )
        return found.problems
    _check(certificate, secret, found)
    facts: list[Fact] = []
    if certificate.chain:
        facts.append(SecretRef(thing.namespace, thing.name))
    if certificate.authorities:
        facts.append(SecretRef(thing.namespace, thing.name, ca=True))
    return found.or_facts(facts)


def _check(certificate: Certificate, secret: GatewaySecret, found: Findings) -> None:
    if not (certificate.chain or certificate.authorities):
        found.add("MS1111", (), "the secret is empty", f"Add {CERTIFICATE} and {KEY}, or {AUTHORITIES}")
        return
    if bool(certificate.chain) != bool(certificate.key):
        missing = KEY if certificate.chain else CERTIFICATE
        found.add("MS1111", (), f"{missing} is missing", f"Add {missing}")
        return
    if certificate.authorities and not _certificates(certificate.authorities):
        found.add(
            "MS1111", _path(secret, AUTHORITIES), "it holds no certificate", "Put PEM certificates here"
        )
    if not certificate.chain:
        return
    chain = _certificates(certificate.chain)
    if not chain:
        found.add(
            "MS1111",
            _path(secret, CERTIFICATE),
            "it holds no certificate",
            "Put the PEM chain here, leaf first",
        )
        return
    fault = _key_fault(certificate, chain)
    if fault:
        found.add(
            "MS1111", _path(secret, KEY), fault, "Put the unencrypted PEM key of the first certificate here"
        )


def _path(secret: GatewaySecret, name: str) -> tuple[str, ...]:
    return ("stringData", name) if name in secret.string_data else ("data", name)


def _certificates(pem: str) -> list[bytes]:
    """Public keys of the certificates in a text, in order; empty if one of them cannot be read."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        return [
            each.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            for each in x509.load_pem_x509_certificates(pem.encode())
        ]
    except ValueError:
        return []


def _key_fault(certificate: Certificate, chain: list[bytes]) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        key = load_pem_private_key(certificate.key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "it holds no private key that can be read"
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "" if public == chain[0] else "the key belongs to another certificate"
