"""A small authority for live tests, and plans that use what it issues."""

from __future__ import annotations

import datetime
import ssl
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mainstay.sidecar import plan

if TYPE_CHECKING:
    from pathlib import Path

_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)


class Leaf:
    """A certificate with its key, PEM."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self.certificate, self.key = certificate, key

    def secret(self, name: str) -> plan.Secret:
        return plan.Secret(name, plan.CertificateMaterial(plan.CertificateChain(self.certificate, self.key)))

    def load(self, context: ssl.SSLContext, folder: Path) -> None:
        path = folder / f"{hash(self.key)}.pem"
        path.write_bytes(self.certificate + self.key)
        context.load_cert_chain(path)


class Authority:
    """Issues leaves for URIs and DNS names."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.roots = _pem(builder.sign(self._key, hashes.SHA256()))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW - _DAY)
            .not_valid_after(_NOW + _DAY)
        )

    def issue(self, *names: str) -> Leaf:
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [
            x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name) for name in names
        ]
        builder = self._builder(x509.Name([]), key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
        leaf = builder.sign(self._key, hashes.SHA256())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Leaf(_pem(leaf), pem)

    def secret(self, name: str) -> plan.Secret:
        return plan.Secret(name, plan.ValidationMaterial(plan.ValidationContext(self.roots)))

    def client(self, *protocols: str) -> ssl.SSLContext:
        """Trusts this authority, whatever the host's name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self.roots.decode())
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def server(self, leaf: Leaf, folder: Path, *, mutual: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.load(context, folder)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.roots.decode())
        return context


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def downstream(*protocols: str, mutual: bool = False, certificate: str = "leaf") -> plan.DownstreamTls:
    validation = "roots" if mutual else None
    return plan.DownstreamTls((certificate,), validation, plan.AlternativeNames(()), mutual, protocols)


def upstream(
    *protocols: str, any_of: tuple[str, ...] = (), certificate: str | None = None
) -> plan.UpstreamTls:
    names = tuple(plan.StringMatch(plan.ExactText(name)) for name in any_of)
    certificates = (certificate,) if certificate else ()
    return plan.UpstreamTls(
        certificates, "roots", plan.AlternativeNames(names), "app.test", False, False, protocols
    )
