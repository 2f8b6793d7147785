"""Certificates for proxies that trust each other: one authority, a client and a server, P-256, valid for an hour.

In: a folder. Out: files in it.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CLIENT, SERVER = "client", "server"


class Certificates(NamedTuple):
    """See the module."""

    folder: Path

    @property
    def roots(self) -> Path:
        return self.folder / "roots.pem"

    def chain(self, who: str) -> Path:
        return self.folder / f"{who}.crt"

    def key(self, who: str) -> Path:
        return self.folder / f"{who}.key"

    def bundle(self, who: str) -> Path:
        """Chain and key in one file, as haproxy wants them."""
        return self.folder / f"{who}.pem"

    def identity(self, who: str) -> str:
        return f"spiffe://bench.example/{who}"

    @classmethod
    def make(cls, folder: Path) -> Self:
        made = cls(folder)
        authority_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
        authority = (
            _builder(name, name, authority_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        made.roots.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        for who in (CLIENT, SERVER):
            key = ec.generate_private_key(ec.SECP256R1())
            names = [
                x509.UniformResourceIdentifier(made.identity(who)),
                x509.DNSName(f"{who}.bench"),
            ]
            leaf = (
                _builder(x509.Name([]), name, key)
                .add_extension(x509.SubjectAlternativeName(names), critical=True)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .sign(authority_key, hashes.SHA256())
            )
            chain = leaf.public_bytes(serialization.Encoding.PEM)
            secret = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            made.chain(who).write_bytes(chain)
            made.key(who).write_bytes(secret)
            made.bundle(who).write_bytes(chain + secret)
        return made


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
    )
